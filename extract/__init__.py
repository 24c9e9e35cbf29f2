"""Stage one: decode each video once, run the frozen InternViT and SlowFast, fill the feature store.

- `decode`: from a video file to pixels, in child processes.
- `encode`: from pixels to features, and the identity of the features.
- `job`: a run over all videos of a dataset, on any number of workers.
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.extract; import that name")
