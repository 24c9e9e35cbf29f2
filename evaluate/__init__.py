"""Stage three: predict once, measure on any split, report; and score single video files."""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.evaluate; import that name")
