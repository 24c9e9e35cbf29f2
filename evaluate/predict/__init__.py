"""Predictions of a checkpoint: scores, level words, answers.

predictor     a model that answers all prompts of a video
free_text     answers in the model's own words
predictions   the videos without predictions, and predicting them
stored        predictions.parquet
official      importing a published FineVQ checkpoint
"""
