"""Models side by side: scores, comparison, tables.

scores        scores or labels by video, and matching their names
score_files   reading them from CSV files, stored predictions, a dataset
comparison    metrics and differences on the same videos
leakage       videos that a checkpoint was trained on
published     published figures
tables        the paper's tables of a comparison
printed       tables for a terminal
latex         tables for a paper
"""
