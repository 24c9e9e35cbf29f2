"""The entry point of the command line."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial

from ..errors import FineVQError
from . import cache, comparison, dataset, evaluation, extraction, pipeline, scoring, training

DESCRIPTION = """\
Fine-grained video quality assessment over precomputed, verified features.
In order: extract, train, evaluate. `finevq COMMAND --help` has an example.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 for an error that the user can put right."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("finevq").setLevel(logging.INFO)
    given = _parser().parse_args(arguments)
    try:
        code = int(given.run(given) or 0)
        sys.stdout.flush()
    except FineVQError as error:
        print(f"finevq: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("finevq: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finevq",
        description=DESCRIPTION,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=23),
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (pipeline, extraction, training, evaluation, comparison, scoring, cache, dataset):
        group.add_commands(commands)
    return parser
