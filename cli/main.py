"""The entry point of the command line."""

import argparse
import difflib
import errno
import io
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from .. import __version__
from ..cache.files.space import is_disk_full
from ..errors import FineVQError
from . import cache, comparison, dataset, evaluation, extraction, pipeline, scoring, training

DESCRIPTION = "Video quality in six dimensions. `finevq COMMAND --help` has an example."

FIRST_STEPS = """\
finevq rates the quality of videos, and trains models that do. What to do first:

  finevq score clip.mp4    rate a video with the small model that ships
  finevq serve             do the same in the browser
  finevq demo              make a small data set and run all stages on it
  finevq config            print all settings, to begin with your own data

`finevq --help` lists all commands. The stages: extract, train, evaluate.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 for an error that the user can put right."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack the letters of a file's name
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("finevq").setLevel(logging.INFO)
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        print(FIRST_STEPS, end="")
        return 0
    given = _parser().parse_args(words)
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


class _Parser(argparse.ArgumentParser):
    """Suggests the command or option that was meant; the parsers of the commands are such too."""

    def parse_known_args(self, *arguments: Any, **more: Any) -> Any:
        """Refuse what is not known here, where the options that were meant are."""
        known, unknown = super().parse_known_args(*arguments, **more)
        if unknown:
            option = unknown[0].partition("=")[0]
            hint = _meant(option, self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """End with the usage and the message."""
        if wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)$", message):
            message += _meant(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        super().error(message)


def _meant(word: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="finevq",
        description=DESCRIPTION,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=25),
    )
    parser.add_argument("--version", action="version", version=f"finevq {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (pipeline, extraction, training, evaluation, comparison, scoring, cache, dataset):
        group.add_commands(commands)
    return parser
