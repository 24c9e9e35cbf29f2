"""Stage two: train projectors, LoRA and score head on cached features."""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.train; import that name")
