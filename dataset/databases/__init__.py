"""Published databases and the official files, read as they are distributed."""
