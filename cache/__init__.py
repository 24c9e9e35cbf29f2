"""The feature store: Zarr shards that name their identity, commit whole and can be verified.

store.FeatureStore      create, open, plan, space, write_shard, withdraw, read, records, info
identity.Identity       what the features were made with
records                 Features and Failure go in, Source and RowRecord are kept
verify                  reads every committed row and yields what is wrong; repair withdraws it
readable.ReadableStore  a store that sets damaged commits aside, for reports
hdf5                    a store as one HDF5 file, and back
statistics              what the stored features are like, channel by channel
settings.CacheSettings  the `[cache]` section of pipeline.toml
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.cache; import that name")
