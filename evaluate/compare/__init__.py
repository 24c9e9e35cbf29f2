"""Models side by side: files of scores, tables, published figures, leakage."""
