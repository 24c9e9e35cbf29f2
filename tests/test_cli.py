import csv
import json
import os
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

import finevq
from finevq.cache.commits import commit_bytes
from finevq.cache.identity import Identity
from finevq.cache.records import Failure, Features, RowRecord, Source
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.cli import cache as cache_commands
from finevq.cli import comparison as comparison_commands
from finevq.cli import dataset as dataset_commands
from finevq.cli import evaluation as evaluation_commands
from finevq.cli import extraction as extraction_commands
from finevq.cli import main as cli
from finevq.cli import pipeline
from finevq.cli import scoring as scoring_commands
from finevq.cli import training as training_commands
from finevq.cli.options import progress as progress_bar
from finevq.config import load_config
from finevq.errors import FineVQError
from finevq.train.model.checkpoint import SHIPPED, read_info

COMMANDS = (
    *("demo", "config", "extract", "train", "evaluate", "matrix", "compare", "score", "serve"),
    *("cache", "dataset"),
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pipeline.toml in the current folder but the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make the command `config` raise an error."""

    def fail(error: BaseException) -> None:
        def run(given: object) -> None:
            raise error

        monkeypatch.setattr(pipeline, "_config", run)

    return fail


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, "--help"])
    assert stopped.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a failed command leaves on stderr."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("finevq: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def test_help_fits_a_terminal(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_of(capsys).splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80


def test_help_lists_every_command(capsys) -> None:
    words = [line.split()[0] for line in help_of(capsys).splitlines() if line.startswith("    ")]
    assert [word for word in words if word in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example(capsys, monkeypatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, command)
    assert f"\nexample:\n  finevq {command}" in text
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_a_command_can_be_parsed(capsys, monkeypatch, command: str) -> None:
    example = help_of(capsys, command).splitlines()[-1].split()
    groups = {
        "extract": (extraction_commands, "_extract"),
        "train": (training_commands, "_train"),
        "evaluate": (evaluation_commands, "_evaluate"),
        "matrix": (evaluation_commands, "_matrix"),
        "compare": (comparison_commands, "_compare"),
        "score": (scoring_commands, "_score"),
        "serve": (scoring_commands, "_serve"),
        "cache": (cache_commands, "_verify"),
        "dataset": (dataset_commands, "_ratings"),
    }
    monkeypatch.setattr(*groups.get(command, (pipeline, f"_{command}")), lambda given: 0)
    assert cli.main(example[1:]) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_the_settings_in_the_example_of_a_command_exist(capsys, command: str) -> None:
    from finevq.config import load_config

    example = help_of(capsys, command).splitlines()[-1].split()
    load_config(None, [after for word, after in pairwise(example) if word == "--set"])


HEAVY = ("torch", "transformers", "numpy", "pandas", "zarr", "dask", "av", "pydantic")


def imported_by(*arguments: str) -> set[str]:
    """The heavy modules that a command has imported when it ends, in a fresh interpreter."""
    code = f"""
import contextlib, io, sys
from finevq.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({list(arguments)!r})
print(*sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("command", ["", "train"])
def test_help_imports_no_heavy_package(command: str) -> None:
    assert imported_by(*filter(None, [command]), "--help") == set()


def test_config_imports_pydantic_alone() -> None:
    assert imported_by("config") == {"pydantic"}


def test_python_m_finevq_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "finevq", "config", "--set", "train.sed=1"],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("finevq: --set: unknown key train.sed")


@pytest.mark.parametrize("action", ["info", "failures", "verify", "repair", "export", "import"])
def test_the_help_of_an_action_on_a_store_has_an_example_that_works(
    capsys, monkeypatch, action: str
) -> None:
    example = help_of(capsys, "cache", action).splitlines()[-1].split()
    assert example[:3] == ["finevq", "cache", action]
    monkeypatch.setattr(cache_commands, f"_{action}", lambda given: 0)
    assert cli.main(example[1:]) == 0


def test_no_command_says_what_to_do_first(capsys) -> None:
    assert cli.main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    named = [line.split()[1] for line in out.splitlines() if line.startswith("  finevq ")]
    assert named == ["score", "serve", "demo", "config"]
    assert max(len(line) for line in out.splitlines()) <= 80


def test_the_version_is_told(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"finevq {finevq.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trian"], "train"),
        (["cache", "verfy", "features"], "verify"),
        (["evaluate", "--part", "tset"], "test"),
        (["score", "a.mp4", "--chekpoint=b"], "--checkpoint"),
        (["cache", "info", "features", "--smaple", "3"], "--sample"),
    ],
)
def test_a_misspelt_word_is_answered_by_the_nearest(
    capsys, arguments: list[str], meant: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"; did you mean {meant}?\n")


def test_a_word_like_no_other_has_no_suggestion(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["zzzz"])
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["fly"], ["config", "--fly"], ["score"], ["cache"]])
def test_a_wrong_call_shows_the_usage(capsys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: finevq")


def test_config_prints_the_configuration(capsys) -> None:
    Path("my.toml").write_text("[train]\nseed = 4\n")
    assert cli.main(["config", "-c", "my.toml", "--set", "train.epochs=2"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "seed = 4  # my.toml" in out.splitlines()
    assert "epochs = 2.0  # --set" in out.splitlines()
    assert tomllib.loads(out)["train"]["seed"] == 4


def test_a_users_error_is_one_line(capsys, failing) -> None:
    failing(FineVQError("it is so; do this"))
    assert cli.main(["config"]) == 2
    assert the_error(capsys) == "finevq: it is so; do this\n"


def test_a_bug_keeps_its_traceback(failing) -> None:
    failing(KeyError("surprise"))
    with pytest.raises(KeyError, match="surprise"):
        cli.main(["config"])


UNNAMED = "the output or a disk is full"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "runs/a"), "runs/a cannot be written: its disk is"),
        (OSError(122, "Disk quota exceeded"), UNNAMED),
        (SafetensorError("No space left on device (os error 28)"), UNNAMED),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), UNNAMED),
    ],
)
def test_a_full_disk_is_one_line(capsys, failing, error: Exception, said: str) -> None:
    failing(error)
    assert cli.main(["config"]) == 2
    line = the_error(capsys)
    assert line.startswith(f"finevq: {said}")
    assert "make room, then run the same command again" in line


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 2, "finevq: the output or a disk is full; make room, then"),
        (">&-", 0, ""),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(
    redirection: str, code: int, said: str
) -> None:
    command = f"{sys.executable} -m finevq config {redirection}"
    run = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr[: len(said)]) == (code, said)
    assert run.stderr.count("\n") == (1 if said else 0)


def test_a_name_that_the_terminal_cannot_show_is_escaped() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "finevq", "cache", "info", "f\u00fcr"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stderr.startswith(r"finevq: ")
    assert r"f\xfcr" in run.stderr
    assert "Traceback" not in run.stderr


def test_an_interrupt_says_how_to_go_on(capsys, failing) -> None:
    failing(KeyboardInterrupt())
    assert cli.main(["config"]) == 130
    assert "run the same command again" in the_error(capsys)


@pytest.mark.parametrize("command", ["demo", "extract", "train", "evaluate", "config"])
def test_an_unknown_key_stops_a_command(capsys, command: str) -> None:
    assert cli.main([command, "--set", "train.epoch=1"]) == 2
    expected = "finevq: --set: unknown key train.epoch; the nearest known key is train.epochs\n"
    assert the_error(capsys) == expected
    assert list(Path.cwd().iterdir()) == []


def test_a_missing_configuration_is_named(capsys) -> None:
    assert cli.main(["config", "-c", "gone.toml"]) == 2
    assert the_error(capsys) == "finevq: gone.toml: no such file\n"


@pytest.mark.parametrize("action", ["info", "failures", "verify", "repair"])
def test_a_missing_store_is_named(capsys, action: str) -> None:
    assert cli.main(["cache", action, "gone"]) == 2
    assert "gone" in the_error(capsys)


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        ([], True),
        (["train.base='a/llm'"], False),
        (["train.full=true"], False),
        (["train.frames=1"], False),
    ],
)
def test_the_demo_starts_from_the_checkpoint_that_ships(overrides: list[str], fits: bool) -> None:
    info = read_info(SHIPPED)
    config, _ = load_config(overrides=overrides)
    FeatureStore.create(config.cache.path, info.identity, info.shapes, config.cache)
    assert pipeline._start(config) == ([f'train.start="{SHIPPED}"'] if fits else [])


def test_the_demo_starts_from_nothing_on_other_features(store: FeatureStore) -> None:
    config, _ = load_config(overrides=[f"cache.path={store.url}"])
    assert pipeline._start(config) == []


@pytest.fixture
def store() -> FeatureStore:
    """A store in the folder `features`, with one video that is not extracted yet."""
    settings = CacheSettings(path="features", stage="", rows_per_shard=2, dtype="float16")
    shapes = {"spatial": (1, 2, 3), "motion": (1, 4)}
    made = FeatureStore.open_or_create("features", Identity({"spatial": 1}), shapes, settings)
    made.plan(["demo/a.mp4"])
    return made


def test_cache_info_is_json(capsys, store: FeatureStore) -> None:
    assert cli.main(["cache", "info", "features"]) == 0
    expected = store.info() | {"damaged": {}, "statistics": {"videos": 0}}
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(expected))


def test_cache_info_without_a_sample_reads_no_features(capsys, store: FeatureStore) -> None:
    assert cli.main(["cache", "info", "features", "--sample", "0"]) == 0
    assert "statistics" not in json.loads(capsys.readouterr().out)


def test_cache_failures_is_csv(capsys, store: FeatureStore) -> None:
    store.write_shard(0, {"demo/a.mp4": Failure('no "moov", or torn')})
    assert cli.main(["cache", "failures", "features"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows == [["video", "reason"], ["demo/a.mp4", 'no "moov", or torn']]


def test_cache_repair_of_a_sound_store_changes_nothing(capsys, store: FeatureStore) -> None:
    store.write_shard(0, {"demo/a.mp4": Failure("no frames")})
    assert cli.main(["cache", "repair", "features"]) == 0
    assert capsys.readouterr().out == "all 1 committed shards are sound\n"
    assert store.pending() == []


def test_cache_repair_withdraws_a_damaged_shard(capsys, store: FeatureStore) -> None:
    store.write_shard(0, {"demo/a.mp4": Failure("no frames")})
    Path("features/tokens.zarr/motion/c/0/0/0").write_bytes(b"torn")
    assert cli.main(["cache", "repair", "features"]) == 0
    problem, _, last = capsys.readouterr().out.splitlines()
    assert problem.startswith("shard 0, row 0 (demo/a.mp4): ")
    assert last == "withdrew 1 of 1 shards: 0; `finevq extract` extracts them again"
    assert store.pending() == [0]


def test_cache_export_and_import_give_the_same_store(capsys, store: FeatureStore) -> None:
    store.write_shard(0, {"demo/a.mp4": Failure("no frames")})
    assert cli.main(["cache", "export", "features", "a.h5"]) == 0
    assert cli.main(["cache", "import", "a.h5", "restored"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == "0 videos with features and 1 failed in a.h5"
    assert last.startswith("0 videos with features and 1 failed in ")
    assert FeatureStore.open("restored").records() == store.records()


def test_cache_verify_of_an_unfinished_store_finds_no_problems(capsys, store) -> None:
    assert cli.main(["cache", "verify", "features"]) == 0
    out, _ = capsys.readouterr()
    assert out == ("0 of 1 shards committed, 0 videos with features, 0 failed; no problems\n")


def test_cache_verify_finds_the_commit_of_a_shard_that_is_not_planned(capsys, store) -> None:
    stray = commit_bytes(9, {18: RowRecord("x", "failed", "why", None, None)})
    Path("features/commits").mkdir()
    Path("features/commits/000009.json").write_bytes(stray)
    assert cli.main(["cache", "verify", "features"]) == 2
    out, err = capsys.readouterr()
    first, last = out.splitlines()
    assert "videos.parquet has other videos in shard 9 than its commit" in first
    assert last.endswith("; 1 problems")
    assert err.splitlines()[-1] == "verify: 1/1"


def test_cache_verify_of_a_damaged_plan_is_one_problem(capsys, store) -> None:
    Path("features/videos.parquet").write_bytes(b"torn")
    assert cli.main(["cache", "verify", "features"]) == 2
    (only,) = capsys.readouterr().out.splitlines()
    assert "videos.parquet is damaged" in only


@pytest.fixture
def damaged(store: FeatureStore) -> FeatureStore:
    """Two shards with a failed video each; the commit of the second is torn."""
    store.plan(["demo/a.mp4", "demo/b.mp4"])
    store.write_shard(0, {"demo/a.mp4": Failure("no frames")})
    store.write_shard(1, {"demo/b.mp4": Failure("no sound")})
    Path("features/commits/000001.json").write_text("torn")
    return store


def test_one_damaged_commit_does_not_silence_the_reports(capsys, damaged: FeatureStore) -> None:
    for command in (["info"], ["failures"]):
        assert cli.main(["cache", *command, "features"]) == 2
        out, err = capsys.readouterr()
        assert "no frames" in out
        what, cure = err.splitlines()
        assert "commits/000001.json is damaged" in what
        assert f"`finevq cache repair {damaged.url}`" in cure
    assert cli.main(["cache", "info", "features"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["failed"], found["pending"], list(found["damaged"])) == (1, 1, ["1"])


def test_cache_verify_names_a_damaged_commit_and_counts_the_rest(capsys, damaged) -> None:
    assert cli.main(["cache", "verify", "features"]) == 2
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("shard 1: ")
    assert last.endswith("0 videos with features, 1 failed; 1 problems")


def test_a_damaged_row_does_not_silence_the_info(capsys, store: FeatureStore) -> None:
    values = (np.ones((1, 2, 3)), np.ones((1, 4)))
    source = Source("a" * 64, 1, None, None, "pyav")
    store.write_shard(0, {"demo/a.mp4": Features(*values, source)})
    Path("features/tokens.zarr/motion/c/0/0/0").write_bytes(b"torn")
    assert cli.main(["cache", "info", "features"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] == 1
    assert "row 0 (demo/a.mp4)" in err


def test_cache_failures_go_to_a_file(capsys, store: FeatureStore) -> None:
    store.write_shard(0, {"demo/a.mp4": Failure("no frames")})
    assert cli.main(["cache", "failures", "features", "--out", "new/failures.csv"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("new/failures.csv").read_text() == "video,reason\ndemo/a.mp4,no frames\n"


def test_cache_failures_that_cannot_be_written_are_one_line(capsys, store: FeatureStore) -> None:
    Path("file").touch()
    assert cli.main(["cache", "failures", "features", "--out", "file/failures.csv"]) == 2
    assert "--out file/failures.csv: cannot be written: " in the_error(capsys)


@pytest.mark.parametrize("action", ["info", "failures", "verify", "repair"])
def test_a_store_that_is_a_file_is_named(capsys, action: str) -> None:
    Path("file").touch()
    assert cli.main(["cache", action, "file"]) == 2
    assert "file cannot be read: Not a directory; correct cache.path" in the_error(capsys)


def test_cache_verify_of_a_sound_store_finds_no_problems(capsys, store: FeatureStore) -> None:
    store.write_shard(0, {"demo/a.mp4": Failure("no frames")})
    assert cli.main(["cache", "verify", "features"]) == 0
    assert capsys.readouterr().out.endswith("1 failed; no problems\n")


def test_a_missing_dataset_is_named(capsys) -> None:
    assert cli.main(["extract", "--set", "dataset.folder=nowhere"]) == 2
    assert the_error(capsys).startswith("finevq: nowhere: no videos.csv or videos.parquet")


@pytest.mark.parametrize(
    ("arguments", "split", "part", "checkpoint", "folder"),
    [
        pytest.param([], "scenes", "test", Path("runs/demo/checkpoint"), "", id="defaults"),
        pytest.param(["--split", "random1"], "random1", "test", None, "random1", id="split"),
        pytest.param(["--split", "7"], "7", "test", None, "7", id="split that is a number"),
        pytest.param(["--part", "val"], "scenes", "val", None, "scenes-val", id="part"),
        pytest.param(["--checkpoint", "a"], "scenes", "test", Path("a"), "", id="checkpoint"),
        pytest.param(["--set", "train.out=o"], "scenes", "test", Path("o"), "", id="train.out"),
    ],
)
def test_evaluate_takes_its_options(
    monkeypatch, arguments: list[str], split: str, part: str, checkpoint: Path | None, folder: str
) -> None:
    calls = []
    monkeypatch.setattr(evaluation_commands, "run_evaluate", lambda *given: calls.append(given))
    assert cli.main(["evaluate", *arguments]) == 0
    ((config, chosen, results, leakage),) = calls
    assert leakage is False
    assert results == config.evaluate.out / folder
    assert (config.dataset.split, config.evaluate.part) == (split, part)
    assert checkpoint is None or chosen == checkpoint


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        pytest.param(3, ["x: 1/3", "x: 2/3", "x: 3/3"], id="few"),
        pytest.param(0, ["x: 0/0"], id="none"),
    ],
)
def test_progress_off_a_terminal_is_a_line_a_step(capsys, total: int, shown: list[str]) -> None:
    with progress_bar("x") as progress:
        for done in range(1, total + 1) or [0]:
            progress(done, total)
    assert capsys.readouterr().err.splitlines() == shown


def test_progress_off_a_terminal_is_at_most_a_line_a_tenth(capsys) -> None:
    with progress_bar("x") as progress:
        for done in range(1, 1001):
            progress(done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "x: 1000/1000"
