"""Looking after a store: verification, statistics, and the store as one HDF5 file."""
