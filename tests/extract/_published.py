"""Small checkpoints in the published layouts, with random weights, written by the test that asks.

Also a second implementation of InternViT in plain PyTorch, straight on the original layout's
tensors: it shares no code with the one under test, nor with transformers.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm

HIDDEN, INNER, HEADS, LAYERS, SIZE, PATCH, RANK = 64, 96, 4, 2, 56, 14, 4

VISION_CONFIG = {
    "model_type": "intern_vit_6b",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_channels": 3,
    "image_size": SIZE,
    "patch_size": PATCH,
    "hidden_act": "gelu",
    "norm_type": "layer_norm",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "qk_normalization": False,
    "drop_path_rate": 0.1,
    "use_flash_attn": True,
}

CONFIG = {
    "model_type": "internvl_chat",
    "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
    "select_layer": -1,
    "ps_version": "v2",
    "downsample_ratio": 0.5,
    "force_image_size": SIZE,
    "vision_config": VISION_CONFIG,
    "llm_config": {"model_type": "internlm2"},
}

ADAPTED = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def original_vit(**changes: Any) -> dict[str, Tensor]:
    """Random tensors of an InternViT under its original names, without what is in front of them."""
    config = VISION_CONFIG | changes
    bias, qk = config["qkv_bias"], config["qk_normalization"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (1, 1, HIDDEN),
        "embeddings.patch_embedding.weight": (HIDDEN, 3, PATCH, PATCH),
        "embeddings.patch_embedding.bias": (HIDDEN,),
        "embeddings.position_embedding": (1, (SIZE // PATCH) ** 2 + 1, HIDDEN),
    }
    for layer in range(LAYERS):
        block = {
            "attn.qkv.weight": (3 * HIDDEN, HIDDEN),
            **({"attn.qkv.bias": (3 * HIDDEN,)} if bias else {}),
            **({"attn.q_norm.weight": (HIDDEN,), "attn.k_norm.weight": (HIDDEN,)} if qk else {}),
            "attn.proj.weight": (HIDDEN, HIDDEN),
            "attn.proj.bias": (HIDDEN,),
            "mlp.fc1.weight": (INNER, HIDDEN),
            "mlp.fc1.bias": (INNER,),
            "mlp.fc2.weight": (HIDDEN, INNER),
            "mlp.fc2.bias": (HIDDEN,),
            **{f"norm{n}.{kind}": (HIDDEN,) for n in (1, 2) for kind in ("weight", "bias")},
            "ls1": (HIDDEN,),
            "ls2": (HIDDEN,),
        }
        shapes |= {f"encoder.layers.{layer}.{name}": shape for name, shape in block.items()}
    random = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=random) for name, shape in shapes.items()}


def lora_of(vit: dict[str, Tensor]) -> dict[str, Tensor]:
    """A random LoRA on the modules that the official code adapts: NAME.lora_A.weight and B."""
    random = torch.Generator().manual_seed(1)
    lora = {}
    for name, weight in vit.items():
        module = name.removesuffix(".weight")
        if module.endswith(ADAPTED):
            rows, columns = weight.shape
            lora[f"{module}.lora_A.weight"] = torch.randn(RANK, columns, generator=random) * 0.1
            lora[f"{module}.lora_B.weight"] = torch.randn(rows, RANK, generator=random) * 0.1
    return lora


def merged(vit: dict[str, Tensor], lora: dict[str, Tensor]) -> dict[str, Tensor]:
    """W + 2 B A, on the fused qkv as well."""
    result = dict(vit)
    for name, a in lora.items():
        if ".lora_A." in name:
            b, weight = lora[name.replace("lora_A", "lora_B")], name.replace(".lora_A", "")
            result[weight] = vit[weight] + 2 * b @ a
    return result


def as_peft_names(vit: dict[str, Tensor], lora: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names in a FineVQ checkpoint, whose image encoder peft has wrapped."""
    named = {}
    for name, tensor in vit.items():
        module, _, kind = name.rpartition(".")
        name = f"{module}.base_layer.{kind}" if module.endswith(ADAPTED) else name
        named[f"vision_model.base_model.model.{name}"] = tensor
    for name, tensor in lora.items():
        name = name.removesuffix("weight") + "default.weight"
        named[f"vision_model.base_model.model.{name}"] = tensor
    return named


def in_whole(vit: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names in an InternVL2 checkpoint, and one tensor that is none of the encoder's."""
    return {f"vision_model.{name}": tensor for name, tensor in vit.items()} | {
        "mlp1.0.weight": torch.ones(4 * HIDDEN)
    }


def write_checkpoint(
    folder: Path, tensors: dict[str, Tensor], config: dict[str, Any] | None = None
) -> str:
    """Write a checkpoint's folder, with config.json and model.safetensors; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or CONFIG))
    contiguous = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(contiguous, folder / "model.safetensors")
    return str(folder)


def reference_tokens(vit: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """What the official code computes: InternViT's last block, then the second pixel shuffle.

    Args:
        vit: tensors under their original names, in float32.
        pixels: normalised, (frames, 3, SIZE, SIZE).
    """
    embedded = conv2d(
        pixels,
        vit["embeddings.patch_embedding.weight"],
        vit["embeddings.patch_embedding.bias"],
        stride=PATCH,
    )
    frames, side = len(pixels), SIZE // PATCH
    patches = embedded.reshape(frames, HIDDEN, -1).mT
    first = vit["embeddings.class_embedding"].expand(frames, 1, HIDDEN)
    x = torch.cat([first, patches], 1) + vit["embeddings.position_embedding"]
    for layer in range(LAYERS):
        start = f"encoder.layers.{layer}."
        block = {name.removeprefix(start): t for name, t in vit.items() if name.startswith(start)}
        x = x + block["ls1"] * _attention(block, _norm(x, block, "norm1"))
        inner = gelu(_linear(_norm(x, block, "norm2"), block, "mlp.fc1"))
        x = x + block["ls2"] * _linear(inner, block, "mlp.fc2")
    tokens = x[:, 1:]
    rows = []
    for i in range(0, side, 2):
        for j in range(0, side, 2):
            corners = [(i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)]
            rows.append(torch.cat([tokens[:, side * row + column] for row, column in corners], -1))
    return torch.stack(rows, 1)


def _linear(x: Tensor, block: dict[str, Tensor], name: str) -> Tensor:
    return x @ block[f"{name}.weight"].T + block.get(f"{name}.bias", torch.zeros(()))


def _norm(x: Tensor, block: dict[str, Tensor], name: str) -> Tensor:
    return layer_norm(x, (HIDDEN,), block[f"{name}.weight"], block[f"{name}.bias"], 1e-6)


def _attention(block: dict[str, Tensor], x: Tensor) -> Tensor:
    query, key, value = _linear(x, block, "attn.qkv").split(HIDDEN, -1)
    if "attn.q_norm.weight" in block:  # RMS over all heads together
        query = block["attn.q_norm.weight"] * query / (query.pow(2).mean(-1, True) + 1e-6).sqrt()
        key = block["attn.k_norm.weight"] * key / (key.pow(2).mean(-1, True) + 1e-6).sqrt()
    depth = HIDDEN // HEADS
    out = []
    for head in range(HEADS):
        part = slice(head * depth, (head + 1) * depth)
        scores = query[..., part] @ key[..., part].mT / depth**0.5
        out.append(scores.softmax(-1) @ value[..., part])
    return _linear(torch.cat(out, -1), block, "attn.proj")
