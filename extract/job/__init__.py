"""A run of the extraction on a Dask cluster.

- `run`: one job from its plan to its end; `dispatch` hands its shards to the workers.
- `cluster`: starts or joins the Dask cluster; `worker` is what runs on each of its workers.
- `tally`: counts, rates and the time left; `live`: extracts stored videos again and compares.
"""
