"""Stage three: predict once, measure on any split, compare, report; and score single video files.

metrics     metrics of predictions, with bootstrap intervals
predict     predictions of a checkpoint, and their file
compare     models side by side, published figures, leakage
score       rating video files
pages       every HTML page with its template and figures, and the local server

Here: run (one evaluation), part (which videos), results (metrics.json and the report), rounds
(cross-validation), matrix (cross-dataset tests), settings.
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.evaluate; import that name")
