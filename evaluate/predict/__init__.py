"""Predictions of a checkpoint: scores, level words, answers."""
