"""Stage one: decode a video once, run the frozen InternViT and SlowFast, fill the feature store."""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.extract; import that name")
