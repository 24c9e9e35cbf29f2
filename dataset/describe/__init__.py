"""What a dataset looks like: features of its pictures, distributions, one page."""
