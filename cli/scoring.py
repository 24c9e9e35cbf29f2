"""The commands that rate video files: score, serve."""

import argparse
import io
import json
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Commands, add_command, add_config, load, progress

if TYPE_CHECKING:
    from ..config import Config
    from ..evaluate.score.scorecard import ScoreCard
    from ..evaluate.score.scorer import Scorer


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    _add_score(commands)
    _add_serve(commands)


def _add_score(commands: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        commands,
        "score",
        _score,
        "rate video files in six dimensions",
        "finevq score holiday.mp4",
    )
    added.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="files, folders, or lists of files (.txt)"
    )
    _add_checkpoint(added)
    where = added.add_mutually_exclusive_group()
    where.add_argument("--json", action="store_true", help="print one JSON object a line")
    where.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".csv or .jsonl; what has scores in it is not scored again",
    )
    where.add_argument("--html", type=Path, metavar="FILE", help="write a card of one video")
    add_config(added)


def _add_serve(commands: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        commands,
        "serve",
        _serve,
        "open a local page that rates the video dropped on it",
        "finevq serve",
    )
    _add_checkpoint(added)
    added.add_argument("--port", type=int, default=8787, help="0 takes a free one (8787)")
    added.add_argument("--host", default="127.0.0.1", help="who may reach it (127.0.0.1)")
    added.add_argument("--limit", type=int, default=500, metavar="MB", help="of a video (500)")
    add_config(added)


def _add_checkpoint(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="(train.out; else the one that ships)"
    )


def _score(given: argparse.Namespace) -> int:
    from ..evaluate.score.listing import list_videos

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name need not be UTF-8
    config = load(given)
    videos = list_videos(given.videos)  # its errors come before torch is loaded
    checkpoint = _chosen_checkpoint(given.checkpoint, config)
    if given.html:
        return _write_card(config, videos, checkpoint, given.html)
    if given.out:
        return _write_scores(config, videos, checkpoint, given.out)
    scorer, failed = _scorer(config, checkpoint), 0
    for card in scorer.score_all(videos):
        failed += card.error is not None
        print(json.dumps(asdict(card)) if given.json else _card_text(card), flush=True)
    if not given.json and failed < len(videos):
        print(f"rated on {date.today()} by {scorer.facts['Model']}")
        print(f"checkpoint: {scorer.facts['Checkpoint']}")
    return 2 if failed else 0


def _chosen_checkpoint(named: Path | None, config: "Config") -> Path | None:
    """The checkpoint to rate with: named, configured, or None for the one that ships.

    What `finevq demo` trains counts as configured once it is there.
    """
    from ..config import DEFAULTS, load_config

    if named or (config.train.out / "checkpoint.json").is_file():
        return named or config.train.out
    defaults, _ = load_config(DEFAULTS)
    return None if config.train.out == defaults.train.out else config.train.out


def _scorer(config: "Config", checkpoint: Path | None) -> "Scorer":
    from ..evaluate.score.scorer import Scorer

    train = config.train
    return Scorer(checkpoint, config.extract, device=train.device, max_tokens=train.max_tokens)


def _card_text(card: "ScoreCard") -> str:
    if card.error is not None:
        return f"{card.video}: {card.error}"
    low, high = card.scale
    damage = f"; {card.damage}" if card.damage else ""
    lines = [f"{card.video} (scores from {low:g} to {high:g}, higher is better{damage})"]
    for name, one in card.overall_first():
        contradiction = one.contradiction(card.scale)
        note = f"  ({contradiction})" if contradiction else ""
        lines.append(f"  {name:9}{one.score:7.1f}  {one.level}{note}")
    seen = [reply.distortion for reply in card.replies if reply.answer == "Yes"]
    return "\n".join([*lines, f"  distortions seen: {', '.join(seen) or 'none'}"])


def _write_card(config: "Config", videos: list[str], checkpoint: Path | None, html: Path) -> int:
    from ..errors import FineVQError

    if len(videos) != 1:
        raise FineVQError(f"--html is the card of one video, not of {len(videos)}; name one")
    from ..evaluate.pages.card import write_card

    scorer = _scorer(config, checkpoint)
    card = scorer.score(videos[0])
    if card.error is not None:
        raise FineVQError(f"{card.video}: {card.error}")
    write_card(html, card, scorer.facts)
    print(f"card in {html}")
    return 0


def _write_scores(config: "Config", videos: list[str], checkpoint: Path | None, out: Path) -> int:
    from ..evaluate.score.results import Results
    from ..train.model.checkpoint import SHIPPED, digest, read_info

    folder = checkpoint or SHIPPED
    read_info(folder)  # without a checkpoint, its error is the clearest one
    results = Results(out, digest(folder), videos)
    unscored = results.unscored
    failed = 0
    if unscored:
        cards = _scorer(config, checkpoint).score_all(unscored)
        with progress("score") as done, results:
            for number, card in enumerate(cards, start=1):
                results.add(card)
                failed += card.error is not None
                done(number, len(unscored), f"{failed} failed" if failed else "")
    before = len(videos) - len(unscored)
    print(f"{len(unscored) - failed} videos scored into {out}, {before} were there before", end="")
    print(f"; {failed} failed, which the same command tries again" if failed else "")
    return 2 if failed else 0


def _serve(given: argparse.Namespace) -> None:
    from ..errors import FineVQError

    if given.limit < 1:
        raise FineVQError(f"--limit {given.limit}: no video is that small; give 1 MB or more")
    config = load(given)
    scorer = _scorer(config, _chosen_checkpoint(given.checkpoint, config))
    from ..evaluate.pages.serve import Server

    try:
        server = Server(
            (given.host, given.port),
            scorer.score,
            limit=given.limit * 1_000_000,
            facts=scorer.facts,
        )
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FineVQError(
            f"cannot listen on {given.host}:{given.port}: {reason}; choose another --port"
        ) from error
    with server:
        print(f"{server.url} (stop it with Ctrl-C)", flush=True)
        server.serve_forever()
