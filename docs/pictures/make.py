"""Make the pictures of README, and the output that it shows: a card, and a drawing of the pipeline.

    .venv/bin/python docs/pictures/make.py

Needs Chromium and the photographs of `pip install '.[demo]'`. Run it again when the small model,
the card or the drawing changes. It makes a video of three seconds, with the noise of a camera in
the dark; rates it with `finevq score`; photographs the card; and writes what the command printed
between the two marks in README.md.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
MARKS = ("<!-- printed by docs/pictures/make.py -->", "<!-- until here -->")

WIDTH, HEIGHT, FPS, FRAMES = 640, 360, 24, 72
NOISE = 22
"""Standard deviation of the noise, of 255."""

CARD = (960, 730)
"""Size of the picture of the card, in pixels: from its title to its last score."""

COLOURS = {
    "light": {"ink": "#1d2126", "quiet": "#57606a", "rule": "#b6bec8", "box": "#f3f5f8"},
    "dark": {"ink": "#e5e8eb", "quiet": "#98a2ad", "rule": "#4a525c", "box": "#1c2128"},
}
ACCENTS = {"light": "#2b6cb0", "dark": "#6cb0f2"}

STAGES = (
    (
        "Extract",
        "finevq extract",
        "decodes each video once;",
        "InternViT reads 8 frames,",
        "SlowFast the motion",
    ),
    ("Store", "finevq cache", "features in checked files;", "a killed job goes on", "where it was"),
    (
        "Train",
        "finevq train",
        "two projectors, LoRA and",
        "a score head, on stored",
        "features alone",
    ),
    (
        "Evaluate",
        "finevq evaluate",
        "scores, words, answers;",
        "a report that counts",
        "every video",
    ),
)
SPANS = ((0, "once for each video"), (2, "as often as you like"))


def main() -> None:
    """Make all of it."""
    for theme in COLOURS:
        (HERE / f"pipeline-{theme}.svg").write_text(pipeline(theme), "utf-8")
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "clip.mp4")
        printed = finevq(folder, "score", "clip.mp4")
        finevq(folder, "score", "clip.mp4", "--html", "card.html")
        for theme in COLOURS:
            photograph(Path(folder) / "card.html", HERE / f"card-{theme}.png", theme)
    show(printed)


def write_clip(path: Path) -> None:
    """A cup of coffee, filmed by an unsteady hand and a noisy camera."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "20", "x264-params": "threads=1"}  # the same bytes each time
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))


def frames() -> Iterator[Image.Image]:
    """The frames of the video."""
    with as_file(files("skimage.data").joinpath("coffee.png")) as path:
        cup = Image.open(path).convert("RGB")
    rng = np.random.default_rng(0)
    for second in np.arange(FRAMES) / FPS:
        width = cup.width * (0.8 - 0.02 * second)
        height = width * HEIGHT / WIDTH
        x = (cup.width - width) / 2 + cup.width * (
            0.06 * np.sin(second) + 0.003 * np.sin(7 * second)
        )
        y = (cup.height - height) / 2 + 0.004 * cup.height * np.cos(5 * second)
        box = (x, y, x + width, y + height)
        frame = np.asarray(cup.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=box))
        noisy = frame + rng.normal(0, NOISE, frame.shape)
        yield Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def finevq(folder: str, *arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "finevq", *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def photograph(page: Path, picture: Path, theme: str) -> None:
    """A picture of the upper part of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium here: `apt install chromium`")
    width, height = CARD
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *(f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},{height + 200}"),
        f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}",
        *(f"--screenshot={picture}", page.as_uri()),
    ]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    Image.open(picture).convert("RGB").crop((0, 0, *CARD)).save(picture, optimize=True)


def pipeline(theme: str) -> str:
    """The drawing of the stages, as SVG."""
    colours = COLOURS[theme]
    accent = ACCENTS[theme]
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 210" width="960" height="210"'
        ' font-family="system-ui, -apple-system, Segoe UI, Roboto, Liberation Sans, sans-serif">',
        "<title>Extract and store run once for each video, train and evaluate as often as you like."
        "</title>",
    ]
    for first, text in SPANS:
        x, end = 10 + 240 * first, 10 + 240 * first + 460
        lines.append(f'<path d="M{x} 34v-8H{end}v8" fill="none" stroke="{colours["rule"]}"/>')
        lines.append(label((x + end) / 2, 17, text, colours["quiet"], 14, "middle"))
    for number, (name, command, *says) in enumerate(STAGES):
        x = 10 + 240 * number
        lines.append(
            f'<rect x="{x}" y="46" width="220" height="152" rx="8" fill="{colours["box"]}" '
            f'stroke="{colours["rule"]}"/>'
        )
        lines.append(label(x + 16, 76, name, colours["ink"], 19, weight=650))
        lines.append(label(x + 16, 99, command, accent, 13.5, family="monospace"))
        lines += [
            label(x + 16, 130 + 22 * row, text, colours["quiet"], 14)
            for row, text in enumerate(says)
        ]
        if number:
            lines.append(
                f'<path d="M{x - 18} 122h11m-5-5l5 5l-5 5" fill="none" stroke="{accent}" '
                'stroke-width="2"/>'
            )
    return "\n".join([*lines, "</svg>", ""])


def label(
    x: float,
    y: float,
    text: str,
    colour: str,
    size: float,
    anchor: str = "start",
    weight: int = 400,
    family: str = "inherit",
) -> str:
    """A line of text in a drawing."""
    return (
        f'<text x="{x:g}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" font-family="{family}">{text}</text>'
    )


def show(printed: str) -> None:
    """Put what the command printed into README, between the marks."""
    text = README.read_text("utf-8")
    before, after = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    README.write_text(
        f"{text[:before]}\n```console\n$ finevq score clip.mp4\n{printed}```\n{text[after:]}",
        "utf-8",
    )


if __name__ == "__main__":
    main()
