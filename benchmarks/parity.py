"""How far the numbers are from what the official code computed with the same weights.

    .venv/bin/python benchmarks/parity.py REFERENCE WEIGHTS VIDEOS

REFERENCE holds expected.json and expected.npz, what the official code gave in float32; WEIGHTS
holds checkpoint_finevq, checkpoint_base (without LoRA) and slowfast_r50.pyth; VIDEOS the clips.
Imports the checkpoint for each motion branch and goes from the video file to the score. Prints the
largest difference of every step - relative to the norm for features and hidden states, absolute
for scores - and how often values that must be equal differ.
"""

import argparse
import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from finevq.config import load_config
from finevq.evaluate.predict.official import import_checkpoint
from finevq.extract.decode.probe import probe
from finevq.extract.decode.reader import Reader
from finevq.extract.decode.video import decode
from finevq.extract.encode.encoder import Encoder
from finevq.extract.settings import ExtractSettings
from finevq.train.model.checkpoint import load_checkpoint
from finevq.train.model.finevq import FineVQ
from finevq.train.model.packing import Layout, Packer, collate
from finevq.train.prompts import TURN_END, Prompt

Mode = Literal["frames8", "all"]
MODES: tuple[Mode, ...] = ("frames8", "all")
LAYOUT = Layout(8, 256, 1)


class Reference:
    """What the official code computed."""

    def __init__(self, folder: Path) -> None:
        self.content: dict[str, Any] = json.loads((folder / "expected.json").read_text("utf-8"))
        self.arrays = np.load(folder / "expected.npz")
        self.prompts = {name: asked(p) for name, p in self.content["prompts"].items()}
        self.clips: dict[str, Any] = self.content["videos"]

    def scores(self, clip: str, mode: Mode) -> dict[str, Any]:
        """By the name of the prompt."""
        values = self.clips[clip]
        found = values["prompts"] if mode == "frames8" else values["dense"]
        return {name: found[name] for name in self.prompts if name in found}


class Tally:
    """The largest difference of each step, and how often values that must be equal differ."""

    def __init__(self) -> None:
        self.largest: dict[str, float] = defaultdict(float)
        self.compared: Counter[str] = Counter()
        self.unequal: Counter[str] = Counter()

    def relative(self, step: str, ours: Any, theirs: Any) -> None:
        """Record the difference of arrays that should differ only by rounding."""
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        self.absolute(step, float(np.linalg.norm(a - b) / np.linalg.norm(b)))

    def absolute(self, step: str, difference: float) -> None:
        """Record the difference of numbers."""
        self.largest[step] = max(self.largest[step], abs(difference))

    def equal(self, step: str, same: bool) -> None:
        """Record whether values that must be equal are."""
        self.compared[step] += 1
        self.unequal[step] += not same


def asked(prompt: dict[str, Any]) -> Prompt:
    """A prompt of the reference as one of our prompts."""
    stem, level = prompt["ai"].removesuffix(".").rsplit(" ", 1)
    text = prompt["human"].removeprefix("<video>\n")
    return Prompt("score", "overall", text, stem, (level,), answer=level)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def compare_frames(tally: Tally, path: Path, expected: dict[str, Any], resized: np.ndarray) -> None:
    wanted = set(expected["frame_indices"])
    pictures = enumerate(Reader(probe(path)))
    frames = [picture() for number, picture in pictures if number in wanted]
    for frame, sha256 in zip(frames, expected["decoded_rgb_sha256"], strict=True):
        tally.equal("decoded frames", digest(frame) == sha256)
    tally.equal("resized frames", digest(resized) == expected["resized448_sha256"])


def compare_tokens(
    tally: Tally, name: str, clip: str, tokens: np.ndarray, reference: Reference
) -> None:
    """Compare spatial tokens (8, 256, 4096) with those that the reference has under `name`."""
    summary = reference.clips[clip][name]
    tally.relative(name, tokens[0, 0, :16], summary["first_token16"])
    tally.relative(name, tokens[-1, -1, :16], summary["last_token16"])
    every16th = f"{clip}/{name}_every16th_token"
    if every16th in reference.arrays.files:
        tally.relative(name, tokens[:, ::16], reference.arrays[every16th])


def answer(
    model: FineVQ, packer: Packer, prompts: list[Prompt], spatial: np.ndarray, motion: np.ndarray
) -> list[tuple[np.ndarray, float, list[int]]]:
    """For each prompt: hidden state, score, and the most likely tokens along the right answer."""
    packed = packer.pack(LAYOUT, prompts, learn=True)
    batch = collate([packed], pad_id=packer.pad_id)
    del batch["labels"], batch["targets"]
    batch |= {
        "spatial": torch.from_numpy(spatial.astype(np.float32))[None],
        "motion": torch.from_numpy(motion.astype(np.float32))[None],
    }
    # Every token is a decision here, so that one pass gives the hidden states of all.
    everywhere = torch.arange(len(packed.input_ids))[None]
    with torch.inference_mode():
        output = model(**batch | {"decisions": everywhere})
    answers = []
    for number, prompt in enumerate(prompts, start=1):
        at = int(packed.decisions[number - 1])
        places = (packed.segments == number).nonzero().squeeze(-1)
        length = len(packer.encode(prompt.reply(prompt.options[0]) + TURN_END))
        # Each predicts the next token of the answer; its end is left out, as in the reference.
        led = output.decisions[0, places[-length - 1 : -2]]
        words = model.vocabulary(led).argmax(-1).tolist()
        answers.append((output.decisions[0, at].numpy(), float(output.scores[0, at]), words))
    return answers


def compare_answers(
    tally: Tally,
    clip: str,
    mode: Mode,
    features: tuple[np.ndarray, np.ndarray],
    model: FineVQ,
    packer: Packer,
    reference: Reference,
) -> None:
    """Compare each prompt alone, all behind one prefix, and with features in float16, as cached."""
    expected = reference.scores(clip, mode)
    names = list(expected)
    for group in [[name] for name in names] + [names]:
        prompts = [reference.prompts[name] for name in group]
        found = answer(model, packer, prompts, *features)
        for name, (hidden, score, words) in zip(group, found, strict=True):
            tally.absolute(f"score, {mode}", score - expected[name]["score"])
            if mode == "frames8":
                theirs = reference.arrays[f"{clip}/{name}/hidden_minus4"]
                tally.relative("hidden state", hidden, theirs)
                tally.equal("words", words == expected[name]["argmax_ids"])
                text = packer.tokenizer.decode(words)
                tally.equal("text", text == expected[name]["argmax_text"])
    rounded = [array.astype(np.float16) for array in features]
    found = answer(model, packer, [reference.prompts[name] for name in names], *rounded)
    for name, (_, score, _) in zip(names, found, strict=True):
        tally.absolute(f"score through float16, {mode}", score - expected[name]["score"])


def compare(tally: Tally, mode: Mode, reference: Reference, given: argparse.Namespace) -> None:
    """Compare one motion branch, starting from the published checkpoint and the video files."""
    with tempfile.TemporaryDirectory() as folder:
        import_checkpoint(
            str(given.weights / "checkpoint_finevq"),
            Path(folder),
            motion=mode,
            extract=load_config(None, ["extract.device=cpu"])[0].extract,
            dtype="float16",
            precision="float32",
        )
        model, packer, info = load_checkpoint(Path(folder))
        encoder = Encoder(ExtractSettings.model_validate(info.extract))
    model.eval()
    if mode == "frames8":
        base = info.extract | {
            "spatial": info.extract["spatial"]
            | {"model": str(given.weights / "checkpoint_base"), "adapter": ""},
            "motion": info.extract["motion"] | {"model": str(given.weights / "slowfast_r50.pyth")},
        }
        plain = Encoder(ExtractSettings.model_validate(base))
        for name, prompt in reference.prompts.items():
            ids = packer.pack(LAYOUT, [prompt], learn=True).input_ids.numpy()
            theirs = reference.arrays[f"{name}/input_ids"]
            tally.equal("token ids", np.array_equal(ids, theirs))
    for clip in reference.clips:
        video = decode(given.videos / clip, encoder.sampling)
        features = encoder.encode(video)
        motion = f"{clip}/motion_2304{'' if mode == 'frames8' else '_dense'}"
        tally.relative(f"motion, {mode}", features.motion[0], reference.arrays[motion])
        if mode == "frames8":
            compare_frames(tally, given.videos / clip, reference.clips[clip], video.frames)
            compare_tokens(tally, "vit_pixel_shuffled", clip, features.spatial, reference)
            without = plain.encode(video)
            compare_tokens(tally, "vit_base_pixel_shuffled", clip, without.spatial, reference)
            hub = reference.arrays[f"{clip}/motion_2304_hub"]
            tally.relative("motion, hub's BatchNorm", without.motion[0], hub)
            token = model.motion_projector(torch.from_numpy(features.motion)).detach()
            tally.relative("motion token", token[0], reference.arrays[f"{clip}/motion_embed"])
        both = (features.spatial, features.motion)
        compare_answers(tally, clip, mode, both, model, packer, reference)


def main() -> None:
    parser = argparse.ArgumentParser()
    for place in ("reference", "weights", "videos"):
        parser.add_argument(place, type=Path)
    given = parser.parse_args()
    reference, tally = Reference(given.reference), Tally()
    for mode in MODES:
        compare(tally, mode, reference, given)
    result = {
        "clips": len(reference.clips),
        "prompts": len(reference.prompts),
        "largest_difference": dict(sorted(tally.largest.items())),
        "unequal": {s: f"{tally.unequal[s]} of {n}" for s, n in sorted(tally.compared.items())},
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("parity.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
