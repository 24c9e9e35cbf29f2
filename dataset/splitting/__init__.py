"""Drawing splits whose parts share no content, and the fingerprints that prove it."""
