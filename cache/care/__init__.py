"""Looking after a store.

verify       reads every committed row and yields what is wrong; repair withdraws damaged shards
readable     a store that sets damaged commits aside, for reports
statistics   what the stored features are like, channel by channel
hdf5         a store as one HDF5 file, and back
hdf5_target  the file that HDF5 writes, whose failed writes do not crash the process
"""
