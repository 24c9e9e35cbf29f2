"""The commands on a feature store."""

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import StoreError
from .options import Commands, add_command, add_config, load, progress, writable

if TYPE_CHECKING:
    from ..cache.care.readable import ReadableStore
    from ..cache.store import FeatureStore


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    cache = commands.add_parser(
        "cache",
        help="show, check, repair or share a feature store",
        description="Show, check, repair or share a feature store.",
        epilog="example:\n  finevq cache verify runs/demo/features",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = cache.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text, files in (
        ("info", _info, "print what a store holds, as JSON", "features"),
        ("failures", _failures, "list the videos without features and why, as CSV", "features"),
        ("verify", _verify, "read and check every value of a store", "features"),
        ("repair", _repair, "mend a store; `finevq extract` redoes damaged shards", "features"),
        ("export", _export, "write a store to one HDF5 file", "features features.h5"),
        ("import", _import, "make a store from an HDF5 file", "features.h5 features"),
    ):
        action = add_command(actions, name, run, text, f"finevq cache {name} {files}")
        if name == "import":
            action.add_argument("file", type=Path)
        action.add_argument("path", metavar="STORE", help="a folder or URL")
        if name == "export":
            action.add_argument("file", type=Path)
        if name == "verify":
            action.add_argument(
                "--live",
                type=int,
                default=0,
                metavar="N",
                help="also extract N of the configuration's videos again and compare",
            )
            add_config(action)
        if name == "failures":
            action.add_argument(
                "--out", type=Path, metavar="FILE", help="write to FILE instead of printing"
            )
        if name == "info":
            action.add_argument(
                "--sample",
                type=int,
                default=100,
                metavar="N",
                help="compute statistics of N videos at most; 0 for none; default 100",
            )


def _info(given: argparse.Namespace) -> int:
    from ..cache.care.readable import ReadableStore

    store = ReadableStore.open(given.path)
    info = store.info()
    damaged_row = None
    if given.sample > 0:
        from ..cache.care.statistics import statistics

        try:
            info["statistics"] = statistics(store, given.sample)
        except StoreError as error:
            damaged_row = str(error)
    print(json.dumps(info, indent=2, ensure_ascii=False))
    return _report_damage(store, damaged_row)


def _failures(given: argparse.Namespace) -> int:
    from ..cache.care.readable import ReadableStore

    store = ReadableStore.open(given.path)
    failures = store.failures()
    if given.out is None:
        _write_failures(failures, sys.stdout)
    else:
        with writable(given.out, "--out") as file:
            _write_failures(failures, file)
    return _report_damage(store)


def _write_failures(failures: Mapping[str, str], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["video", "reason"])
    writer.writerows(failures.items())


def _report_damage(store: "ReadableStore", damaged_row: str | None = None) -> int:
    """Print on stderr which commits, and which row, could not be read; returns the exit code."""
    damage = [*store.damaged.values(), *([damaged_row] if damaged_row else [])]
    for line in damage:
        print(line, file=sys.stderr)
    if damage:
        print(
            f"finevq: {store.url} is damaged, the rest of it was read: `finevq cache repair "
            f"{store.url}`, then `finevq extract`",
            file=sys.stderr,
        )
    return 2 if damage else 0


def _verify(given: argparse.Namespace) -> int:
    from ..cache.care.readable import ReadableStore
    from ..cache.care.verify import verify

    store = ReadableStore.open(given.path)
    problems, countable = 0, True
    with progress("verify") as step:
        for problem in verify(store, step):
            problems += 1
            countable &= problem.shard is not None
            print(problem, flush=True)
    if not countable:  # the plan or the arrays' metadata is damaged
        return 2
    if given.live > 0:
        problems += _verify_live(store, given)
    info = store.info()
    print(
        f"{info['committed']} of {info['shards']} shards committed, {info['ok']} videos with "
        f"features, {info['failed']} failed; {problems or 'no'} problems"
    )
    return 2 if problems else 0


def _verify_live(store: "FeatureStore", given: argparse.Namespace) -> int:
    """Extract videos again and print how far they deviate; returns the number of problems."""
    from ..dataset.videos import load_dataset

    config = load(given)
    dataset = load_dataset(config.dataset)
    dataset.check_files()
    from ..extract.job.live import verify_live

    deviations = []
    with progress("extract again") as step:
        for deviation in verify_live(store, dataset, config.extract, given.live):
            deviations.append(deviation)
            step(len(deviations), given.live)
    problems = [deviation for deviation in deviations if deviation.problem is not None]
    for deviation in problems:
        print(f"{deviation.video}: {deviation.problem}")
    spatial = max(deviation.spatial for deviation in deviations)
    motion = max(deviation.motion for deviation in deviations)
    print(
        f"{len(deviations)} videos extracted again: largest deviation {spatial:.1e} (spatial), "
        f"{motion:.1e} (motion), as a share of the stored norm"
    )
    return len(problems)


def _repair(given: argparse.Namespace) -> None:
    from ..cache.care.verify import repair
    from ..cache.store import FeatureStore

    store = FeatureStore.open(given.path)
    for line in store.mend():
        print(line, flush=True)
    committed, withdrawn = store.committed(), []
    with progress("repair") as step:
        for done, shard in enumerate(committed, start=1):
            problems = repair(store, shard)
            withdrawn += [shard] if problems else []
            for problem in problems:
                print(problem, flush=True)
            step(done, len(committed))
    if withdrawn:
        print(
            f"withdrew {len(withdrawn)} of {len(committed)} shards: "
            f"{', '.join(map(str, withdrawn))}; `finevq extract` extracts them again"
        )
    else:
        print(f"all {len(committed)} committed shards are sound")


def _export(given: argparse.Namespace) -> None:
    from ..cache.care.hdf5 import export_hdf5
    from ..cache.store import FeatureStore

    store = FeatureStore.open(given.path)
    with progress("export") as step:
        export_hdf5(store, given.file, step)
    info = store.info()
    print(f"{info['ok']} videos with features and {info['failed']} failed in {given.file}")


def _import(given: argparse.Namespace) -> None:
    from ..cache.care.hdf5 import import_hdf5

    with progress("import") as step:
        store = import_hdf5(given.file, given.path, step)
    info = store.info()
    print(f"{info['ok']} videos with features and {info['failed']} failed in {store.url}")
