"""The commands on a dataset: from ratings or published labels to what the stages work on."""

import argparse
from dataclasses import replace
from pathlib import Path

from .options import Commands, add_command


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    dataset = commands.add_parser(
        "dataset",
        help="make, split, check and describe a dataset",
        description="Make, split, check and describe a dataset.",
        epilog="example:\n  finevq dataset ratings ratings.csv --out study --root clips",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = dataset.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_ratings(actions)
    _add_import(actions)


def _add_ratings(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "ratings",
        _ratings,
        "turn the raw ratings of a study into MOS, saying what was removed and why",
        "finevq dataset ratings ratings.csv --out study --root clips",
    )
    added.add_argument(
        "file", type=Path, help="subject,video,dimension,score or a column a subject"
    )
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new dataset")
    added.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="of the videos")
    added.add_argument("--name", help="of the dataset (the name of --out)")
    added.add_argument("--rule", default="paper", help="of docs/datasets.md (paper)")
    added.add_argument("--scale", type=float, nargs=2, default=(1, 5), metavar=("LOW", "HIGH"))
    added.add_argument("--dimension", default="overall", help="of a file that names none (overall)")
    added.add_argument("--missing", default="", metavar="X", help="what stands for no rating")
    added.add_argument("--attributes", type=Path, metavar="FILE", help="labels to take by majority")
    _add_columns(added)
    for name, choices in (
        ("deviation", ["population", "sample"]),
        ("limits", ["strict", "inclusive"]),
        ("share-of", ["rated", "all"]),
    ):
        added.add_argument(f"--{name}", choices=choices, help="instead of the rule's")


def _add_import(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "import",
        _import,
        "import a published database, checking it against its published size",
        "finevq dataset import live-vqc LIVE-VQC --out data/live-vqc",
    )
    added.add_argument("database", help="one of docs/datasets.md, or csv")
    added.add_argument("folder", type=Path, help="its labels and videos")
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new dataset")
    added.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="official: these files; csv: the file",
    )
    added.add_argument("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="csv: of MOS")
    _add_columns(added)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--columns",
        type=_pair,
        nargs="+",
        default=[],
        metavar="OURS=THEIRS",
        help="the file's own column names",
    )


def _pair(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not (ours and equals and theirs):
        raise argparse.ArgumentTypeError(f"{text!r} is not OURS=THEIRS, such as video=clip")
    return ours, theirs


def _ratings(given: argparse.Namespace) -> None:
    from ..dataset.rating_files import load_attributes, load_ratings, write_study
    from ..dataset.ratings import rule_named

    rule = rule_named(given.rule)
    chosen = {k: getattr(given, k) for k in ("deviation", "limits", "share_of")}
    if rule.screening:
        changes = {k: v for k, v in chosen.items() if v is not None}
        rule = replace(rule, screening=replace(rule.screening, **changes))
    ratings = load_ratings(
        given.file,
        scale=tuple(given.scale),
        dimension=given.dimension,
        columns=dict(given.columns),
        missing=given.missing,
    )
    attributes = load_attributes(given.attributes) if given.attributes else None
    name = given.name or given.out.absolute().name
    found = write_study(given.out, name, given.root, ratings, rule, attributes)
    print(
        f"{len(ratings.score)} ratings of {len(ratings.videos)} videos by {len(ratings.subjects)} "
        f"subjects; {len(found.removed)} removed (removed.csv), {found.outlier_share:.2%} outliers"
    )
    for subject, share in found.rejected.items():
        print(f"  rejected: {subject}, {share:.1%} outliers")
    for note in found.notes:
        print(f"  {note}")
    print(f"dataset in {given.out}; use it with -c {given.out / 'dataset.toml'}")


def _import(given: argparse.Namespace) -> None:
    from ..dataset.importing import import_csv, import_database
    from ..errors import DatasetError

    if given.database == "csv":
        if not (given.labels and given.range and given.columns):
            raise DatasetError(
                "import csv needs --labels FILE, --range LOW HIGH and --columns video=NAME "
                "overall=NAME"
            )
        report = import_csv(
            given.labels[0], given.folder, given.out, dict(given.columns), tuple(given.range)
        )
    else:
        report = import_database(given.database, given.folder, given.out, given.labels)
    for file, rows in report.rows.items():
        print(f"{file}: {rows} rows")
    labels = ", ".join(f"{count} in {name}" for name, count in report.labels.items()) or "none"
    print(f"{report.videos} videos; labels: {labels}")
    if report.parts:
        print("parts: " + ", ".join(f"{count} {part}" for part, count in report.parts.items()))
    for note in report.notes:
        print(f"  {note}")
    print(f"dataset in {given.out}; use it with -c {given.out / 'dataset.toml'}")
