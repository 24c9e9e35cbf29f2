"""Videos, labels, questions and splits: what the three stages work on."""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.dataset; import that name")
