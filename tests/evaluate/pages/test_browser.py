"""The pages in a real browser: no error, every figure visible, nothing wider than the window.

Needs Chromium and is skipped without it: `apt install chromium`.
"""

import json
import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from finevq.dataset.questions import LEVELS
from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.compare.comparison import compare
from finevq.evaluate.compare.published import published
from finevq.evaluate.compare.scores import Scores
from finevq.evaluate.metrics.answers import answers_by
from finevq.evaluate.metrics.measure import COLUMNS, measure
from finevq.evaluate.pages.card import PICTURES, write_card
from finevq.evaluate.pages.comparison import write_comparison
from finevq.evaluate.pages.report import write_report
from finevq.evaluate.pages.serve import Server
from finevq.evaluate.pages.thumbnails import HEIGHT
from finevq.evaluate.score.scorecard import Rating, Reply, ScoreCard

from ..score.test_scorer import write_noise

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

# Every figure, and those that are too small to be seen.
FIGURES = """(() => {
  const drawn = [...document.querySelectorAll("svg, img, .bar")];
  const seen = drawn.map((element) => element.getBoundingClientRect());
  const hidden = seen.filter((box) => box.width < 20 || box.height < 4).length;
  const tight = document.querySelectorAll(".confusion th, .confusion, #misses table");
  const cut = [...tight].filter((e) => e.scrollWidth > e.clientWidth ||
    e.tagName == "TABLE" && e.offsetWidth > e.parentElement.clientWidth).length;
  const first = [...document.querySelectorAll(".wide th:first-child")];
  const still = first.every((e) => getComputedStyle(e).position == "sticky");
  return { figures: seen.length, hidden, cut, still, page: document.documentElement.scrollWidth };
})()"""


class Browser:
    """A tab of Chromium, driven by the DevTools protocol over a pair of pipes."""

    def __init__(self, profile: Path) -> None:
        # It reads commands from descriptor 3 and answers on 4.
        pipes = ("/bin/sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null')
        self.process = subprocess.Popen(
            [
                *(*pipes, str(CHROMIUM), "--remote-debugging-pipe", f"--user-data-dir={profile}"),
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update"),
                *("--disable-sync", "--disable-quic"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.data = b""
        self.session: dict[str, str] = {}
        self.sent = 0
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self(f"{domain}.enable")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters, **self.session}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while (reply := self._next()).get("id") != self.sent:
            self.events.append(reply)
        assert "result" in reply, reply
        return reply["result"]

    def _next(self) -> dict[str, Any]:
        assert self.process.stdout
        pipe = self.process.stdout.fileno()
        while b"\0" not in self.data:
            assert select.select([pipe], [], [], 60)[0], "Chromium is silent"
            read = os.read(pipe, 1 << 20)
            assert read, "Chromium has ended"
            self.data += read
        message, _, self.data = self.data.partition(b"\0")
        return json.loads(message)

    def open(self, url: str, width: int, scheme: str = "light") -> None:
        """Load a page, as it is, in a window of that width."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self("Emulation.setDeviceMetricsOverride", **size)
        preferred = {"name": "prefers-color-scheme", "value": scheme}
        self("Emulation.setEmulatedMedia", features=[preferred])
        self.events.clear()
        self("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """Of an expression in the page; a promise is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        for _ in range(400):
            if self.value(condition):
                return
            time.sleep(0.05)
        raise AssertionError(f"never true: {condition}")

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input, as its dialog does."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def console(self) -> list[str]:
        """What the console says since the page was opened."""
        self.value("new Promise((done) => setTimeout(done, 100))")
        lines = []
        for event in self.events:
            if event["method"] == "Log.entryAdded":
                lines.append(event["params"]["entry"]["text"])
            elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                lines.append(json.dumps(event["params"]))
        return lines


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


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
def test_the_report_opens_with_all_its_figures(browser: Browser, report: Path, width: int) -> None:
    browser.open(report.as_uri(), width)
    assert browser.value("innerWidth") == width
    found = check_figures(browser, 2 * len(DIMENSIONS), width)
    assert found["cut"] == 0
    assert found["still"] == (width == 390)  # a wide table keeps its first column in sight


@pytest.mark.parametrize("width", [390, 1440])
def test_the_card_opens_with_all_its_gauges_and_pictures(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    video = write_noise(tmp_path / "a-long-name-of-a-video-without-a-space.mp4", 1)
    write_card(tmp_path / "card.html", fake_card(str(video)), {"Model": "x" * 80})
    browser.open((tmp_path / "card.html").as_uri(), width)
    check_figures(browser, len(DIMENSIONS) + PICTURES, width)


@pytest.mark.parametrize("width", [390, 1440])
def test_the_comparison_opens_with_all_its_figures(
    browser: Browser, tmp_path: Path, width: int
) -> None:
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
    comparison = {"labels": compare(models, labels)}
    write_comparison(page, comparison, [labels], published("FineVD"), facts=facts)
    browser.open(page.as_uri(), width)
    check_figures(browser, len(DIMENSIONS), width)


@pytest.fixture
def served() -> Iterator[str]:
    """The address of a server that knows no broken video but an empty one."""
    with Server(("127.0.0.1", 0), fake_card, limit=100_000, facts={}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("width", [390, 1440])
def test_a_video_is_dropped_on_the_page_and_its_card_seen(
    browser: Browser, served: str, tmp_path: Path, width: int
) -> None:
    browser.open(served, width)
    browser.choose("#file", write_noise(tmp_path / "clip.mp4", 1))
    browser.wait("card.checkVisibility()")
    assert browser.value("state.textContent") == "clip.mp4"
    assert browser.value("card.contentDocument.querySelectorAll('.gauge').length") == 6
    pictures = "[...card.contentDocument.images]"
    assert browser.value(f"{pictures}.map((p) => p.naturalHeight)") == [HEIGHT] * PICTURES
    assert browser.value("card.contentDocument.documentElement.scrollWidth") <= width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.console() == []


def test_the_same_video_may_be_rated_again(browser: Browser, served: str, tmp_path: Path) -> None:
    clip = write_noise(tmp_path / "clip.mp4", 1)
    browser.open(served, 1440)
    browser.choose("#file", clip)
    browser.wait("card.checkVisibility()")
    assert browser.value("file.files.length") == 0  # or choosing it again would change nothing
    browser.value("card.hidden = true")
    browser.choose("#file", clip)
    browser.wait("card.checkVisibility()")


@pytest.mark.parametrize(
    ("content", "says", "console"),
    [
        (b"not a video", "other.mp4: is not a video", ["422"]),
        (b"", "other.mp4: is empty", ["400"]),
        (b"x" * 100_001, "other.mp4 is larger than", []),
    ],
    ids=["broken", "empty", "large"],
)
def test_a_video_that_fails_is_told_without_the_card_of_the_last(
    browser: Browser, served: str, tmp_path: Path, content: bytes, says: str, console: list[str]
) -> None:
    browser.open(served, 1440)
    browser.choose("#file", write_noise(tmp_path / "clip.mp4", 1))
    browser.wait("card.checkVisibility()")
    (tmp_path / "other.mp4").write_bytes(content)
    browser.choose("#file", tmp_path / "other.mp4")
    browser.wait(f"state.textContent.startsWith({json.dumps(says)})")
    assert not browser.value("card.checkVisibility()")
    lines = browser.console()  # Chromium itself tells of an answer that is an error
    assert len(lines) == len(console)
    assert all(f"status of {status} " in line for status, line in zip(console, lines, strict=True))


def fake_card(path: str) -> ScoreCard:
    """What a model could say of a video."""
    if Path(path).read_bytes() == b"not a video":
        return ScoreCard(path, (0.0, 100.0), {}, "is not a video")
    words = dict(zip(LEVELS, (0.0, 0.1, 0.2, 0.6, 0.1), strict=True))
    ratings = dict.fromkeys(DIMENSIONS, Rating(61.5, "good", words, 70.0, 80.0))
    replies = [Reply(f"yes-no {d}", "No", {"Yes": 0.1, "No": 0.9}) for d in DIMENSIONS[:-1]]
    return ScoreCard(path, (0.0, 100.0), ratings, None, replies, 8.0)


def check_figures(browser: Browser, figures: int, width: int) -> dict[str, Any]:
    """All are there and visible, nothing is wider than the window, the console is silent."""
    found: dict[str, Any] = browser.value(FIGURES)
    assert (found["figures"], found["hidden"]) == (figures, 0)
    assert found["page"] <= width
    assert browser.console() == []
    return found
