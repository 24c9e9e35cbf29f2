"""Rating video files: the scorer, its cards, the files of results."""
