"""What storing tokens in 8 bits costs: the error on real features.

    .venv/bin/python benchmarks/int8_features.py runs/demo/features

The stored tokens of every video are quantised, restored and compared with themselves: the relative
L2 error of a video (median and largest), and the largest error of a value, relative to the largest
magnitude in its token.
"""

import json
import statistics
import sys
from pathlib import Path

import numpy as np

from finevq.cache.arrays.quantise import dequantise, quantise
from finevq.cache.store import FeatureStore


def errors(tokens: np.ndarray) -> tuple[float, float]:
    exact = tokens.astype(np.float32)
    off = dequantise(*quantise(tokens)).astype(np.float32) - exact
    largest = np.abs(exact).max(axis=-1, keepdims=True)
    relative = float(np.linalg.norm(off) / np.linalg.norm(exact))
    return relative, float((np.abs(off) / np.where(largest > 0, largest, 1)).max())


def main() -> None:
    store = FeatureStore.open(sys.argv[1])
    ok = [video for video, record in store.records().items() if record.status == "ok"]
    found = [errors(store.read(video)[0]) for video in ok]
    relative = [pair[0] for pair in found]
    result = {
        "videos": len(ok),
        "shape": list(store.layout.shapes["spatial"]),
        "relative_l2": {"median": statistics.median(relative), "max": max(relative)},
        "largest_over_token_maximum": max(pair[1] for pair in found),
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("int8_features.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
