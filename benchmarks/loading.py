"""How much memory the extractor needs to load the image encoder of a whole checkpoint.

    .venv/bin/python benchmarks/loading.py [--filler GB]

Writes a checkpoint in the layout of InternVL2-8B: InternViT-300M and a projector at their real
sizes, and a language model that takes no room on the disk (a sparse file). Loads the image encoder
in a fresh process and compares the peak of its memory with the encoder's own size.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, INNER, LAYERS, HEADS, PATCHES = 1024, 4096, 24, 16, 1024
"""InternViT-300M-448px."""

CONFIG = {
    "model_type": "internvl_chat",
    "select_layer": -1,
    "ps_version": "v2",
    "downsample_ratio": 0.5,
    "vision_config": {
        "model_type": "intern_vit_6b",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_channels": 3,
        "image_size": 448,
        "patch_size": 14,
        "hidden_act": "gelu",
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "qk_normalization": False,
    },
    "llm_config": {"model_type": "internlm2"},
}

CHILD = """
import json, re, sys
from pathlib import Path
from finevq.extract.encode.backbones import weight_hash
from finevq.extract.encode.internvit import load_internvit
def memory(key):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(key + r":\\s+(\\d+)", status)[1])
before = memory("VmRSS")
vit = load_internvit(sys.argv[1])
weight_hash(vit)  # touches every value, which loading alone leaves in the file
size = sum(p.nbytes for p in vit.parameters())
print(json.dumps({"encoder_gb": size / 1e9, "peak_gb": (memory("VmHWM") - before) / 1e9}))
"""


def vision_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (1, 1, HIDDEN),
        "embeddings.position_embedding": (1, PATCHES + 1, HIDDEN),
        "embeddings.patch_embedding.weight": (HIDDEN, 3, 14, 14),
        "embeddings.patch_embedding.bias": (HIDDEN,),
    }
    for layer in range(LAYERS):
        block = {
            "attn.qkv.weight": (3 * HIDDEN, HIDDEN),
            "attn.qkv.bias": (3 * HIDDEN,),
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
    return shapes


def write_checkpoint(folder: Path, filler_gb: float) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG))
    vision = {
        f"vision_model.{name}": torch.randn(shape).to(torch.bfloat16)
        for name, shape in vision_shapes().items()
    }
    save_file(vision, folder / "model-1.safetensors")
    size = int(filler_gb * 1e9) // 2 * 2
    tensor = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}
    header = json.dumps({"language_model.output.weight": tensor}).encode()
    with (folder / "model-2.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)  # sparse: it takes no room on the disk
    weight_map = dict.fromkeys(vision, "model-1.safetensors")
    weight_map["language_model.output.weight"] = "model-2.safetensors"
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--filler", type=float, default=15.0, metavar="GB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), given.filler)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, folder], check=True, capture_output=True, text=True
        )
    measured = json.loads(done.stdout)
    result = {
        "checkpoint_gb": round(given.filler + measured["encoder_gb"], 2),
        "encoder_gb": round(measured["encoder_gb"], 3),
        "peak_gb": round(measured["peak_gb"], 3),
        "peak_over_encoder": round(measured["peak_gb"] / measured["encoder_gb"], 2),
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("loading.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
