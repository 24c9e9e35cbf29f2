"""The feature store: Zarr shards that name their identity, commit whole and can be verified.

store      FeatureStore: create, open, plan, space, write_shard, withdraw, read, records, info
identity   what the features were made with
layout     store.json: identity, shapes, dtype, rows a shard
plan       videos.parquet: which row belongs to which video
commits    commits/: which shards are complete, and a record of each of their rows
records    Features and Failure, which go in; Source and RowRecord, which are kept
values     from features to the stored values of a row, and back
writing    a whole shard: its arrays, then its commit
reading    one video's features, checked against their commit
settings   the `[cache]` section of pipeline.toml

files/     files of a store, in a local folder or behind a URL
arrays/    tokens.zarr: Zarr arrays, shard files, tokens in 8 bits
care/      verify and repair, statistics, reports on a damaged store, HDF5
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.cache; import that name")
