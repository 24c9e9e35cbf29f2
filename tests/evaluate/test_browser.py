"""The pages in a real browser: no error, every figure visible, nothing wider than the window.

Needs Chromium and is skipped without it: `apt install chromium`.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.answers import answers_by
from finevq.evaluate.card import card_html
from finevq.evaluate.compare import Scores, compare
from finevq.evaluate.comparison import write_comparison
from finevq.evaluate.metrics import COLUMNS, measure
from finevq.evaluate.report import write_report
from finevq.evaluate.scorecard import Rating, Reply, ScoreCard
from finevq.evaluate.tables import published

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

# Runs in the page and leaves what it finds in the title, which --dump-dom shows.
PROBE = """
<script>
addEventListener("load", () => {
  const drawn = [...document.querySelectorAll("svg, img, .bar")];
  const seen = drawn.map((element) => element.getBoundingClientRect());
  const hidden = seen.filter((b) => b.width < 20 || b.height < 4).length;
  document.title = `figures ${seen.length} hidden ${hidden} ` +
    `page ${document.documentElement.scrollWidth} window ${innerWidth}`;
});
</script>
"""


def opened(page: Path, width: int) -> tuple[dict[str, int], str]:
    """What the probe finds in a copy of a page, and what the browser's console says."""
    html = page.read_text("utf-8").replace("default-src 'none'", "script-src 'unsafe-inline'")
    # Chromium's window is at least 500 wide: a frame of the width is put into it.
    probed = page.with_name(f"probed-{width}.html")
    probed.write_text(html.replace("</head>", PROBE + "</head>"), "utf-8")
    frame = page.with_name(f"frame-{width}.html")
    frame.write_text(
        f"<iframe id=f src={probed.name} style='width:{width}px;height:900px;border:0'></iframe>"
        "<script>f.onload = () => setTimeout(() => {"
        "document.title = f.contentDocument.title }, 50)</script>",
        "utf-8",
    )
    run = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--allow-file-access-from-files", "--enable-logging=stderr", "--v=0"),
            *("--window-size=1600,1000", "--virtual-time-budget=3000"),
            f"--user-data-dir={page.parent / 'profile'}",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", run.stdout)
    assert title, run.stdout[:500]
    words = title.group(1).split()
    numbers = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    console = [line for line in run.stderr.splitlines() if ":CONSOLE" in line]
    return numbers, "\n".join(console)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        video = f"clips/a-long-name-of-a-video-{i:02}.mp4"
        for dimension in DIMENSIONS:
            label = rng.uniform(0, 100)
            score = label + rng.normal(0, 10)
            rows.append((video, "score", dimension, None, score, label, score, "good", "fair"))
        rows.append((video, "question", "yes-no blur", "Any?", None, None, None, "Yes", "Yes"))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    categories = {video: f"category {i % 3}" for i, video in enumerate(table["video"].unique())}
    metrics = measure(
        table,
        split="scenes",
        part="test",
        labelled=sorted(set(table["video"])),
        failed={"broken.mp4": "is damaged"},
        mos_range=(0.0, 100.0),
        categories=categories,
    )
    path = tmp_path / "report.html"
    write_report(
        path,
        metrics,
        table,
        title="FineVQ",
        mos_range=(0.0, 100.0),
        facts={"Checkpoint": "runs/" + "x" * 80},
        categories=categories,
    )
    return path


@pytest.mark.parametrize("width", [390, 1440])
def test_the_report_opens_with_all_its_figures(report: Path, width: int) -> None:
    found, console = opened(report, width)
    assert (found["figures"], found["hidden"]) == (2 * len(DIMENSIONS), 0)
    assert found["window"] == width
    assert found["page"] <= width
    assert console == ""


@pytest.mark.parametrize("width", [390, 1440])
def test_the_card_opens_with_all_its_gauges(tmp_path: Path, width: int) -> None:
    rating = Rating(61.5, "good", {"good": 1.0}, 70.0, 80.0)
    replies = [Reply("yes-no blur", "No", {"Yes": 0.1, "No": 0.9})]
    ratings = dict.fromkeys(DIMENSIONS, rating)
    page = tmp_path / "card.html"
    page.write_text(card_html(ScoreCard("x", (0.0, 100.0), ratings, None, replies), "x.mp4"))
    found, console = opened(page, width)
    assert (found["figures"], found["hidden"]) == (6, 0)
    assert found["page"] <= width
    assert console == ""


@pytest.mark.parametrize("width", [390, 1440])
def test_the_comparison_opens_with_all_its_figures(tmp_path: Path, width: int) -> None:
    rng = np.random.default_rng(0)
    videos = [f"{i}.mp4" for i in range(20)]
    mos = pd.DataFrame({d: rng.uniform(0, 100, 20) for d in DIMENSIONS}, index=videos)
    kinds = [*(f"yes-no {d}" for d in DIMENSIONS), "which exists", "which most"]
    right = answers_by(
        (v, kind, "?", str(rng.choice(["A", "B"]))) for v in videos for kind in kinds
    )
    labels = Scores("labels", mos, right)
    models = [Scores(c * 60, mos + rng.normal(0, 20, mos.shape), right) for c in "ab"]
    page = tmp_path / "page.html"
    facts = {"Labels": "x" * 80}
    write_comparison(page, compare(models, labels), labels, published("FineVD"), facts=facts)
    found, console = opened(page, width)
    assert (found["figures"], found["hidden"]) == (len(DIMENSIONS), 0)
    assert found["page"] <= width
    assert console == ""
