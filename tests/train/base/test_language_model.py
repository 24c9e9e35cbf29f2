"""Base models: each published layout gives the network that it describes, or one clear line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import InternVLConfig, InternVLForConditionalGeneration

from finevq.errors import CheckpointError
from finevq.train.base.language_model import Base, load_base
from finevq.train.model.packing import Layout, Packer
from finevq.train.prompts import INTERNVL2, INTERNVL2_5, rating
from finevq.weights import Weights

from .._internlm2 import hidden_states
from .._published import HIDDEN, LLM, SPATIAL, write_fast_tokenizer, write_finevq, write_internvl2

Tensors = dict[str, Tensor]

NATIVE_PARTS = (("language_model.", "model.language_model."), ("lm_head.", "lm_head."))


def text_config(kind: str, vocabulary: int, **more: Any) -> dict[str, Any]:
    """Settings in the style of the published files."""
    shared = {k: v for k, v in LLM.items() if k not in ("auto_map", "bias", "model_type")}
    width = {"head_dim": 8} if kind == "qwen3" else {}  # not hidden / heads: 32 of 64
    return shared | {"model_type": kind, "vocab_size": vocabulary} | width | more


def write_native(
    folder: Path, kind: str, *, old_names: bool = False, tied: bool = False
) -> InternVLForConditionalGeneration:
    """A native checkpoint in the layout of transformers today or before, and the model it is of."""
    vocabulary = write_fast_tokenizer(folder)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = {
        "model_type": "internvl",
        "vision_config": vision | {"num_attention_heads": 2, "image_size": [28, 28]},
        "text_config": text_config(kind, vocabulary, tie_word_embeddings=tied),
        "tie_word_embeddings": tied,
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    settings = {k: v for k, v in config.items() if k != "model_type"}
    settings["text_config"] = {
        k: v for k, v in config["text_config"].items() if k != "attn_implementation"
    }
    model = InternVLForConditionalGeneration(InternVLConfig(**settings)).float().eval()
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    if old_names:
        tensors = {old_name(name): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    return model


def old_name(name: str) -> str:
    """What transformers 4.52 called a tensor."""
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    name = name.removeprefix("model.")
    return name.replace("language_model.", "language_model.model.", 1)


def states(base: Base, ids: Tensor) -> Tensor:
    with torch.no_grad():
        output = base.language_model(ids[None], output_hidden_states=True, use_cache=False)
    return output.hidden_states[-1][0]


def refused(folder: Path) -> str:
    """The one line with which a base model is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_base(str(folder), "float32")
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_internvl2(tmp_path)
    return tmp_path


def change_json(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def change_tensors(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("write", [write_internvl2, write_finevq])
def test_internlm2_is_the_network_of_the_published_tensors(
    tmp_path: Path, write: Callable[[Path], Tensors]
) -> None:
    tensors = write(tmp_path)
    base = load_base(str(tmp_path), "float32")
    ids = torch.randint(len(base.tokenizer), (70,), generator=torch.Generator().manual_seed(1))
    plain = {name: t for name, t in tensors.items() if ".lora_" not in name}
    embedded = plain["language_model.model.tok_embeddings.weight"][ids].double()
    expected = hidden_states(plain, embedded)
    found = states(base, ids)
    assert (found - expected).norm() < 1e-5 * expected.norm()
    logits = base.language_model.get_output_embeddings()(found)
    head = plain["language_model.output.weight"].float()
    torch.testing.assert_close(logits, found @ head.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("old_names", [True, False], ids=["old names", "new names"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_native_checkpoint_is_the_model_of_transformers(
    tmp_path: Path, kind: str, old_names: bool, tied: bool
) -> None:
    model = write_native(tmp_path, kind, old_names=old_names, tied=tied)
    base = load_base(str(tmp_path), "float32")
    ids = torch.arange(5, 75)
    with torch.no_grad():
        expected = model(input_ids=ids[None], output_hidden_states=True, use_cache=False)
        logits = base.language_model(ids[None], use_cache=False).logits
    torch.testing.assert_close(states(base, ids), expected.hidden_states[-1][0])
    torch.testing.assert_close(logits, expected.logits)
    rotary = dict(base.language_model.named_buffers())["model.rotary_emb.inv_freq"]
    assert rotary.dtype == torch.float32  # though config.json says bfloat16
    assert base.chat == INTERNVL2_5
    assert base.projector is not None
    features = torch.randn(2, 3, 64)
    torch.testing.assert_close(
        projected(base.projector, features), model.model.multi_modal_projector(features)
    )


def projected(state: Tensors, features: Tensor) -> Tensor:
    hidden = torch.nn.functional.layer_norm(
        features, features.shape[-1:], state["0.weight"], state["0.bias"]
    )
    hidden = torch.nn.functional.linear(hidden, state["1.weight"], state["1.bias"])
    hidden = torch.nn.functional.gelu(hidden)
    return torch.nn.functional.linear(hidden, state["3.weight"], state["3.bias"])


def test_original_layout_with_a_qwen2_is_read_by_its_own_names(tmp_path: Path) -> None:
    write_native(tmp_path, "qwen2", old_names=True)
    native = load_base(str(tmp_path), "float32")

    def as_original(config: dict[str, Any]) -> None:
        config["llm_config"] = config.pop("text_config")
        config["template"] = "Hermes-2"

    change_json(tmp_path / "config.json", as_original)
    original = load_base(str(tmp_path), "float32")
    assert original.hash == native.hash
    assert original.chat == INTERNVL2


def test_one_model_has_one_hash_in_every_layout(tmp_path: Path) -> None:
    tensors = write_internvl2(tmp_path / "whole")
    whole = load_base(str(tmp_path / "whole"), "float32")
    assert load_base(str(tmp_path / "whole"), "bfloat16").hash == whole.hash
    write_finevq(tmp_path / "wrapped")
    assert load_base(str(tmp_path / "wrapped"), "float32").hash == whole.hash

    sharded = tmp_path / "sharded"
    write_internvl2(sharded)
    (sharded / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in names if files[n] == file}, sharded / file)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert load_base(str(sharded), "float32").hash == whole.hash

    native = tmp_path / "native"
    write_fast_tokenizer(native)
    config = text_config("llama", len(whole.tokenizer))
    (native / "config.json").write_text(json.dumps({"text_config": config}))
    stored = {n: t.to(torch.bfloat16) for n, t in whole.language_model.state_dict().items()}
    save_file({f"language_model.{n}": t for n, t in stored.items()}, native / "model.safetensors")
    assert load_base(str(native), "float32").hash == whole.hash


def test_hash_changes_with_any_weight_of_the_language_model_alone(folder: Path) -> None:
    before = load_base(str(folder), "float32").hash
    names = [n for n in load_file(folder / "model.safetensors") if n.startswith("language_model.")]
    for name in names[::5]:
        change_tensors(folder, lambda tensors, n=name: tensors[n].view(-1)[-1:].add_(0.5))
        after = load_base(str(folder), "float32").hash
        assert after != before, name
        before = after
    change_tensors(folder, lambda tensors: tensors["mlp1.1.weight"].zero_())
    assert load_base(str(folder), "float32").hash == before


def test_embedded_base_has_the_same_hash_every_time() -> None:
    first, second = (load_base("embedded", p) for p in ("float32", "bfloat16"))
    assert first.hash == second.hash
    assert first.projector is None


@pytest.mark.parametrize("name", ["embedded", "published"])
def test_bfloat16_model_keeps_exact_rotary_angles(folder: Path, name: str) -> None:
    base = load_base(name if name == "embedded" else str(folder), "bfloat16")
    assert {weight.dtype for weight in base.language_model.parameters()} == {torch.bfloat16}
    rotary = dict(base.language_model.named_buffers())["model.rotary_emb.inv_freq"]
    assert rotary.dtype == torch.float32
    assert rotary[0] == 1


def test_projector_starts_from_the_published_one(folder: Path) -> None:
    published = load_file(folder / "model.safetensors")
    projector = load_base(str(folder), "bfloat16").projector
    assert projector is not None
    assert set(projector) == {f"{n}.{part}" for n in (0, 1, 3) for part in ("weight", "bias")}
    for name, tensor in projector.items():
        assert torch.equal(tensor, published[f"mlp1.{name}"].float())
    change_tensors(folder, lambda t: [t.pop(n) for n in list(t) if n.startswith("mlp1.")])
    assert load_base(str(folder), "bfloat16").projector is None


@pytest.mark.parametrize(
    ("template", "chat", "begins"),
    [
        ("internlm2-chat", INTERNVL2, "<s><|im_start|>system\n你是由上海"),
        ("internvl2_5", INTERNVL2_5, "<s><|im_start|>system\n你是书生·万象"),
    ],
)
def test_chat_template_is_that_of_the_checkpoint(
    tmp_path: Path, template: str, chat: Any, begins: str
) -> None:
    write_internvl2(tmp_path, template=template)
    base = load_base(str(tmp_path), "float32")
    assert base.chat.system == chat.system
    assert base.chat.between == chat.between
    prefix = base.chat.prefix(2, 4, 1)
    assert prefix.startswith(begins)
    assert base.tokenizer.encode(prefix, add_special_tokens=False)[0] == 1


def test_sequence_longer_than_the_model_reads_is_refused(folder: Path) -> None:
    base = load_base(str(folder), "float32")
    layout = Layout(2, 40, 1)
    prompts = [rating("blur", 0.5), rating("noise", 0.5)]
    packer = Packer(base.tokenizer, base.chat, 2048)
    longest = int(packer.pack(layout, prompts, learn=True).positions.max()) + 1
    assert longest < len(packer.pack(layout, prompts, learn=True).positions)  # they share it
    Packer(base.tokenizer, base.chat, longest).pack(layout, prompts, learn=True)
    short = Packer(base.tokenizer, base.chat, longest - 1)
    with pytest.raises(CheckpointError, match=f"a sequence of {longest} tokens; the base model"):
        short.pack(layout, prompts, learn=True)


def test_tokenizer_without_the_tokens_of_an_internvl_is_refused(folder: Path) -> None:
    def remove(config: dict[str, Any]) -> None:
        tokens = config["added_tokens_decoder"]
        for number in [n for n, t in tokens.items() if t["content"] == "<IMG_CONTEXT>"]:
            del tokens[number]

    change_json(folder / "tokenizer_config.json", remove)
    base = load_base(str(folder), "float32")
    with pytest.raises(CheckpointError, match="has no token <IMG_CONTEXT>"):
        Packer(base.tokenizer, base.chat, 2048)


@pytest.mark.parametrize(
    "name",
    [
        "language_model.model.layers.1.attention.wqkv.weight",
        "language_model.output.weight",
        "language_model.model.norm.weight",
        "mlp1.3.bias",
    ],
)
def test_missing_tensor_is_named_before_any_is_read(folder: Path, name: str, monkeypatch) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(name))

    def unread(self: Weights, name: str, shape: Any = None) -> Tensor:
        raise AssertionError(f"{name} was read first")

    monkeypatch.setattr(Weights, "read", unread)
    assert f"has no tensor {name}" in refused(folder)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("language_model.model.layers.0.attention.wqkv.weight", "(128, 64)"),
        ("language_model.model.layers.1.feed_forward.w2.weight", "(64, 96)"),
        ("language_model.model.tok_embeddings.weight", "(524, 64)"),
        ("mlp1.1.weight", f"({HIDDEN}, {SPATIAL})"),
    ],
)
def test_tensor_of_another_shape_is_named(folder: Path, name: str, expected: str) -> None:
    change_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(3, 5)}))
    message = refused(folder)
    assert f"{folder / 'model.safetensors'}: {name} has the shape (3, 5)" in message
    assert expected in message


def test_cut_off_file_is_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file}: damaged" in refused(folder)


def test_missing_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    assert f"{folder / 'tokenizer.model'}: missing" in refused(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "intern_vit_6b"}, "describes a 'intern_vit_6b' without a language model"),
        ({"llm_config": {"model_type": "phi3"}}, "its language model is of the type 'phi3'"),
        ({"text_config": {"model_type": "internlm2"}}, "its language model is of the type"),
        ({"llm_config": {"model_type": "internlm2"}}, "not the settings of its internlm2: 'vocab_"),
        ({"llm_config": LLM | {"vocab_size": "many"}}, "not the settings of its internlm2: "),
        (
            {"llm_config": LLM | {"vocab_size": 524, "hidden_act": "wave"}},
            "not the settings of its internlm2: 'wave'",
        ),
    ],
)
def test_other_architectures_are_refused(
    folder: Path, content: dict[str, Any], message: str
) -> None:
    (folder / "config.json").write_text(json.dumps({"template": "internlm2-chat"} | content))
    assert f"{folder}/config.json: {message}" in refused(folder)


def test_unknown_chat_template_is_refused(tmp_path: Path) -> None:
    write_internvl2(tmp_path, template="phi3-chat")
    assert "template = 'phi3-chat'; this version knows internlm2-chat" in refused(tmp_path)
