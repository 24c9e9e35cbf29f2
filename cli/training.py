"""The commands that train: train, ablate."""

import argparse
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .extraction import run_extract
from .options import Commands, add_command, add_config, first_process, load, progress

if TYPE_CHECKING:
    from ..config import Config

TRAIN = Path(__file__).parents[1] / "train"

PRESETS, VARIANTS = TRAIN / "presets.toml", TRAIN / "variants.toml"
"""Named settings of `[train]`; the command line gives them precedence over the user's file."""


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    train = add_command(
        commands,
        "train",
        _train,
        "train projectors, LoRA and score head on stored features",
        "finevq train -c my.toml --variant llm-8 --set train.out=runs/llm-8",
    )
    _add_preset(train)
    train.add_argument("--variant", metavar="NAME", help="what is trained: train/variants.toml")
    train.add_argument("--end-to-end", action="store_true", help="(train.end_to_end)")
    add_config(train)
    ablate = add_command(
        commands,
        "ablate",
        _ablate,
        "train and evaluate variants, and print them as a table",
        "finevq ablate spatial motion llm-16 -c my.toml --out runs/ablation",
    )
    ablate.add_argument("variants", nargs="+", metavar="VARIANT", help="of train/variants.toml")
    ablate.add_argument("--out", type=Path, default=Path("runs/ablation"), metavar="DIR")
    _add_preset(ablate)
    add_config(ablate)


def _add_preset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", metavar="NAME", help="how it is trained: train/presets.toml")


def _train(given: argparse.Namespace) -> None:
    overrides = _named(PRESETS, given.preset) + _named(VARIANTS, given.variant)
    if given.end_to_end:
        overrides.append("train.end_to_end=true")
    run_train(load(given, overrides))


def _ablate(given: argparse.Namespace) -> None:
    from ..config import load_config

    def configured(name: str, *more: str) -> "Config":
        overrides = _named(PRESETS, given.preset) + _named(VARIANTS, name) + given.overrides
        folder = given.out / name
        places = [f"train.out={folder / 'checkpoint'}", f"evaluate.out={folder / 'evaluation'}"]
        return load_config(given.config, [*overrides, *places, *more])[0]

    # All names and settings are checked before the first run starts.
    configs = {name: configured(name) for name in given.variants}
    for name, trained in configs.items():
        _check_variant(name, trained, given.overrides)
    rows = []
    for name, trained in configs.items():
        run_train(trained)
        measured = trained
        if trained.train.end_to_end:  # features with its own LoRA of the image encoder
            measured = configured(
                name,
                f"extract.spatial.adapter={trained.train.out / 'vision_adapter'}",
                f"cache.path={given.out / name / 'features'}",
            )
            run_extract(measured)
        rows.append({"variant": name, **_measured(measured)})
        if first_process():
            _write_table(given.out / "ablation.csv", rows)
    if first_process():
        print(_table(rows))
        print(f"table in {given.out / 'ablation.csv'}")


def _check_variant(name: str, config: "Config", overrides: Sequence[str]) -> None:
    """Refuse a variant that the store or torchrun does not allow, or that `--set` would undo.

    Raises:
        ConfigError: the variant is refused.
        FineVQError: as `finevq.train.fit.data.check_features`.
    """
    from ..cache.store import FeatureStore
    from ..train.fit.data import check_features

    own = {setting.split("=")[0] for setting in _named(VARIANTS, name)}
    undone = own.intersection(override.split("=")[0].strip() for override in overrides)
    if undone:
        raise ConfigError(
            f"--set {undone.pop()}: is what the variant {name} sets; leave one of the two out"
        )
    if config.train.end_to_end and "RANK" in os.environ:
        raise ConfigError(
            f"ablate {name}: extracts features after it has trained, which the processes of "
            "torchrun cannot share: run it without torchrun, or train, extract and evaluate by hand"
        )
    store = FeatureStore.open(config.cache.path, config.cache.stage)
    check_features(store, config.train, config.extract.model_dump())


def _named(file: Path, name: str | None) -> list[str]:
    """The settings of a named table as overrides; none without a name.

    Raises:
        ConfigError: there is no such name.
    """
    if name is None:
        return []
    tables = tomllib.loads(file.read_text("utf-8"))
    if name not in tables:
        raise ConfigError(
            f"no {file.stem.removesuffix('s')} {name!r}; there are {', '.join(tables)}"
        )
    return _overrides(tables[name], "train")


def _overrides(settings: Mapping[str, Any], prefix: str) -> list[str]:
    overrides = []
    for key, value in settings.items():
        dotted = f"{prefix}.{key}"
        if isinstance(value, dict):
            overrides += _overrides(value, dotted)
        else:
            overrides.append(f"{dotted}={json.dumps(value)}")
    return overrides


def run_train(config: "Config") -> None:
    """Train on the features, or the videos, of the configuration's dataset."""
    from ..cache.store import FeatureStore
    from ..config import load_config
    from ..dataset.videos import load_dataset

    dataset = load_dataset(config.dataset)
    store = FeatureStore.open(config.cache.path, config.cache.stage)
    also = [load_dataset(load_config(Path(file))[0].dataset) for file in config.train.also]
    with progress("train") as done:
        if config.train.end_to_end:
            from ..train.fit.end_to_end import train_end_to_end

            for each in (dataset, *also):
                each.check_files()
            train_end_to_end(dataset, store, config.train, config.extract, done, also=also)
        else:
            from ..train.fit.training import train

            train(dataset, store, config.train, config.extract.model_dump(), done, also=also)
    if first_process():
        print(f"checkpoint in {config.train.out}")


def _measured(config: "Config") -> dict[str, float | None]:
    """SRCC, PLCC and KRCC, means over the dimensions, of a variant on the part to report on."""
    from ..cache.store import FeatureStore
    from ..dataset.videos import load_dataset
    from ..evaluate.run import evaluate

    dataset = load_dataset(config.dataset)
    store = FeatureStore.open(config.cache.path, config.cache.stage)
    with progress("predict") as done:
        metrics = evaluate(
            dataset,
            store,
            config.train.out,
            config.evaluate,
            device=config.train.device,
            max_tokens=config.train.max_tokens,
            progress=done,
        )
    return {name: metrics["mean"].get(name) for name in ("srcc", "plcc", "krcc")}


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(rows[0]), *(",".join(map(_cell, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in columns, as people read them."""
    cells = [[*map(str.upper, rows[0])], *([_cell(v) for v in row.values()] for row in rows)]
    width = max(len(row[0]) for row in cells)
    return "\n".join(f"{row[0]:{width}}" + "".join(f"{c:>9}" for c in row[1:]) for row in cells)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
