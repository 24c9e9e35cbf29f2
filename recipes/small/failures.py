"""Step 8: pictures of where the small model is wrong.

    python failures.py OUT OUT/evaluation PICTURES

Of each dimension the test clip whose score lies furthest from its label, among clips of drawn
worlds and of the Kodak suite, whose pictures may be shown. Writes the middle frame of each to
PICTURES, and prints a table for docs/small-model.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import av
import pandas as pd
from PIL import Image

from finevq.dataset.videos import DIMENSIONS

WIDTH = 320


def shown(truth: dict[str, Any]) -> bool:
    """Whether a clip's picture may be published."""
    return str(truth["scene"]["picture"]).startswith(("world:", "kodim"))


def middle_frame(path: Path) -> Image.Image:
    """The frame in the middle of a clip, `WIDTH` pixels wide."""
    with av.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    frame = frames[len(frames) // 2]
    return frame.resize((WIDTH, round(frame.height * WIDTH / frame.width)))


def main() -> None:
    """Write the pictures and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("pictures", type=Path)
    given = parser.parse_args()
    truths = {}
    for path in (given.out / "truth").glob("*.json"):
        truth = json.loads(path.read_text("utf-8"))
        truths[truth["video"]] = truth
    table = pd.read_parquet(given.evaluation / "predictions.parquet")
    table = table[table["task"] == "score"]
    table["clip"] = "clips/" + table["video"].str.rsplit("/").str[-1]
    labels = pd.read_csv(given.out / "dataset" / "videos.csv").set_index("video")
    table = table[[shown(truths[clip]) for clip in table["clip"]]]
    given.pictures.mkdir(parents=True, exist_ok=True)
    print("| | dimension | label | score | word | what was done |\n|---|---|---|---|---|---|")
    for dimension in DIMENSIONS:
        rows = table[table["item"] == dimension]
        miss = (rows["prediction"].to_numpy() - labels.loc[rows["clip"], dimension]).abs()
        row = rows.iloc[int(miss.to_numpy().argmax())]
        truth, name = truths[row["clip"]], f"failure-{dimension}.jpg"
        middle_frame(given.out / row["clip"]).save(given.pictures / name, quality=85)
        done = ", ".join(
            f"{truth['recipe']['types'][d]} {strength:.2f}"
            for d, strength in truth["strengths"].items()
            if strength > 0.1
        )
        print(
            f"| ![{dimension}](pictures/{name}) | {dimension} "
            f"| {labels.loc[row['clip'], dimension]:.0f} | {row['prediction']:.0f} "
            f"| {row['prediction_text']} | {done or 'nothing'} |"
        )


if __name__ == "__main__":
    main()
