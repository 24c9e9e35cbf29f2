"""`finevq train` and `finevq ablate`: what names of presets and variants come to."""

import tomllib
from pathlib import Path

import pytest

from finevq.cli import main as cli
from finevq.cli import training
from finevq.config import Config
from finevq.train.model.checkpoint import read_info

PRESETS = tomllib.loads(training.PRESETS.read_text("utf-8"))
VARIANTS = tomllib.loads(training.VARIANTS.read_text("utf-8"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that would be trained with."""
    configs: list[Config] = []
    monkeypatch.setattr(training, "run_train", configs.append)
    return configs


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_configuration(trained: list[Config], name: str) -> None:
    assert cli.main(["train", "--variant", name]) == 0
    assert len(trained) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_configuration(trained: list[Config], name: str) -> None:
    assert cli.main(["train", "--preset", name]) == 0
    assert trained[0].train.probe_epochs == 0  # neither paper nor official code has one


def test_variants_are_the_rows_of_the_papers_table(trained: list[Config]) -> None:
    rows = []
    for name in ("spatial", "motion", "vision-8", "llm-8", "both-8", "both-16"):
        cli.main(["train", "--variant", name])
        t = trained[-1].train
        vision = t.vision_lora.rank if t.end_to_end else 0
        assert t.lora.rank in (0, t.lora.alpha / 2)
        rows.append((t.clips, vision, t.lora.rank))
    motion = "all"
    assert rows == [
        (0, 0, 0),
        (motion, 0, 0),
        (motion, 8, 0),
        (motion, 0, 8),
        (motion, 8, 8),
        (motion, 16, 16),
    ]


def test_official_stages_learn_from_one_loss_each(trained: list[Config]) -> None:
    for name in ("official-1", "official-2"):
        cli.main(["train", "--preset", name])
    weights = [(c.train.language_weight, c.train.score_weight) for c in trained]
    assert weights == [(1.0, 0.0), (0.0, 1.0)]
    assert [c.train.lora.rank for c in trained] == [0, 8]


def test_the_command_line_wins_over_the_file_and_set_over_all(trained: list[Config]) -> None:
    Path("my.toml").write_text("[train]\nepochs = 3\nframes = 2\nseed = 5\n")
    named = ["--preset", "paper", "--variant", "frames-4", "--end-to-end"]
    cli.main(["train", "-c", "my.toml", *named, "--set", "train.videos_per_batch=1"])
    t = trained[0].train
    assert (t.epochs, t.frames, t.seed, t.videos_per_batch, t.end_to_end) == (10, 4, 5, 1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--variant", "llm8"], "no variant 'llm8'; there are spatial, motion, "),
        (["train", "--preset", "papers"], "no preset 'papers'; there are paper, official-1, "),
        (["ablate", "spatial", "llm8"], "no variant 'llm8'; there are spatial, "),
    ],
)
def test_an_unknown_name_is_one_line_before_anything_runs(
    trained: list[Config], capsys, arguments: list[str], message: str
) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"finevq: {message}")
    assert trained == []


@pytest.fixture
def small(make_dataset, make_store) -> list[str]:
    """What `ablate` is told of a small dataset and its store."""
    dataset = make_dataset({"train": 4, "val": 3, "test": 3})
    store = make_store(dataset.ids)
    command = ["--out", "ablation"]
    for setting in (
        "dataset.name=made",
        f"dataset.folder={dataset.settings.folder}",
        "dataset.split=parts",
        "extract.spatial.frames=2",
        f"cache.path={store.url}",
        "train.device=cpu",
        "train.epochs=1",
        "train.probe_epochs=1",
        "train.trackers=[]",
        "train.out=elsewhere",  # the variants have folders of their own all the same
    ):
        command += ["--set", setting]
    return command


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["clips-4"], "train.clips = 4: the features at "),
        (["frames-1", "--set", "train.frames=2"], "--set train.frames: is what the variant frames"),
    ],
)
def test_ablate_checks_every_variant_before_the_first_is_trained(
    small: list[str], capsys, given: list[str], message: str
) -> None:
    assert cli.main(["ablate", "spatial", *given, *small]) == 2
    assert capsys.readouterr().err.startswith(f"finevq: {message}")
    assert not Path("ablation").exists()


def test_ablate_end_to_end_is_for_one_process(small: list[str], capsys, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    assert cli.main(["ablate", "vision-8", *small]) == 2
    assert "run it without torchrun, or train, extract and" in capsys.readouterr().err
    assert not Path("ablation").exists()


def test_ablate_trains_each_variant_from_one_store_and_prints_a_table(
    small: list[str], capsys
) -> None:
    command = ["ablate", "spatial", "llm-8", "frames-1", *small]
    assert cli.main(command) == 0
    table = capsys.readouterr().out.splitlines()[-5:]
    assert table[0].split() == ["VARIANT", "SRCC", "PLCC", "KRCC"]
    assert [line.split()[0] for line in table[1:4]] == ["spatial", "llm-8", "frames-1"]
    rows = Path("ablation", "ablation.csv").read_text().splitlines()
    assert [row.replace(",", " ") for row in rows[1:]] == [" ".join(t.split()) for t in table[1:4]]
    infos = [read_info(Path("ablation", name, "checkpoint")) for name in ("spatial", "frames-1")]
    assert (infos[0].spec.clips, infos[0].lora["rank"], infos[0].spec.frames) == (0, 0, "all")
    assert (infos[1].spec.clips, infos[1].spec.frames) == ("all", 1)
    # A second time there is nothing to do, and the table is the same.
    assert cli.main(command) == 0
    assert capsys.readouterr().out.splitlines()[-5:] == table
