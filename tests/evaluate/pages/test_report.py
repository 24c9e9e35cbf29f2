"""The report: complete, self-contained, escaped, the same bytes for the same input."""

import re
from functools import partial
from html.parser import HTMLParser
from xml.etree import ElementTree

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.metrics.logistic import Logistic
from finevq.evaluate.metrics.measure import COLUMNS, measure
from finevq.evaluate.pages import figures
from finevq.evaluate.pages.report import MISSES, write_report

EVIL = '<script>alert("it\'s")</script>&.mp4'


def predictions(n=12, videos=None):
    """Scores of all dimensions (temporal without labels) and one kind of question."""
    rng = np.random.default_rng(0)
    rows = []
    for video in videos or [f"clips/{i:02}.mp4" for i in range(n)]:
        for dimension in DIMENSIONS:
            label = rng.uniform(0, 100)
            predicted = label + rng.normal(0, 10)
            shown = None if dimension == "temporal" else label
            rows.append((video, "score", dimension, None, predicted, shown, 50.0, "good", "fair"))
        rows.append((video, "question", "yes-no blur", "Any?", None, None, None, "Yes", "Yes"))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_in(folder, table, *, failed=None, labelled=(), categories=None, leakage=None, **given):
    """Write the report of a table of predictions into a folder, and read the page."""
    metrics = measure(
        table,
        split="scenes",
        part="test",
        labelled=[*sorted(set(table["video"])), *labelled],
        failed=failed or {},
        mos_range=(0.0, 100.0),
        categories=categories,
    )
    if leakage:
        metrics["leakage"] = leakage
    given = {"title": "FineVQ on demo", "facts": {}} | given
    path = folder / "report.html"
    write_report(path, metrics, table, mos_range=(0.0, 100.0), categories=categories, **given)
    return path.read_text("utf-8")


@pytest.fixture
def report(tmp_path):
    """Writes a report into the test's folder."""
    return partial(write_in, tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of `predictions()`, written once."""
    return write_in(tmp_path_factory.mktemp("report"), predictions())


def write_video(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


class _Outline(HTMLParser):
    """Collects tags, ids and texts, and checks that every element is closed in its turn."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.text, self._open = [], [], [], []
        self.feed(html.replace("<wbr>", ""))  # a name may be broken there
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "br", "img"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def section(html, name):
    return re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL).group()


def rows_of(html):
    """The texts of each table row's cells."""
    html = html.replace("<wbr>", "")
    return [
        [
            " ".join(re.sub(r"<[^>]*>", " ", cell).split()).replace("— 1", "—1")
            for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    ]


def test_it_has_all_sections(page):
    found = re.findall(r'<section id="(.*?)">', page)
    assert found == [
        *("coverage", "dimensions", "scatter", "distribution", "residuals", "levels"),
        *("questions", "misses"),
    ]


def test_it_is_well_formed_and_its_ids_are_unique(page):
    outline = _Outline(page)
    assert len(outline.ids) == len(set(outline.ids))


def test_it_draws_two_figures_a_dimension(page):
    assert _Outline(page).tags.count("svg") == 2 * len(DIMENSIONS)


def test_it_refers_to_nothing_outside_itself(page):
    assert not re.search(r"https?://|//cdn|\bsrc=(?!\"data:)|@import|<link|<script", page)
    assert set(re.findall(r'href="(.)', page)) == {"#"}


def test_it_forbids_the_browser_to_load_anything(page):
    assert "default-src 'none'" in page


def test_the_drawings_refer_to_ids_that_exist(page):
    referred = set(re.findall(r'href="#([^"]+)|url\(#([^)]+)\)', page))
    assert {a or b for a, b in referred} <= set(_Outline(page).ids)


def test_it_follows_the_theme_of_the_reader(page):
    used = set(re.findall(r"var\((--\w+)\)", page))
    themes = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    light, dark = (set(re.findall(r"(--\w+):", theme)) for theme in themes)
    assert "prefers-color-scheme: dark" in page
    assert used == light == dark


def test_no_drawing_keeps_a_placeholder_colour(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert not [found for found in drawings if re.search(r"#[0-9a-f]{6}\b(?!\w)", found)]


def test_names_reasons_title_and_facts_are_escaped(report):
    table = predictions(videos=[EVIL, "a.mp4"])
    html = report(
        table,
        failed={"x" + EVIL: EVIL},
        labelled=["x" + EVIL, "y" + EVIL],
        title=EVIL,
        facts={EVIL: EVIL},
    )
    assert "<script" not in html
    outline = _Outline(html)
    assert "script" not in outline.tags
    # The title twice, a fact and its name, a failure and its reason, a missing video, and the
    # misses: one overall, five of any dimension.
    assert sum(EVIL in text for text in outline.text) == 2 + 2 + 2 + 1 + 1 + 5


def test_the_same_input_gives_the_same_bytes(report):
    table = predictions()
    assert report(table) == report(table.copy())


def test_the_headline_table_holds_the_metrics(report):
    table = predictions()
    metrics = measure(table, split="s", part="test", labelled=[], failed={}, mos_range=(0.0, 100.0))
    blur, row = metrics["dimensions"]["blur"], rows_of(section(report(table), "dimensions"))[4]
    low, high = blur["srcc_ci"]
    assert row == [
        "blur",
        "",
        f"{blur['srcc']:.3f} {low:.3f} to {high:.3f}",
        *(f"{blur[m]:.3f} {ci(blur, m, '.3f')}" for m in ("krcc", "plcc", "plcc_fitted")),
        *(f"{blur[m]:.1f} {ci(blur, m, '.1f')}" for m in ("rmse", "rmse_fitted")),
        "12 of 12",
    ]


def test_level_words_stand_beside_their_baseline(page):
    rows = rows_of(section(page, "levels"))
    nothing = "0.0 % 0.0 % to 0.0 %"
    assert rows[4] == ["blur", nothing, "100.0 %", "\N{MINUS SIGN}100.0", nothing, "12 of 12"]


def ci(row, metric, form):
    low, high = row[f"{metric}_ci"]
    return f"{low:{form}} to {high:{form}}"


def test_an_undefined_metric_is_a_dash_with_its_reason_below(page):
    found = section(page, "dimensions")
    assert rows_of(found)[5] == ["temporal", "", *["—1"] * 6, "0 of 0"]
    assert "<li>0 labelled predictions, at least 3 are needed</li>" in found


def test_failed_and_missing_videos_are_listed(report):
    html = report(
        predictions(), failed={"broken.mp4": "no frames"}, labelled=["broken.mp4", "lost.mp4"]
    )
    found = section(html, "coverage")
    assert "12 of 14 labelled videos of scenes / test were predicted" in found
    assert rows_of(found)[1:] == [
        ["broken.mp4", "no frames"],
        ["lost.mp4", "missing: neither predicted nor failed"],
    ]


def test_full_coverage_says_so(page):
    assert "None failed, none is missing." in section(page, "coverage")


def test_accuracy_stands_beside_the_majority_baseline(page):
    assert rows_of(section(page, "questions"))[1] == [
        "yes-no blur", "100.0 % 100.0 % to 100.0 %", "100.0 %", "+0.0",
        "100.0 % 100.0 % to 100.0 %", "12",
    ]  # fmt: skip


def test_without_questions_it_says_so(report):
    table = predictions()
    found = section(report(table[table["task"] == "score"]), "questions")
    assert "The predictions hold no questions." in found


def test_the_largest_misses_come_first(report):
    table = predictions(30)
    scores = table[(table["item"] == "overall") & (table["task"] == "score")]
    miss = scores["prediction"] - scores["label"]
    order = miss.abs().sort_values(ascending=False).index[:MISSES]
    found = rows_of(section(report(table), "misses").partition("Any dimension")[0])
    assert [row[0] for row in found[1:]] == list(scores.loc[order, "video"])
    assert found[1][-1] == f"{miss[order[0]]:.1f}".replace("-", "\N{MINUS SIGN}")


def test_without_labels_there_is_still_a_report(report):
    table = predictions().assign(label=None, label_text=None)
    assert "No prediction has a label to compare with." in section(report(table), "misses")


def test_predictions_outside_the_range_are_counted(report):
    table = predictions()
    table.loc[table["task"] == "score", "prediction"] = 50.0
    table.loc[0, "prediction"] = 101.0
    found = section(report(table), "scatter")
    assert "1 prediction outside the MOS range is drawn on the border" in found


def test_residuals_are_shown_by_category(report):
    of = {f"clips/{i:02}.mp4": "sport" if i < 7 else "a<b" for i in range(12)}
    rows = rows_of(section(report(predictions(), categories=of), "residuals"))
    assert [(row[0], row[-1]) for row in rows[1:]] == [("a&lt;b", "5"), ("sport", "7")]


def test_without_categories_it_says_so(page):
    assert "No labelled video has a category." in section(page, "residuals")


def test_confusion_counts_words_by_the_right_one(report):
    table = predictions()  # every label is fair, every word good
    overall = section(report(table), "levels").partition("All dimensions")[0]
    rows = {row[0]: row[1:] for row in rows_of(overall)}
    assert rows["fair"] == ["0", "0", "0", "100", "0"]
    assert rows["good"] == ["0"] * 5


def test_a_name_breaks_at_its_folders_and_before_its_suffix(report):
    found = section(report(predictions(videos=["a/b_c.mp4", "d.e.mp4"])), "misses")
    assert "a/<wbr>b_<wbr>c<wbr>.mp4" in found
    assert "d.e<wbr>.mp4" in found


def test_the_largest_misses_have_pictures(report, tmp_path):
    write_video(tmp_path / "a.mp4")
    files = {"clips/a.mp4": tmp_path / "a.mp4", "clips/b.mp4": tmp_path / "gone.mp4"}
    found = section(report(predictions(videos=list(files)), files=files), "misses")
    assert 'src="data:image/jpeg;base64,' in found
    assert 'alt="a frame of clips/a.mp4"' in found
    assert "a frame of clips/b.mp4" not in found


def test_videos_seen_in_training_are_told(report):
    html = report(predictions(), leakage={"checked": True, "videos": ["a", "b"]})
    assert "2 of these videos were in the checkpoint's training" in section(html, "coverage")


def test_the_figures_are_files_of_their_own(report, tmp_path):
    report(predictions())
    names = {f"{kind}-{d}" for kind in ("scatter", "distribution") for d in DIMENSIONS}
    files = {f"{name}{suffix}" for name in names for suffix in (".svg", ".png")}
    assert {file.name for file in (tmp_path / "figures").iterdir()} == files
    for name in names:
        text = (tmp_path / "figures" / f"{name}.svg").read_text()
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        for colour in set(re.findall(r"#[0-9a-f]{6}\b", text)):
            assert colour in figures.LIGHT
        with Image.open(tmp_path / "figures" / f"{name}.png") as picture:
            assert picture.width == 1000
            assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
            assert len(picture.getcolors(1 << 16)) > 10


def test_the_same_figure_gives_the_same_files(tmp_path):
    x = np.linspace(10, 90, 20)
    for name in "ab":
        figures.write(figures.scatter(x, x, (0.0, 100.0)), tmp_path / name)
    for suffix in ("svg", "png"):
        a, b = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert a == b


def svg(figure):
    return figures.element(figure, "s", "t")


def test_the_fitted_curve_is_drawn(report):
    x = np.linspace(10, 90, 20)
    without, with_curve = (
        svg(figures.scatter(x, x, (0.0, 100.0), curve))
        for curve in (None, Logistic(90.0, 10.0, 50.0, 20.0))
    )
    assert with_curve.count("<path") == without.count("<path") + 1


def dots(figure):
    found = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', svg(figure))
    return [(float(x), float(y)) for x, y in found]


def test_a_scatter_has_mos_to_the_right_and_predictions_upwards():
    figure = figures.scatter(np.array([0.0, 100.0]), np.array([0.0, 0.0]), (0.0, 100.0))
    (x0, y0), (x1, y1) = dots(figure)
    assert x0 == x1
    assert y1 < y0


def test_a_scatter_draws_what_is_outside_on_the_border():
    inside = figures.scatter(np.array([100.0]), np.array([50.0]), (0.0, 100.0))
    outside = figures.scatter(np.array([250.0]), np.array([50.0]), (0.0, 100.0))
    assert dots(inside) == dots(outside)


def test_a_distribution_compares_shares_not_counts():
    values = np.array([10.0, 10.0, 90.0])
    once, twice = (
        svg(figures.distribution(values, label, (0.0, 100.0)))
        for label in (values, np.repeat(values, 2))
    )
    assert once == twice
