"""The configuration: the packaged pipeline.toml, overridden by the user's file and by `--set`.

The packaged `pipeline.toml` has every key, and only there are defaults. Each stage defines the
types of its own section (`finevq.extract.settings` and so on).
"""

import difflib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from .cache.settings import CacheSettings
from .dataset.settings import DatasetSettings
from .errors import ConfigError
from .evaluate.settings import EvaluateSettings
from .extract.settings import ExtractSettings
from .train.settings import TrainSettings

DEFAULTS = Path(__file__).with_name("pipeline.toml")


class Config(BaseModel, extra="forbid", frozen=True, strict=True):
    """A checked configuration, one section a stage."""

    dataset: DatasetSettings
    extract: ExtractSettings
    cache: CacheSettings
    train: TrainSettings
    evaluate: EvaluateSettings


Origins = Mapping[str, str]
"""Where each value came from, by its dotted key."""


def load_config(file: Path | None = None, overrides: Sequence[str] = ()) -> tuple[Config, Origins]:
    """Read, merge and check the configuration.

    Args:
        file: the user's file; keys that it leaves out have the packaged defaults. None takes the
            pipeline.toml of the current folder if there is one.
        overrides: `key=value` with a dotted key; the value is TOML, or else plain text.

    Raises:
        ConfigError: lists everything that is wrong, each with its key, its file and what is valid.
    """
    values = _flatten(_read(DEFAULTS))
    origins = dict.fromkeys(values, "default")
    if file is None and Path("pipeline.toml").is_file():
        file = Path("pipeline.toml")
    layers = [(str(file), _flatten(_read(file)))] if file else []
    layers += [("--set", dict([_override(text)])) for text in overrides]
    problems = []
    for origin, layer in layers:
        for key, value in layer.items():
            if key in values:
                values[key], origins[key] = value, origin
            else:
                problems.append(_unknown(key, origin, values))
    try:
        # In JSON mode, strict validation takes strings for paths and lists for tuples.
        config = Config.model_validate_json(json.dumps(_nest(values), default=str))
    except ValidationError as error:
        problems += [_wrong(dict(detail), origins) for detail in error.errors()]
    if problems:
        raise ConfigError("; ".join(problems))
    return config, origins


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"), parse_float=_finite)
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: not a TOML file: {error}") from error


def _finite(text: str) -> float | str:
    """Infinity and NaN stay text, which no numeric setting accepts."""
    number = float(text)
    return number if math.isfinite(number) else text


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_flatten`."""
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, key = dotted.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    return tree


def _override(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: write it as --set section.key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {value}", parse_float=_finite)["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()  # a bare word or path, as one types it in a shell


def _unknown(key: str, origin: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0)
    return f"{origin}: unknown key {key}; the nearest known key is {near[0]}"


def _wrong(detail: dict[str, Any], origins: Origins) -> str:
    # An element of a tuple is reported as key.0; the setting is the longest known prefix.
    parts = [str(part) for part in detail["loc"]]
    key = ".".join(parts)
    while key not in origins and parts:
        parts.pop()
        key = ".".join(parts)
    reason = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{origins.get(key, 'default')}: {key} = {json.dumps(detail['input'])}: {reason}"


def describe(config: Config, origins: Origins) -> Iterator[str]:
    """The resolved configuration as TOML lines, each with its origin as a comment."""
    values = _flatten(json.loads(config.model_dump_json()))
    section = ""
    for dotted, value in values.items():
        head, _, key = dotted.rpartition(".")
        if head != section:
            yield from ([""] if section else [])
            yield f"[{head}]"
            section = head
        yield f"{key} = {json.dumps(value, ensure_ascii=False)}  # {origins[dotted]}"
