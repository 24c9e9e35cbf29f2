"""FineVQ: fine-grained video quality assessment over precomputed, verified features.

The stages are the packages `finevq.dataset`, `finevq.extract`, `finevq.cache`, `finevq.train` and
`finevq.evaluate`; the command line is `finevq` (or `python -m finevq`).
"""

__version__ = "0.1.0"
