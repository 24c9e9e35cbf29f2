"""The page of a comparison: what is measured, what is published, escaped, self-contained."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from finevq.cli import main as cli
from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.compare.comparison import QUESTIONS, compare
from finevq.evaluate.compare.published import published
from finevq.evaluate.compare.scores import Scores
from finevq.evaluate.metrics.answers import answers_by
from finevq.evaluate.pages import figures
from finevq.evaluate.pages.comparison import write_comparison

EVIL = '<script>alert("it\'s")</script>& $x$ 模.5'


def made(videos=30):
    """Labels and right answers, a good model, a poor one, and one with overall scores alone."""
    rng = np.random.default_rng(0)
    names = [f"clips/{i:02}.mp4" for i in range(videos)]
    mos = pd.DataFrame({d: rng.uniform(0, 100, videos) for d in DIMENSIONS}, index=names)
    right = answers_by(
        (name, kind, f"{kind}?", str(rng.choice(["A", "B"])))
        for name in names
        for kind in ("yes-no blur", "which most")
    )
    models = [
        Scores(
            name,
            mos + rng.normal(0, noise, mos.shape),
            right.where(rng.random(len(right)) < share, None),
        )
        for name, noise, share in (("good", 5, 0.9), (EVIL, 40, 0.5))
    ]
    return Scores("demo", mos, right), [*models, Scores("file", 100 - mos[["overall"]])]


def written(folder, models, labels, others=None, **facts):
    results = compare(models, labels)
    write_comparison(folder / "page.html", {"demo": results}, [labels], others, facts=facts)
    return results, (folder / "page.html").read_text("utf-8")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """The results of all three models and their page, with the published rows on FineVD."""
    labels, models = made()
    folder = tmp_path_factory.mktemp("comparison")
    return written(folder, models, labels, published("FineVD"), Labels=EVIL)


def section(html, name):
    return re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL).group()


def rows_of(html):
    """The texts of each table row's cells, by its first cell."""
    rows = [
        [
            " ".join(re.sub(r"<[^>]*>", " ", cell).split())
            for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    ]
    return {row[0]: row[1:] for row in rows}


def test_it_has_all_sections(comparison) -> None:
    found = re.findall(r'<section id="(.*?)">', comparison[1])
    assert found == ["scores", "srcc", "metrics", "differences", "questions"]


def test_it_refers_to_nothing_outside_itself(comparison) -> None:
    page = comparison[1]
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|\bsrc=|@import|<link|<script", page)
    assert set(re.findall(r'href="(.)', page)) == {"#"}


def test_names_and_facts_are_escaped(comparison) -> None:
    texts = []
    parser = HTMLParser()
    parser.handle_data = texts.append
    parser.feed(comparison[1])
    assert any(text == EVIL for text in texts)
    assert "<script" not in comparison[1]


def test_it_has_a_figure_of_each_dimension(comparison) -> None:
    drawings = re.findall(r"<svg.*?</svg>", comparison[1], re.DOTALL)
    assert len(drawings) == len(DIMENSIONS)
    assert ["file" in drawing for drawing in drawings] == [d == "overall" for d in DIMENSIONS]
    ids = re.findall(r'\bid="(.*?)"', comparison[1])
    assert len(ids) == len(set(ids))


def test_the_score_table_holds_the_metrics_and_their_intervals(comparison) -> None:
    results, page = comparison
    found = results["good"]["blur"]
    table = section(page, "metrics").split("<h3>")[1 + DIMENSIONS.index("blur")]
    low, high = found["ci"]["srcc"]
    assert rows_of(table)["good"][0] == "30/30"
    assert rows_of(table)["good"][1] == f"{found['srcc']:.3f} {low:.3f} to {high:.3f}"
    assert "30 of 30 labelled videos" in table


def test_differences_have_their_p_values(comparison) -> None:
    results, page = comparison
    found = results["good"]["overall"]["against"]["file"]["srcc"]
    cells = rows_of(section(page, "differences"))["good \N{MINUS SIGN} file"]
    assert cells[:-1] == ["—"] * (len(DIMENSIONS) - 1)
    assert cells[-1].startswith(f"{found['difference']:+.3f}")
    assert cells[-1].endswith(f"p = {found['p']:.3f}")


def test_accuracies_stand_above_the_baseline(comparison) -> None:
    results, page = comparison
    found = results["good"][QUESTIONS]["yes-no blur"]
    rows = rows_of(section(page, "questions").partition("<h3>")[0])
    assert rows["good"][0].startswith(f"{100 * found['accuracy']:.1f} % ")
    assert rows["Majority baseline"][0] == f"{100 * found['majority_baseline']:.1f} %"
    assert "file" not in rows


def test_published_rows_stand_apart_and_have_no_intervals(comparison) -> None:
    page = comparison[1]
    for name, source in (
        ("scores", "FineVQ paper, Table 1"),
        ("questions", "FineVQ paper, Table 2"),
    ):
        measured, *apart = re.findall(r"<tbody.*?</tbody>", section(page, name), re.DOTALL)[:2]
        assert "FineVQ" not in measured
        (others,) = apart
        assert others.startswith('<tbody class="published">')
        heading = f"published, not measured here: {source}"
        assert heading in rows_of(others)
        assert " to " not in others
    assert rows_of(others)["FineVQ"] == ["64.8 %", "65.1 %", "—"]
    assert page.count("KSVQE") + page.count("NIQE") == 1


def test_the_score_table_has_dimensions_as_groups_of_columns(comparison) -> None:
    results, page = comparison
    rows = rows_of(section(page, "scores"))
    assert rows["Dimension"] == [dimension.title() for dimension in DIMENSIONS]
    assert rows["Model"] == ["SRCC", "KRCC", "PLCC"] * len(DIMENSIONS)
    found = results["good"]["noise"]
    assert rows["good"][3:6] == [f"{found[m]:.3f}" for m in ("srcc", "krcc", "plcc")]
    assert rows["file"][:15] == ["—"] * 15
    assert f"<b>{results['good']['overall']['srcc']:.3f}</b>" in section(page, "scores")


def test_videos_that_a_model_lacks_are_named_once(tmp_path) -> None:
    labels, models = made(10)
    lacking = Scores("m", models[0].table.iloc[1:], models[0].answers.iloc[2:])
    _, page = written(tmp_path, [lacking], labels)
    assert page.count("clips/00.mp4") == 1
    assert "<p>m lacks clips/00.mp4 in color, noise," in section(page, "metrics")
    assert rows_of(section(page, "metrics"))["m"][0] == "9/10"
    assert "9/10 answered" in rows_of(section(page, "questions"))["m"][0]


def test_an_undefined_metric_is_a_dash_with_its_reason(tmp_path) -> None:
    labels, _ = made(10)
    flat = Scores("flat", labels.table * 0)
    _, page = written(tmp_path, [flat], labels)
    assert "<li>the predictions are constant</li>" in section(page, "metrics")
    assert "No SRCC is defined." in section(page, "srcc")


def test_one_model_has_no_differences_and_a_file_no_questions(tmp_path) -> None:
    labels, models = made(10)
    _, page = written(tmp_path, models[-1:], labels)
    assert re.findall(r'<section id="(.*?)">', page) == ["scores", "srcc", "metrics"]


def test_a_higher_value_is_further_to_the_right() -> None:
    drawn = figures.intervals({"a": (0.2, [0.1, 0.3]), "b": (0.8, None)}, (0.0, 1.0))
    svg = figures.element(drawn, "s", "t")
    (x0, y0), (x1, y1) = (
        (float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', svg)
    )
    assert x0 < x1
    assert y0 < y1


def test_a_name_is_drawn_as_it_is_and_a_long_one_cut() -> None:
    drawn = figures.intervals({"$x_1$ 模<": (0.5, None), "y" * 99: (0.5, None)}, (0.0, 1.0))
    texts = re.findall(r"<text [^>]*>(.*?)</text>", figures.element(drawn, "s", "t"))
    assert "$x_1$ 模&lt;" in texts
    assert "y" * (figures.LONGEST - 1) + "…" in texts


def test_the_command_writes_the_page(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    labels, models = made(10)
    labels.table[["overall"]].rename_axis("video").to_csv("mos.csv")
    models[0].table[["overall"]].rename_axis("video").to_csv("a.csv")
    assert cli.main(["compare", "A=a.csv", "--labels=mos.csv", "--html=page.html"]) == 0
    assert "<dd>A=a.csv</dd>" in (tmp_path / "page.html").read_text("utf-8")
