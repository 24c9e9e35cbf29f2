"""Videos, labels, questions and splits: what the other stages work on.

Here lie the files of a dataset as the stages read them. The rooms make and examine datasets:

study      from raw ratings to MOS, attributes and questions
splitting  drawing and checking splits
databases  importing published databases
describe   a page on a dataset
demo       the demo's data set
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.dataset; import that name")
