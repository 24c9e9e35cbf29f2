"""The arrays of a store, `tokens.zarr/`.

zarr_arrays  Arrays: their metadata, which Zarr keeps; whole shards are written, single rows read
shard_file   the bytes of one shard of one array, with a checksum for each row
quantise     spatial tokens in 8 bits
"""
