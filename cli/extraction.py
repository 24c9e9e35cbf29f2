"""The command `finevq extract`, and what it shows while it runs."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreError
from .options import Commands, add_command, add_config, check_writable, load, writable

if TYPE_CHECKING:
    from ..config import Config
    from ..extract.job.tally import Tally

LINE_INTERVAL_S = 60
"""Without a terminal, a line is printed after so many seconds, and at every tenth of the videos."""


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    extract = add_command(
        commands,
        "extract",
        _extract,
        "store the features of all videos",
        "finevq extract -c my.toml --set extract.cluster.workers=4",
    )
    extract.add_argument(
        "--shards",
        type=_range,
        metavar="FIRST:END",
        help="only these shards, END not included; for several jobs on one store",
    )
    extract.add_argument("--retry-failed", action="store_true", help="also try failed videos again")
    extract.add_argument("--summary", type=Path, metavar="FILE", help="write what was done as JSON")
    add_config(extract)


def _range(text: str) -> range:
    first, _, end = text.partition(":")
    try:
        shards = range(int(first), int(end))
    except ValueError:
        shards = range(0)
    if not shards or shards.start < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: write it as FIRST:END, such as 0:100")
    return shards


def _extract(given: argparse.Namespace) -> None:
    if given.summary is not None:
        check_writable(given.summary, "--summary")
    run_extract(
        load(given), shards=given.shards, retry_failed=given.retry_failed, summary=given.summary
    )


def run_extract(
    config: "Config",
    *,
    shards: range | None = None,
    retry_failed: bool = False,
    summary: Path | None = None,
) -> None:
    """Extract the features of the configuration's dataset.

    Args:
        config: of the dataset, the extraction and the store.
        shards: as in `finevq.extract.job.run.extract`.
        retry_failed: as in `finevq.extract.job.run.extract`.
        summary: a file for a summary of the job as JSON, written also if the job ends early.
    """
    from ..dataset.videos import load_dataset

    dataset = load_dataset(config.dataset)  # its errors come before torch is loaded
    from ..cache.care.readable import ReadableStore
    from ..extract.job.run import extract
    from ..extract.job.tally import TooManyFailures, most_frequent

    last: Tally | None = None

    def keep_and_show(tally: "Tally") -> None:
        nonlocal last
        last = tally
        show(tally)

    try:
        with _display() as show:
            tally = extract(
                dataset,
                config.extract,
                config.cache,
                shards=shards,
                retry_failed=retry_failed,
                progress=keep_and_show,
            )
    except BaseException as error:
        if summary is not None and last is not None:
            last.stop()
            _write_summary(summary, last, str(error) or type(error).__name__)
        raise
    store = ReadableStore.open(config.cache.path)
    failures = store.failures()
    tally.failed_before = sum(v in failures and v not in tally.failed for v in dataset.ids)
    if summary is not None:
        _write_summary(summary, tally, None)
    _print_result(tally, config.cache.path)
    if tally.failed and tally.extracted == 0 and tally.present == tally.failed_before:
        reasons = most_frequent(tally.failed.values())
        raise TooManyFailures(f"none of the {len(dataset)} videos has features: {reasons}")
    if store.damaged:
        names = ", ".join(map(str, store.damaged))
        raise StoreError(
            f"{store.url}: the commits of shards {names} are damaged: `finevq cache repair "
            f"{store.url}`, then run the same command again"
        )


def _print_result(tally: "Tally", path: str) -> None:
    before = f", {tally.failed_before} of them failed (--retry-failed tries these again)"
    print(
        f"features of {tally.extracted} videos stored in {path}; "
        f"{tally.present} were there before{before if tally.failed_before else ''}; "
        f"{len(tally.failed)} failed"
    )
    for video, reason in tally.failed.items():
        print(f"  failed: {video}: {reason}")


def _write_summary(path: Path, tally: "Tally", stopped: str | None) -> None:
    text = json.dumps(tally.to_json() | {"stopped": stopped}, indent=2, ensure_ascii=False)
    with writable(path, "--summary") as file:
        file.write(text + "\n")


@contextmanager
def _display() -> "Iterator[Callable[[Tally], None]]":
    """Yield what shows a tally: first the plan, then a bar on a terminal, or else lines."""
    if not sys.stderr.isatty():
        yield _line_printer()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("extract"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("extract", total=None, state="")

        def show(tally: "Tally") -> None:
            if tally.videos == 0:
                bar.console.print(_plan(tally), highlight=False)
            bar.update(task, completed=tally.videos, total=tally.total, state=_state(tally))

        yield show


def _line_printer() -> "Callable[[Tally], None]":
    tenths, printed_at = 0, time.monotonic()

    def show(tally: "Tally") -> None:
        nonlocal tenths, printed_at
        if tally.videos == 0:
            print(_plan(tally), file=sys.stderr, flush=True)
            return
        done = 10 * tally.videos // tally.total
        if done > tenths or time.monotonic() - printed_at > LINE_INTERVAL_S:
            tenths, printed_at = done, time.monotonic()
            text = f"extract: {tally.videos}/{tally.total} {_state(tally)}"
            print(text, file=sys.stderr, flush=True)

    return show


def _plan(tally: "Tally") -> str:
    if tally.total == 0:
        return "extract: nothing to do"
    warning = "" if tally.space.enough else ": not enough, the job will stop when the disk is full"
    return f"extract: {tally.total} videos need {tally.space}{warning}"


def _state(tally: "Tally") -> str:
    """Rates, the slowest stage, the time left and the number of failures, in one line."""
    if tally.bottleneck is None or tally.left_s is None:
        return ""
    busy = tally.shares[tally.bottleneck]
    return (
        f"videos, {tally.videos_per_s:.2f}/s, {tally.frames_per_s:.0f} frames/s, "
        f"{tally.bottleneck} {busy:.0%} busy, {tally.bytes / 1e9:.2f} GB, "
        f"{_duration(tally.left_s)} left, {len(tally.failed)} failed"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
