"""Tokens in 8 bits a value: each token has a scale of its own, its largest magnitude over 127.

Rounding is to nearest and symmetric, so zero stays zero and an error is at most half a scale.
`benchmarks/int8_features.py` measures the errors on real features.
"""

import numpy as np

_LARGEST = 127


def quantise(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and scales of finite tokens.

    Args:
        tokens: (..., D), any float type.

    Returns:
        Codes (..., D) int8 from -127 to 127, and scales (...) float32; a token of zeros has
        scale 0.
    """
    tokens = tokens.astype(np.float32, copy=False)
    scale = np.maximum(tokens.max(axis=-1), -tokens.min(axis=-1)) / np.float32(_LARGEST)
    # The scale of a token of zeros is 0, and so is that of a token too small for float32.
    steps = tokens / np.where(scale > 0, scale, 1)[..., None]
    codes = np.clip(np.rint(steps, out=steps), -_LARGEST, _LARGEST)
    return codes.astype(np.int8), scale


def dequantise(codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return tokens (..., D) float16 of codes (..., D) int8 and scales (...) float32."""
    tokens: np.ndarray = np.multiply(codes, scale[..., None], dtype=np.float32)
    return tokens.astype(np.float16)
