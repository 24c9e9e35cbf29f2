"""A distributed extraction: its cluster, its workers, its progress."""
