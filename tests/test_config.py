import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from finevq.config import DEFAULTS, Config, describe, load_config
from finevq.errors import ConfigError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pipeline.toml in the current folder but the test's own."""
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "my.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def model_keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        keys |= model_keys(kind, f"{prefix}{name}.") if nested else {prefix + name}
    return keys


def file_keys(tree: dict, prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name, value in tree.items():
        nested = isinstance(value, dict)
        keys |= file_keys(value, f"{prefix}{name}.") if nested else {prefix + name}
    return keys


def test_the_packaged_file_sets_every_setting_and_no_other() -> None:
    assert file_keys(tomllib.loads(DEFAULTS.read_text("utf-8"))) == model_keys(Config)


def test_no_setting_has_a_second_default() -> None:
    def defaults(model: type[BaseModel]) -> list[str]:
        fields = model.model_fields.items()
        nested = [field.annotation for _, field in fields if isinstance(field.annotation, type)]
        own = [name for name, field in fields if not field.is_required()]
        return own + [d for kind in nested if issubclass(kind, BaseModel) for d in defaults(kind)]

    assert defaults(Config) == []


def test_every_key_of_the_packaged_file_is_explained() -> None:
    lines = DEFAULTS.read_text("utf-8").splitlines()
    keyed = [line for line in lines if re.match(r"\w+ *=", line)]
    assert len(keyed) == len(model_keys(Config))
    assert [line for line in keyed if not re.search(r"  # \S", line)] == []


def test_the_defaults_are_valid() -> None:
    config, origins = load_config()
    assert config.extract.spatial.frames == 8
    assert set(origins) == model_keys(Config)
    assert set(origins.values()) == {"default"}


def test_a_file_goes_over_the_defaults() -> None:
    config, origins = load_config(write("[extract.spatial]\nframes = 4\n"))
    assert (config.extract.spatial.frames, origins["extract.spatial.frames"]) == (4, "my.toml")


def test_what_a_file_leaves_out_is_the_default() -> None:
    config, origins = load_config(write("[extract.spatial]\nframes = 4\n"))
    default, _ = load_config()
    assert config.extract.spatial.model == default.extract.spatial.model
    assert config.train == default.train
    assert origins["extract.spatial.model"] == "default"


def test_set_goes_over_the_file() -> None:
    file = write("[train]\nseed = 1\nepochs = 3\n")
    config, origins = load_config(file, ["train.seed=2"])
    assert (config.train.seed, origins["train.seed"]) == (2, "--set")
    assert (config.train.epochs, origins["train.epochs"]) == (3, "my.toml")


def test_the_last_set_wins() -> None:
    assert load_config(None, ["train.seed=1", "train.seed=2"])[0].train.seed == 2


def test_the_file_of_the_current_folder_is_taken() -> None:
    write("[train]\nseed = 5\n", "pipeline.toml")
    config, origins = load_config()
    assert (config.train.seed, origins["train.seed"]) == (5, "pipeline.toml")


def test_a_named_file_goes_instead_of_that_of_the_current_folder() -> None:
    write("[train]\nseed = 5\nepochs = 7\n", "pipeline.toml")
    config, origins = load_config(write("[train]\nseed = 6\n"))
    assert (config.train.seed, origins["train.epochs"]) == (6, "default")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("runs/other", Path("runs/other"), id="path"),
        pytest.param("C:\\data", Path("C:\\data"), id="backslash"),
        pytest.param("my data", Path("my data"), id="space inside"),
        pytest.param('"quoted"', Path("quoted"), id="TOML"),
        pytest.param("a=b", Path("a=b"), id="equals sign"),
    ],
)
def test_set_takes_bare_words(text: str, value: Path) -> None:
    assert load_config(None, [f"train.out={text}"])[0].train.out == value


@pytest.mark.parametrize("text", ["train.device=cpu", "train.device = cpu", ' train.device= "cpu"'])
def test_blanks_around_the_equals_sign_do_not_matter(text: str) -> None:
    assert load_config(None, [text])[0].train.device == "cpu"


def test_set_takes_lists() -> None:
    config, _ = load_config(None, ["dataset.mos_range=[1, 5]"])
    assert config.dataset.mos_range == (1.0, 5.0)


def test_an_integer_is_a_number_with_a_point() -> None:
    assert load_config(None, ["extract.decode.timeout_s=5"])[0].extract.decode.timeout_s == 5.0


@dataclass(frozen=True)
class Bad:
    """An override that is refused, and what the message says beside the origin and the key."""

    id: str
    override: str
    message: str


BAD = [
    Bad("text for a number", "train.seed=many", '"many": input should be a valid integer'),
    Bad("fraction", "extract.spatial.frames=4.0", "4.0: input should be a valid integer"),
    Bad("digits as text", 'train.seed="1"', '"1": input should be a valid integer'),
    Bad("truth for a number", "train.epochs=true", "true: input should be a valid number"),
    Bad("number for text", "dataset.split=1", "1: input should be a valid string"),
    Bad("too small", "extract.spatial.frames=0", "0: input should be greater than or equal to 1"),
    Bad("at the open end", "extract.decode.timeout_s=0", "0: input should be greater than 0"),
    Bad("too large", "train.lora.dropout=1.0", "1.0: input should be less than 1"),
    Bad("no such choice", "extract.device=tpu", "\"tpu\": input should be 'auto', 'cpu' or 'cuda'"),
    Bad("empty", "cache.path=", '"": string should have at least 1 character'),
    Bad("slash", "dataset.name=a/b", '"a/b": string should match pattern'),
    Bad("protocol", "extract.cluster.scheduler=http://x", "string should match pattern"),
    Bad("short list", "dataset.mos_range=[1]", "[1]: field required"),
    Bad("long list", "dataset.mos_range=[1, 2, 3]", "tuple should have at most 2 items"),
    Bad("text in a list", 'dataset.mos_range=["a", 5]', '"a": input should be a valid number'),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_wrong_value_is_refused(case: Bad) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [case.override])
    key = case.override.partition("=")[0]
    message = str(caught.value)
    assert message.startswith(f"--set: {key} = ")
    assert case.message in message
    assert "\n" not in message


def test_a_wrong_value_of_a_file_names_the_file() -> None:
    file = write("[train.lora]\nalpha = 0\n")
    with pytest.raises(ConfigError, match=r"^my\.toml: train\.lora\.alpha = 0: .*at least|greater"):
        load_config(file)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("extract.spatal.frames", "extract.spatial.frames"),
        ("train.learning-rate", "train.learning_rate"),
        ("train.lora.rang", "train.lora.rank"),
        ("extract", "extract.device"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"{key}=1"])
    assert str(caught.value) == f"--set: unknown key {key}; the nearest known key is {nearest}"


def test_an_unknown_key_of_a_file_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^my\.toml: unknown key train\.sed; .* train\.seed$"):
        load_config(write("[train]\nsed = 1\n"))


def test_a_section_cannot_be_a_value() -> None:
    with pytest.raises(ConfigError, match=r"^my\.toml: unknown key train; "):
        load_config(write("train = 3\n"))


def test_everything_wrong_is_reported_at_once() -> None:
    file = write("[train]\nsed = 1\nepochs = 0\n[cache]\ndtype = 'int4'\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, ["extract.spatial.frames=none", "zzz=1"])
    problems = str(caught.value).split("; ")
    for start in (
        "my.toml: unknown key train.sed",
        "my.toml: train.epochs = 0",
        'my.toml: cache.dtype = "int4"',
        '--set: extract.spatial.frames = "none"',
        "--set: unknown key zzz",
    ):
        assert any(problem.startswith(start) for problem in problems), start


def test_set_needs_an_equals_sign() -> None:
    with pytest.raises(ConfigError, match=r"^--set train\.seed: write it as --set section\.key="):
        load_config(None, ["train.seed"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"[train\n", "not a TOML file", id="broken"),
        pytest.param(b"[train]\nseed = 1\nseed = 2\n", "not a TOML file", id="key twice"),
        pytest.param(b"# \xff\n", "not a TOML file", id="not UTF-8"),
        pytest.param(None, "no such file", id="missing"),
    ],
)
def test_an_unreadable_file_is_named(content: bytes | None, message: str) -> None:
    file = Path("my.toml")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^my\.toml: {message}"):
        load_config(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_config(tmp_path)


def test_an_empty_file_changes_nothing() -> None:
    assert load_config(write("")) == load_config()


def test_a_configuration_cannot_be_changed() -> None:
    config, _ = load_config()
    with pytest.raises(ValueError, match="frozen"):
        config.train.seed = 1


def described(*overrides: str) -> str:
    return "\n".join(describe(*load_config(None, overrides))) + "\n"


def test_describe_gives_every_value_its_origin() -> None:
    lines = described("train.seed=3").splitlines()
    assert "seed = 3  # --set" in lines
    assert 'name = "demo"  # default' in lines
    assert sum("  # " in line for line in lines) == len(model_keys(Config))


def test_describe_names_sections_once() -> None:
    headers = [line for line in described().splitlines() if line.startswith("[")]
    assert headers[:3] == ["[dataset]", "[extract]", "[extract.spatial]"]
    assert len(set(headers)) == len(headers)


def test_describe_loads_back() -> None:
    changes = [
        "dataset.mos_range=[-1, 2.5]",
        'train.base="my \\"model\\" ü"',
        "cache.path=s3://b/f",
    ]
    before, _ = load_config(None, changes)
    after, origins = load_config(write(described(*changes)))
    assert after == before
    assert set(origins.values()) == {"my.toml"}


@hypothesis_settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.text(st.characters(exclude_categories=["C"]), min_size=1),
    st.floats(0, 1e6, exclude_min=True),
    st.integers(0, 2**40),
)
def test_describe_loads_back_any_value(text: str, rate: float, seed: int) -> None:
    default, origins = load_config()
    values = {"base": text, "learning_rate": rate, "seed": seed}
    before = default.model_copy(update={"train": default.train.model_copy(update=values)})
    assert load_config(write("\n".join(describe(before, origins))))[0] == before
