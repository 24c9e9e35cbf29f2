"""The command line: one module for each group of commands.

main        the entry point
options     what the commands share: -c and --set, examples in the help, progress bars
pipeline    demo, extract, train, evaluate, score, config
cache       the feature store

A stage, and torch with it, is imported only when its command runs.
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.cli; import that name")
