"""Files of a store, local or behind a URL: atomic writes, checked reads, room on the disk."""
