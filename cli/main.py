"""The entry point of the command line."""

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ..cache.files.space import is_disk_full
from ..errors import FineVQError
from . import cache, comparison, dataset, evaluation, extraction, pipeline, scoring, training

DESCRIPTION = """\
Fine-grained video quality assessment over precomputed, verified features.
In order: extract, train, evaluate. `finevq COMMAND --help` has an example.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 for an error that the user can put right."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack the letters of a file's name
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("finevq").setLevel(logging.INFO)
    given = _parser().parse_args(arguments)
    try:
        code = int(given.run(given) or 0)
        if sys.stdout is not None:  # None where the caller has closed it
            sys.stdout.flush()
    except FineVQError as error:
        print(f"finevq: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("finevq: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _silence()
        return 141
    except Exception as error:
        if not _is_disk_full(error):
            raise
        file = getattr(error, "filename", None)
        where = f"{file} cannot be written: its disk" if file else "the output or a disk"
        said = f"finevq: {where} is full; make room, then run the same command again"
        print(said, file=sys.stderr)
        _silence()
        return 2
    return code


def _is_disk_full(error: BaseException) -> bool:
    """Tell a full disk from a bug; libraries that write in native code say it in words alone."""
    if isinstance(error, OSError) and is_disk_full(error):
        return True
    said = (os.strerror(errno.ENOSPC), f"os error {errno.ENOSPC}", "PytorchStreamWriter failed")
    return any(words in str(error) for words in said)


def _silence() -> None:
    """Let what is still to be printed vanish; Python would end with a traceback."""
    with suppress(AttributeError, io.UnsupportedOperation):  # closed, or no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
