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
