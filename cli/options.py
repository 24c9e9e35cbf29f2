"""Shared by the commands: examples in the help, `-c` and `--set`, progress, files to write."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Config


class Progress(Protocol):
    """Called with how much is done, the total, and perhaps a line on how it goes."""

    def __call__(self, done: int, total: int, line: str = "", /) -> None:
        """Show the progress."""


Commands = argparse._SubParsersAction  # argparse has no public name for it
"""To which a module adds its commands."""


def add_command(
    commands: "Commands[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    text: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: to which it is added.
        name: as it is typed.
        run: takes the parsed arguments; returns the exit code, None for 0.
        text: what it does, for the list of commands.
        example: a call that works.
    """
    added = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=run)
    return added


def add_config(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Give a command `-c FILE`, if `several` more than once, and `--set KEY=VALUE`."""
    parser.add_argument(
        "-c",
        dest="config",
        action="append" if several else "store",
        type=Path,
        metavar="FILE",
        help="configuration; default pipeline.toml here, else the built-in one",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting, such as extract.spatial.frames=4",
    )


def load(given: argparse.Namespace, first: Sequence[str] = ()) -> "Config":
    """The resolved configuration; `first` are overrides that come before those of `--set`."""
    from ..config import load_config

    return load_config(given.config, [*first, *given.overrides])[0]


def split_override(name: str) -> list[str]:
    """The override that chooses a split of the dataset."""
    return [f"dataset.split={json.dumps(name, ensure_ascii=False)}"]


@contextmanager
def writable(path: Path, option: str) -> Iterator[TextIO]:
    """Open a text file to write, and create its folder.

    Args:
        path: the file.
        option: the option that named it, for the message.

    Raises:
        ConfigError: it cannot be written.
    """
    with _refuse_unwritable(path, option), path.open("w", encoding="utf-8", newline="") as file:
        yield file


def check_writable(path: Path, option: str) -> None:
    """Refuse a file that cannot be written, before the work starts; raises ConfigError."""
    with _refuse_unwritable(path, option):
        new = not path.exists()
        path.open("a").close()
        if new:
            path.unlink()


@contextmanager
def _refuse_unwritable(path: Path, option: str) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ConfigError(
            f"{option} {path}: cannot be written: {error.strerror or error}; name another file"
        ) from error


def first_process() -> bool:
    """Whether this process prints: with torchrun, only the first one does."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A bar with rate and time left on a terminal; elsewhere a line for every tenth."""
    if not first_process():
        yield lambda done, total, line="": None
        return
    if not sys.stderr.isatty():
        yield _line_progress(title)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[line]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, line="")
        yield lambda done, total, line="": bar.update(task, completed=done, total=total, line=line)


def _line_progress(title: str) -> Progress:
    tenth = -1

    def progress(done: int, total: int, line: str = "") -> None:
        nonlocal tenth
        now = 10 if total == 0 else 10 * done // total
        if now > tenth:
            tenth = now
            text = f"{title}: {done}/{total}" + (f", {line}" if line else "")
            print(text, file=sys.stderr, flush=True)

    return progress
