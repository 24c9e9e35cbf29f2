"""The embedded small backbones: the real classes with weights that are designed, and some trained.

They make the whole pipeline run, and learn, without a download. What they measure is what early
vision and classical quality metrics measure, and nothing semantic:

- The InternViT has four blocks. Its patch embedding is a whitened DCT in an opponent color space,
  so that noise, blur and blocking are not buried under brightness; its attention averages over the
  frame, from the second block on over the patches of one scale; its first MLP turns each
  coefficient into a magnitude (GELU(x) + GELU(-x) ~ |x|) and adds the magnitudes up in frequency
  bands. The second MLP takes the logarithms of the bands, the third one how far they lie from the
  frame's mean. The fourth is trained (recipes/small): it reads the logarithms of a patch, and mean
  and spread of the frame's, and writes what tells distortions apart.
- The SlowFast has one block a stage. Its slow stem holds DCT filters, its fast stem temporal
  differences; every stage copies its channels behind rising thresholds, so that the final average
  over space and time is a soft histogram of each response. The first fast stage also measures how
  motion energy changes from frame to frame, which tells stutter and shake from a steady pan.

All weights are closed formulas, rounded so that they hash alike on every machine.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import erf
from torch import Tensor, nn
from transformers import InternVLVisionConfig, InternVLVisionModel

from ...weights import SMALL
from ..decode.pieces import SIDE
from .motion import build_slowfast
from .spatial import MEAN, STD

Array = NDArray[Any]

SIZE, PATCH, HIDDEN, HEADS = 224, 14, 1024, 16
"""Side of a whole frame in pixels; one in pieces has `finevq.extract.decode.pieces.SIDE`."""

TRAINED = SMALL / "backbones.safetensors"
"""What recipes/small has trained: `vit.*`, the last MLP, and `slowfast.*`, by its own names."""

SAME_SCALE = 6.0
"""Gain of queries and keys on a patch's scale: patches of the other get e^-9 of its weight."""

# RGB to brightness, red-blue and green-magenta; orthonormal rows.
OPPONENT: Array = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])

STEADY = 320.0
"""Value of two constant channels; they dominate the LayerNorm's variance and so switch it off."""

REMAINDER = 20.0
"""What is left of them in the tokens, whose projector begins with a LayerNorm too."""


def embedded_vit(pieces: bool = True) -> InternVLVisionModel:
    """A four-block InternViT whose shuffled tokens are 4096-d.

    Args:
        pieces: it sees frames in pieces; else whole ones, of 224 x 224 pixels.
    """
    design = VitDesign(pieces)
    config = InternVLVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=len(design.rows),
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        image_size=[design.size, design.size],
        patch_size=[PATCH, PATCH],
        attention_bias=True,
    )
    vit = InternVLVisionModel(config)
    _load(vit, design.weights())
    return vit


def dct(size: int) -> Array:
    """The orthonormal DCT-II basis, (frequency, position)."""
    k, x = np.arange(size)[:, None], np.arange(size)[None]
    basis = np.cos(np.pi * (x + 0.5) * k / size) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return basis


def trained(part: str) -> dict[str, Array]:
    """The trained weights of a part, "vit" or "slowfast", float32; none before they are trained."""
    if not TRAINED.is_file():
        return {}
    tensors = load_file(TRAINED)
    first = f"{part}."
    return {
        name.removeprefix(first): tensor.astype(np.float32)
        for name, tensor in tensors.items()
        if name.startswith(first)
    }


def _load(module: nn.Module, weights: dict[str, Array]) -> None:
    """Set every parameter and buffer: to its design, else to zero."""
    state: dict[str, Tensor] = {}
    for name, old in module.state_dict().items():
        new = weights.get(name, np.zeros(old.shape))
        state[name] = torch.as_tensor(np.round(new, 4), dtype=old.dtype).reshape(old.shape)
    unknown = set(weights) - set(state)
    assert not unknown, unknown
    module.load_state_dict(state)


class VitDesign:
    """Channels of the residual stream.

        0   coefficients, 3 x 196; behind the first block but three of them are free
      588   means of the frame, in three colors
      591   which of the two scales a patch is of; 697, 698 where it lies in its token
      592   bands; behind the second block, how far the logarithms lie from the frame's
      704   logarithms of the bands
      816   what the trained MLP writes
     1022   two constants

    The free ones hold the frame's mean logarithms and mean distances. Bands, logarithms and
    distances are positive, and would shift all channels of the next LayerNorm by their mean. So
    each has its negative in a free channel, as long as there is a LayerNorm to come.
    """

    coefficients = 3 * PATCH * PATCH
    means = slice(588, 591)
    scale = 591  # 1 in a patch of the shrunk frame, -1 in one of the frame as it is
    places = slice(697, 699)  # row and column of a patch in its token, -1 and 1
    steady = slice(1022, 1024)
    first_band = 592
    first_log = 704
    first_written = 816

    def __init__(self, pieces: bool = True) -> None:
        self.size = SIDE if pieces else SIZE
        self.pieces = pieces
        # A row of the MLP: (gains on residual channels, bias, band that collects its GELU).
        self.rows: list[tuple[dict[int, float], float, int]] = []
        self.bands = 0
        self._coefficient_bands()
        self._level_bands()
        self._contrast_bands()
        self._step_bands()
        # Three coefficients, a patch's brightness and color, stay where they are.
        kept = [channel * PATCH * PATCH for channel in range(3)]
        free = np.setdiff1d(np.arange(self.coefficients), kept)
        self.colors = np.array(kept)
        self.less_bands, self.less_logs, self.frame_logs, self.less_frame, self.spread = free[
            : 5 * self.bands
        ].reshape(5, self.bands)
        self.band = self.first_band + np.arange(self.bands)
        self.log = self.first_log + np.arange(self.bands)

    def _new_band(self) -> int:
        self.bands += 1
        return self.first_band + self.bands - 1

    def _magnitude(self, gains: dict[int, float], band: int) -> None:
        self.rows.append((gains, 0.0, band))
        self.rows.append(({k: -g for k, g in gains.items()}, 0.0, band))

    def _coefficient_bands(self) -> None:
        """|coefficient| by color channel, octave of frequency and orientation."""
        bands: dict[tuple[int, int, int], int] = {}
        for channel in range(3):
            for v in range(PATCH):
                for u in range(PATCH):
                    if u == v == 0:
                        continue
                    radius = _radius_bin(max(u, v))
                    key = (channel, radius, 0 if channel else _turn(u, v))
                    if key not in bands:
                        bands[key] = self._new_band()
                    index = (channel * PATCH + v) * PATCH + u
                    self._magnitude({index: 1.0}, bands[key])

    def _level_bands(self) -> None:
        """Mean brightness and color of the patch, each behind rising thresholds."""
        for channel, levels in enumerate((np.linspace(-2, 2, 9), *[np.linspace(0, 1.6, 5)] * 2)):
            index = channel * PATCH * PATCH
            for threshold in levels:
                for sign in (1.0, -1.0):
                    row = ({index: 4 * sign}, -4.0 * float(threshold), self._new_band())
                    self.rows.append(row)

    def _contrast_bands(self) -> None:
        """How far the patch's mean brightness and color lie from those of the whole frame."""
        for channel in range(3):
            gains = {channel * PATCH * PATCH: 4.0, self.means.start + channel: -4.0}
            self._magnitude(gains, self._new_band())

    def _step_bands(self) -> None:
        """|step| of brightness between neighbouring rows or columns: the edges of coding blocks."""
        basis, gain = dct(PATCH), _whitening()
        for place in range(PATCH - 1):
            step = (basis[:, place + 1] - basis[:, place]) * 8
            across = {u: step[u] / gain[0, u] for u in range(1, PATCH)}
            self._magnitude(across, self._new_band())
            down = {v * PATCH: step[v] / gain[v, 0] for v in range(1, PATCH)}
            self._magnitude(down, self._new_band())

    def weights(self) -> dict[str, Array]:
        """The state dict of the InternViT; what is not in it is zero."""
        hidden, inner = HIDDEN, len(self.rows)
        projection, bias = self._patch_embedding()
        value, out = _no_attention()
        for channel in range(3):  # keys and queries are zero: every token gets the frame's mean
            value[channel, channel * PATCH * PATCH] = 1
            out[self.means.start + channel, channel] = 1
        fc1, fc1_bias, fc2 = np.zeros((inner, hidden)), np.zeros(inner), np.zeros((hidden, inner))
        for row, (gains, offset, band) in enumerate(self.rows):
            for index, gain in gains.items():
                fc1[row, index] = gain
            fc1_bias[row] = offset
            fc2[band, row] = 0.25 if offset == 0 and len(gains) == 1 else 0.5
            if offset == 0 and len(gains) == 1:
                # GELU(x) - GELU(-x) = x: what a band has collected leaves the residual stream.
                ((index, sign),) = gains.items()
                fc2[index, row] = -sign
        fc2[self.less_bands] -= fc2[self.band]
        norm = np.full(hidden, STEADY * np.sqrt(2 / hidden))
        return {
            "embeddings.patch_embeddings.projection.weight": projection,
            "embeddings.patch_embeddings.projection.bias": bias,
            "embeddings.position_embeddings": self._positions(),
            "embeddings.cls_token": bias * self.is_steady(),  # or its LayerNorm would magnify it
            **_block(0, norm, (value, out), (fc1, fc1_bias, fc2, np.zeros(hidden))),
            **_block(1, norm, _no_attention(), self._logarithms()),
            **_block(2, norm, self._averaging(self.log, self.frame_logs), self._distances()),
            **_block(3, norm, self._averaging(self.band, self.spread), self._trained(bias)),
            **self._same_scale(2),
            **self._same_scale(3),
        }

    def read(self) -> list[int]:
        """Channels that the trained MLP reads: colors, places, logarithms, mean and spread."""
        own = [*self.colors, *range(self.means.start, self.scale + 1), *range(697, 699)]
        return [int(c) for c in (*own, *self.log, *self.frame_logs, *self.spread)]

    def _positions(self) -> Array:
        """Which scale a patch has, and where it lies in its token; the class token has neither."""
        side = self.size // PATCH
        row, column = np.divmod(np.arange(side * side), side)
        positions = np.zeros((1, 1 + side * side, HIDDEN))
        positions[:, 1:, self.scale] = 1
        if self.pieces:
            positions[:, 1 + side * side // 2 :, self.scale] = -1
        positions[0, 1:, self.places] = np.stack([row % 2, column % 2], axis=-1) * 2 - 1
        return positions

    def _logarithms(self) -> tuple[Array, Array, Array, Array]:
        """The second MLP: a sum of hinges for each band, of which none sees another."""
        fc1, fc1_bias, fc2, fc2_bias = self._nothing()
        gains, knots, weights, offset = hinges()
        for band in range(self.bands):
            rows = slice(band * len(knots), (band + 1) * len(knots))
            fc1[rows, self.band[band]] = gains
            fc1_bias[rows] = -gains * knots
            for channel, sign in ((self.log[band], 1.0), (self.less_logs[band], -1.0)):
                fc2[channel, rows] = sign * weights
                fc2_bias[channel] = sign * offset
        self._clear(fc1, fc2, {1: self.band, -1: self.less_bands})
        return fc1, fc1_bias, fc2, fc2_bias

    def _distances(self) -> tuple[Array, Array, Array, Array]:
        """The third MLP: |logarithm - the frame's mean|, where the bands were."""
        fc1, fc1_bias, fc2, fc2_bias = self._nothing()
        for band in range(self.bands):
            for row, sign in ((2 * band, 8.0), (2 * band + 1, -8.0)):
                fc1[row, self.log[band]], fc1[row, self.frame_logs[band]] = sign, -sign
                fc2[self.band[band], row], fc2[self.less_bands[band], row] = 0.125, -0.125
        return fc1, fc1_bias, fc2, fc2_bias

    def _trained(self, bias: Array) -> tuple[Array, Array, Array, Array]:
        """The last MLP; it also clears the residual stream of what only helped."""
        fc1, fc1_bias, fc2, fc2_bias = self._nothing()
        first = self._clear(fc1, fc2, {1: self.frame_logs, -1: self.less_frame})
        first = self._clear(fc1, fc2, {1: self.band, -1: self.less_bands}, before=first)
        first = self._clear(fc1, fc2, {-1: self.less_logs}, before=first)
        fc2_bias += bias * self.is_steady() * (REMAINDER / STEADY - 1)
        learned = trained("vit")
        if learned:
            width, written = len(learned["fc1"]), len(learned["fc2"])
            place = slice(self.first_written, self.first_written + written)
            assert width <= first
            fc1[:width, self.read()] = learned["fc1"]
            fc1_bias[:width] = learned["fc1_bias"]
            fc2[place, :width] = learned["fc2"]
            fc2_bias[place] = learned["fc2_bias"]
        return fc1, fc1_bias, fc2, fc2_bias

    def _clear(
        self, fc1: Array, fc2: Array, signed: dict[int, Array], before: int | None = None
    ) -> int:
        """Clear channels that hold the same up to a sign, with the rows of an MLP before a row.

        Returns:
            The first row that it takes.
        """
        row = len(fc1) if before is None else before
        (first_sign, read), *_ = signed.items()
        for band in range(self.bands):
            for sign in (1.0, -1.0):  # GELU(x) - GELU(-x) = x
                row -= 1
                fc1[row, read[band]] = sign * first_sign
                for channel_sign, channels in signed.items():
                    fc2[channels[band], row] = -sign * channel_sign
        return row

    def _nothing(self) -> tuple[Array, Array, Array, Array]:
        """An MLP that does nothing: the weights and biases of its two layers."""
        hidden, inner = HIDDEN, len(self.rows)
        return (
            np.zeros((inner, hidden)),
            np.zeros(inner),
            np.zeros((hidden, inner)),
            np.zeros(hidden),
        )

    def _averaging(self, read: Array, written: Array) -> tuple[Array, Array]:
        """Attention that averages channels: values and output. The logarithms' negatives too."""
        value, out = _no_attention()
        places = np.arange(len(read))
        value[places, read] = 1
        out[written, places] = 1
        if written is self.frame_logs:
            out[self.less_frame, places] = -1
        return value, out

    def _same_scale(self, number: int) -> dict[str, Array]:
        """Queries and keys of a block by which a patch sees those of its own scale alike."""
        weight = np.zeros((HIDDEN, HIDDEN))
        weight[:: HIDDEN // HEADS, self.scale] = SAME_SCALE
        layer = f"encoder.layer.{number}.attention."
        return {layer + "q_proj.weight": weight, layer + "k_proj.weight": weight}

    def is_steady(self) -> Array:
        """1 at the constant channels, which the last layer lowers, else 0."""
        mask = np.zeros(HIDDEN)
        mask[self.steady] = 1
        return mask

    def _patch_embedding(self) -> tuple[Array, Array]:
        """Whitened DCT coefficients of the patch in opponent colors, centred on mid-gray."""
        basis = dct(PATCH)
        gain = _whitening()
        chroma = np.array([1.0, 2.0, 2.0])
        kernel = np.einsum("oc,vy,ux,vu,o->ovucyx", OPPONENT, basis, basis, gain, chroma)
        kernel = kernel.reshape(self.coefficients, 3, PATCH, PATCH)
        std, mean = np.array(STD)[:, None, None], np.array(MEAN)[:, None, None]
        weight = np.zeros((HIDDEN, 3, PATCH, PATCH))
        weight[: self.coefficients] = kernel * std
        bias = np.zeros(HIDDEN)
        bias[: self.coefficients] = (kernel * (mean - 0.5)).sum(axis=(1, 2, 3))
        bias[self.steady] = STEADY, -STEADY
        return weight, bias


def _no_attention() -> tuple[Array, Array]:
    """Attention that adds nothing: values and output."""
    return np.zeros((HIDDEN, HIDDEN)), np.zeros((HIDDEN, HIDDEN))


def _block(
    number: int,
    norm: Array,
    attention: tuple[Array, Array],
    mlp: tuple[Array, Array, Array, Array],
) -> dict[str, Array]:
    """The weights of one block: of its norms, its attention and the two layers of its MLP."""
    (value, out), (fc1, fc1_bias, fc2, fc2_bias) = attention, mlp
    layer = f"encoder.layer.{number}."
    return {
        layer + "attention.v_proj.weight": value,
        layer + "attention.projection_layer.weight": out,
        layer + "layernorm_before.weight": norm,
        layer + "layernorm_after.weight": norm,
        layer + "lambda_1": np.ones(HIDDEN),
        layer + "lambda_2": np.ones(HIDDEN),
        layer + "mlp.fc1.weight": fc1,
        layer + "mlp.fc1.bias": fc1_bias,
        layer + "mlp.fc2.weight": fc2,
        layer + "mlp.fc2.bias": fc2_bias,
    }


def _whitening() -> Array:
    """Gains (vertical, horizontal frequency) that even out natural images, which fall as 1/f.

    DC is scaled to a range of about -2 to 2.
    """
    frequency = np.hypot(*np.meshgrid(np.arange(PATCH), np.arange(PATCH)))
    return np.where(frequency == 0, 4 / PATCH / np.sqrt(3), 2.0 * (0.5 + frequency) ** 0.8)


def hinges() -> tuple[Array, Array, Array, float]:
    """Gains, knots and weights of a sum of GELUs, and an offset, that give log(1 + 8 x).

    From 0 to 40 the error is below 0.03; beyond, it goes on straight.
    """
    knots = np.array([-0.05, 0.03, 0.1, 0.25, 0.6, 1.4, 3.0, 6.5, 14.0, 28.0])
    gains = 2.5 / np.diff(knots, prepend=-0.13)
    x = np.concatenate([np.linspace(0, 1, 400), np.geomspace(1, 40, 400)])
    inner = gains * (x[:, None] - knots)
    gelu = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
    columns = np.column_stack([gelu, np.ones(len(x))])
    solved, *_ = np.linalg.lstsq(columns, np.log1p(8 * x), rcond=None)
    return gains, knots, solved[:-1], float(solved[-1])


def _radius_bin(frequency: int) -> int:
    """Octave-like bins of the higher of two DCT frequencies: 1 | 2 | 3-4 | 5-6 | 7-9 | 10-13."""
    return int(np.searchsorted([1, 2, 4, 6, 9], frequency))


def _turn(u: int, v: int) -> int:
    """Orientation bins: the axes, where the edges of coding blocks fall, near them, diagonal."""
    if u == 0 or v == 0:
        return 1 if v == 0 else 2
    return 3 if u > 2 * v else 4 if v > 2 * u else 0


def embedded_slowfast(designed: bool = False) -> nn.Sequential:
    """A SlowFast trunk with one block a stage, designed filters and a trained fast pathway.

    Args:
        designed: leave out what was trained.
    """
    trunk = build_slowfast(depth=18)
    weights: dict[str, Array] = {}
    for name, tensor in trunk.state_dict().items():
        if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
            weights[name] = np.ones(tensor.shape)
    slow, fast = "0.multipathway_blocks.0.", "0.multipathway_blocks.1."
    weights[slow + "conv.weight"] = _slow_stem(64)
    weights[fast + "conv.weight"] = _fast_stem()
    weights["0.multipathway_fusion.conv_fast_to_slow.weight"] = _carry(16, 8)
    for stage, (slow_in, slow_out, fast_in, fast_out) in enumerate(
        [(80, 256, 8, 32), (320, 512, 32, 64), (640, 1024, 64, 128), (1280, 2048, 128, 256)],
        start=1,
    ):
        for pathway, (n_in, n_out) in enumerate([(slow_in, slow_out), (fast_in, fast_out)]):
            block = f"{stage}.multipathway_blocks.{pathway}.res_blocks.0."
            copy, thresholds = _threshold_copies(n_in, n_out)
            weights[block + "branch1_conv.weight"] = copy
            weights[block + "branch1_norm.bias"] = -thresholds
        if stage < 4:
            name = f"{stage}.multipathway_fusion.conv_fast_to_slow.weight"
            weights[name] = _carry(2 * fast_out, fast_out)
    weights |= _change_of_motion("1.multipathway_blocks.1.res_blocks.0.")
    if not designed:
        weights |= trained("slowfast")
    _load(trunk, weights)
    return trunk


def _slow_stem(channels: int) -> Array:
    """7 x 7 DCT filters of both signs, lowest frequencies first, mostly on brightness."""
    basis = dct(7)
    order = sorted(((v, u) for v in range(7) for u in range(7)), key=lambda f: (sum(f), f))
    chosen = [(0, v, u) for v, u in order[:24]]
    chosen += [(c, v, u) for c in (1, 2) for v, u in order[:4]]
    filters = [
        0.225 * (1 + v + u) / 2 * np.einsum("c,y,x->cyx", OPPONENT[c], basis[v], basis[u])
        for c, v, u in chosen
    ]
    signed = [sign * kernel for kernel in filters for sign in (1, -1)]
    return np.stack(signed[:channels])[:, :, None]


def _fast_stem() -> Array:
    """First and second temporal differences, fine and broad in space, of both signs."""
    x = np.arange(7) - 3
    filters = []
    for sigma in (0.7, 3.0):
        gauss = np.exp(-(x**2) / (2 * sigma**2))
        gauss /= gauss.sum()
        for difference in ([0, -1, 1, 0, 0], [0, 1, -2, 1, 0]):
            kernel = np.einsum("c,t,y,x->ctyx", OPPONENT[0], difference, gauss, gauss)
            filters += [3.0 * kernel, -3.0 * kernel]
    return np.stack(filters)


def _carry(n_out: int, n_in: int) -> Array:
    """Average over 7 frames of each fast channel, written twice, for the slow pathway."""
    weight = np.zeros((n_out, n_in, 7, 1, 1))
    for channel in range(n_out):
        weight[channel, channel % n_in] = 1 / 7
    return weight


def _threshold_copies(n_in: int, n_out: int) -> tuple[Array, Array]:
    """Copies of the channels behind the thresholds 0, 0.1, 0.2 ...: (weight, thresholds)."""
    weight = np.zeros((n_out, n_in, 1, 1, 1))
    for channel in range(n_out):
        weight[channel, channel % n_in] = 1
    return weight, 0.1 * (np.arange(n_out) // n_in)


def _change_of_motion(block: str) -> dict[str, Array]:
    """|E(t) - E(t-1)| of the four motion energies, into channels 24 to 31 of the first stage."""
    conv_a, conv_b, conv_c = np.zeros((8, 8, 3, 1, 1)), np.zeros((8, 8, 1, 3, 3)), np.zeros((32, 8))
    for energy in range(4):
        for side, sign in enumerate((1.0, -1.0)):
            inner = 2 * energy + side
            for half in range(2):  # an energy is the sum of a filter's two rectified signs
                conv_a[inner, 2 * energy + half, :, 0, 0] = sign * np.array([-1, 1, 0])
            conv_b[inner, inner] = 1 / 9
            conv_c[24 + inner, inner] = 1
    return {
        block + "branch2.conv_a.weight": conv_a,
        block + "branch2.conv_b.weight": conv_b,
        block + "branch2.conv_c.weight": conv_c.reshape(32, 8, 1, 1, 1),
    }
