"""The commands that make, split, check and describe a dataset."""

import argparse
from dataclasses import replace
from pathlib import Path

from .options import Commands, add_command, add_config, load, progress


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
    _add_questions(actions)
    _add_import(actions)
    _add_split(actions)
    _add_check(actions)
    _add_describe(actions)


def _add_ratings(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "ratings",
        _ratings,
        "turn raw ratings into MOS, saying what was removed and why",
        "finevq dataset ratings ratings.csv --out study --root clips",
    )
    added.add_argument(
        "file", type=Path, help="subject,video,dimension,score, or one column a subject"
    )
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new dataset")
    added.add_argument(
        "--root", type=Path, default=Path(), metavar="DIR", help="the videos' folder"
    )
    added.add_argument("--name", help="the dataset's name (that of --out)")
    added.add_argument("--rule", default="paper", help="one of docs/datasets.md (paper)")
    added.add_argument("--scale", type=float, nargs=2, default=(1, 5), metavar=("LOW", "HIGH"))
    added.add_argument(
        "--dimension", default="overall", help="what was rated, if no column says (overall)"
    )
    added.add_argument("--missing", default="", metavar="X", help="stands for 'not rated'")
    added.add_argument("--attributes", type=Path, metavar="FILE", help="distortion types as ticked")
    _add_columns(added)
    for name, choices in (
        ("deviation", ["population", "sample"]),
        ("limits", ["strict", "inclusive"]),
        ("share-of", ["rated", "all"]),
    ):
        added.add_argument(f"--{name}", choices=choices, help="overrides the rule")


def _add_questions(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "questions",
        _questions,
        "compose the paper's questions from MOS and attributes",
        "finevq dataset questions -c study/dataset.toml",
    )
    added.add_argument("--attributes", type=Path, metavar="FILE", help="labels (attributes.csv)")
    added.add_argument("--seed", type=int, default=0, help="of the options and their order (0)")
    add_config(added)


def _add_import(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "import",
        _import,
        "import a published database, checking its size",
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
        help="official: the files to read; csv: the file",
    )
    added.add_argument(
        "--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="csv: MOS range"
    )
    _add_columns(added)


def _add_split(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "split",
        _split,
        "draw splits in which no content is in two parts",
        "finevq dataset split random -c data/dataset.toml --ratio 4:1 --rounds 10",
    )
    added.add_argument(
        "split_name", metavar="NAME", help="splits/NAME.csv; with rounds NAME1.csv, ..."
    )
    added.add_argument("--ratio", default="4:1:1", help="train:val:test or train:test (4:1:1)")
    added.add_argument("--rounds", type=int, default=1, help="independent splits (1)")
    added.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    added.add_argument("--group", default="", metavar="COLUMN", help="keep equal values together")
    added.add_argument("--stratify", action="store_true", help="spread the MOS evenly")
    added.add_argument(
        "--near-duplicates", action="store_true", help="keep videos that look alike together"
    )
    add_config(added)


def _add_check(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "check",
        _check,
        "prove that the parts of splits are disjoint by content",
        "finevq dataset check -c data/dataset.toml",
    )
    added.add_argument("--split", metavar="NAME", help="only this one; all if not given")
    added.add_argument(
        "--near-duplicates", action="store_true", help="look for similar pictures too"
    )
    add_config(added)


def _add_describe(actions: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        actions,
        "describe",
        _describe,
        "write a page of MOS, correlations and picture features",
        "finevq dataset describe -c data/dataset.toml --out description",
    )
    added.add_argument("--out", type=Path, default=Path("description"), metavar="DIR")
    added.add_argument("--no-features", action="store_true", help="do not decode the videos")
    added.add_argument("--workers", type=int, metavar="N", help="processes (one for each CPU)")
    add_config(added)


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
    from ..dataset.study.attributes import load_majority_attributes
    from ..dataset.study.rating_files import load_ratings
    from ..dataset.study.results import write_study
    from ..dataset.study.rules import rule_named

    rule = rule_named(given.rule)
    options = {name: getattr(given, name) for name in ("deviation", "limits", "share_of")}
    if rule.screening:
        overrides = {name: value for name, value in options.items() if value is not None}
        rule = replace(rule, screening=replace(rule.screening, **overrides))
    ratings = load_ratings(
        given.file,
        scale=tuple(given.scale),
        dimension=given.dimension,
        columns=dict(given.columns),
        missing=given.missing,
    )
    attributes = load_majority_attributes(given.attributes) if given.attributes else None
    name = given.name or given.out.absolute().name
    result = write_study(given.out, name, given.root, ratings, rule, attributes)
    print(
        f"{len(ratings.score)} ratings of {len(ratings.videos)} videos by {len(ratings.subjects)} "
        f"subjects; {len(result.removed)} removed (removed.csv), "
        f"{result.outlier_share:.2%} outliers"
    )
    for subject, share in result.rejected.items():
        print(f"  rejected: {subject}, {share:.1%} outliers")
    for note in result.notes:
        print(f"  {note}")
    print(f"dataset in {given.out}; use it with -c {given.out / 'dataset.toml'}")


def _questions(given: argparse.Namespace) -> None:
    from ..dataset.study.attributes import load_attribute_labels
    from ..dataset.study.compose import compose, write_questions
    from ..dataset.videos import load_dataset

    dataset = load_dataset(load(given).dataset)
    file = given.attributes or dataset.settings.folder / "attributes.csv"
    question_set = compose(dataset, load_attribute_labels(dataset, file), given.seed)
    write_questions(dataset, question_set)
    print(
        f"{len(question_set.questions)} questions, {len(question_set.levels)} levels and "
        f"{len(question_set.descriptions)} descriptions of {len(dataset)} videos in "
        f"{dataset.settings.folder}"
    )
    counts = {**question_set.answers, "letters of which": question_set.letters}
    for kind, answers in counts.items():
        common = answers.most_common()
        listed = ", ".join(f"{answer} {count}" for answer, count in common[:8])
        share = common[0][1] / answers.total()
        print(f"  {kind}: {listed}; always answering the first is right in {share:.0%}")


def _import(given: argparse.Namespace) -> None:
    from ..dataset.databases.importing import import_csv, import_database
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


def _split(given: argparse.Namespace) -> None:
    from ..dataset.splitting.writing import SplitRequest, write_splits
    from ..dataset.videos import load_dataset

    request = SplitRequest(
        name=given.split_name,
        ratio=given.ratio,
        rounds=given.rounds,
        seed=given.seed,
        group=given.group,
        stratify=given.stratify,
        near_duplicates=given.near_duplicates,
    )
    with progress("read videos") as step:
        written = write_splits(load_dataset(load(given).dataset), request, step)
    for name, counts in written.counts.items():
        parts = ", ".join(f"{count} {part}" for part, count in counts.items())
        print(f"splits/{name}.csv: {parts}; sha256 {written.digests[name]}")
    for note in written.notes:
        print(f"  {note}")


def _check(given: argparse.Namespace) -> int:
    from ..dataset.splits import split_names
    from ..dataset.splitting.checking import check_split
    from ..dataset.videos import load_dataset

    dataset = load_dataset(load(given).dataset)
    total = 0
    for name in [given.split] if given.split else split_names(dataset):
        with progress(f"check {name}") as step:
            problems = check_split(dataset, name, alike=given.near_duplicates, progress=step)
        total += len(problems)
        for problem in problems:
            print(f"{name}: {problem}")
        print(f"{name}: {len(problems) or 'no'} problems")
    return 2 if total else 0


def _describe(given: argparse.Namespace) -> None:
    from ..dataset.describe.description import describe
    from ..dataset.videos import load_dataset

    dataset = load_dataset(load(given).dataset)
    if not given.no_features:
        dataset.check_files()
    with progress("features") as step:
        written = describe(
            dataset, given.out, step, features=not given.no_features, workers=given.workers
        )
    print(f"written: {', '.join(map(str, written))}")
