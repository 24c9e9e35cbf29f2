"""Imports every label file of a folder and checks row counts, ranges and official part sizes.

    .venv/bin/python benchmarks/labels.py FOLDER

The folder holds `finevq/` (the official repository's data), `fastvqa/` (the lists of FAST-VQA and
DOVER) and `dover_pred/` (CSV files with a column mos). Exits with 1 if a check fails.
"""

import json
import sys
import tempfile
from pathlib import Path

import pandas as pd

from finevq.config import load_config
from finevq.dataset.databases.importing import import_csv, import_database
from finevq.dataset.databases.report import ImportReport
from finevq.dataset.questions import load_questions
from finevq.dataset.splits import load_split
from finevq.dataset.videos import load_dataset

LISTS = {
    "lsvq": {"train": 28_056, "test": 7_186, "test-1080p": 3_573},
    "konvid-1k": {"all": 1_200},
    "youtube-ugc": {"all": 1_147},  # of 1,380: the labels that are public
    "live-vqc": {"all": 585},
    "maxwell": {"train": 3_634, "val": 909},
    "cvd2014": {"all": 234},
    "live-qualcomm": {"all": 208},
}
"""Rows by part, or of the whole."""

QUESTIONS = {
    "abcd2_train.jsonl": 4_058,
    "abcd2_test.jsonl": 1_016,
    "abcd_test.jsonl": 1_016,
    "abcd_test_en.jsonl": 1_016,
    "abcd_train_en.jsonl": 2_573,
    "yesno_test.jsonl": 5_080,
}
CSV = {  # rows and MOS range
    "kv1k": (1_200, (1, 5)),
    "livevqc": (585, (0, 100)),
    "ltest": (7_186, (0, 100)),
    "l1080p": (3_573, (0, 100)),
}


def opened(out: Path) -> dict[str, object]:
    """An imported dataset as the stages read it; raises what they would raise."""
    dataset = load_dataset(load_config(out / "dataset.toml")[0].dataset)
    mos = [label for video in dataset for label in video.labels.values()]
    found: dict[str, object] = {"videos": len(dataset)}
    if mos:
        found["mos"] = [min(mos), max(mos)]
    for path in sorted((out / "splits").glob("*.csv")):
        parts = load_split(dataset, path.stem)
        found[path.stem] = {part: len(videos) for part, videos in parts.items()}
    questions = load_questions(dataset)
    if questions:
        kinds = pd.Series([q.kind for asked in questions.values() for q in asked])
        found["questions"] = kinds.value_counts().sort_index().to_dict()
    return found


def main(folder: Path) -> int:
    results: dict[str, dict[str, object]] = {}
    wrong: list[str] = []

    def keep(name: str, report: ImportReport, out: Path, expected: dict[str, int]) -> None:
        got = report.parts or {"all": report.videos}
        if got != expected:
            wrong.append(f"{name}: {got}, expected {expected}")
        notes = [note for note in report.notes if "without a" not in note]  # no files are here
        results[name] = {"rows": report.rows, "notes": notes} | opened(out)

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name, expected in LISTS.items():
            report = import_database(name, folder / "fastvqa", work / name)
            keep(name, report, work / name, expected)
        official = folder / "finevq"
        scores = sorted(official.glob("livevqc_*.jsonl"))
        report = import_database("official", official, work / "scores", scores)
        keep("official scores", report, work / "scores", {"train": 468, "test": 117})
        asked = [official / name for name in QUESTIONS]
        report = import_database("official", official, work / "finevd", asked)
        keep("official questions", report, work / "finevd", {"train": 4_058, "test": 1_016})
        if report.rows != QUESTIONS:
            wrong.append(f"official questions: {report.rows}, expected {QUESTIONS}")
        for name, (rows, mos_range) in CSV.items():
            file = folder / "dover_pred" / f"{name}.csv"
            columns = {"video": "name", "overall": "mos"}
            report = import_csv(file, file.parent, work / name, columns, mos_range)
            keep(f"csv {name}", report, work / name, {"all": rows})
    union = folder / "fastvqa" / "LSVQ.txt"
    results["lsvq"]["rows of LSVQ.txt, the union of both test lists"] = sum(
        bool(line.strip()) for line in union.open(encoding="utf-8")
    )
    read = sum(len(dict(result["rows"])) for result in results.values())  # type: ignore[call-overload]
    result = {"files": read, "failed_checks": wrong, "imported": results}
    text = json.dumps(result, indent=2, ensure_ascii=False)
    Path(__file__).with_name("results").joinpath("labels.json").write_text(text + "\n", "utf-8")
    print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
