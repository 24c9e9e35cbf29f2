"""Metrics of stored predictions, with their intervals."""
