"""Rating video files.

listing     which files to rate
scorer      a checkpoint with its backbones, which rates files
scorecard   the rating of one file
results     the file that scores are written to
"""
