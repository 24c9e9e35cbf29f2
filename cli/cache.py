"""The commands on a feature store."""

import argparse
import json

from .options import Commands, add_command, progress


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    cache = add_command(
        commands,
        "cache",
        _cache,
        "show or verify what a feature store holds",
        "finevq cache verify runs/demo/features",
    )
    cache.add_argument("action", choices=["info", "verify"])
    cache.add_argument("path", help="a folder or URL")


def _cache(given: argparse.Namespace) -> int:
    from ..cache.store import FeatureStore
    from ..cache.verify import verify_shard

    store = FeatureStore.open(given.path)
    if given.action == "info":
        print(json.dumps(store.info(), indent=2, ensure_ascii=False))
        return 0
    problems = 0
    store.check_layout()
    with progress("verify") as step:
        for done, shard in enumerate(store.shards, start=1):
            for problem in verify_shard(store, shard):
                problems += 1
                print(problem, flush=True)
            step(done, len(store.shards))
    info = store.info()
    print(
        f"{info['committed']} of {info['shards']} shards committed, {info['ok']} videos with "
        f"features, {info['failed']} failed; {problems or 'no'} problems"
    )
    return 2 if problems else 0
