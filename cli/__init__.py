"""The command line: one module for each group of commands.

main        the entry point
options     shared by the commands: -c and --set, examples in the help, progress, files to write
pipeline    demo, import-checkpoint, config
extraction  extract
training    train, ablate
evaluation  evaluate, matrix
comparison  compare
scoring     score, serve
cache       the feature store
dataset     ratings, questions, import, split, check, describe

A stage, and torch with it, is imported only when its command runs.
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.cli; import that name")
