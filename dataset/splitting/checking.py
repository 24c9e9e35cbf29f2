"""What is wrong with a split: content in two parts, files that changed or are missing."""

from ..progress import Progress, no_progress
from ..splits import load_split, recorded_hashes
from ..videos import Dataset
from .drawing import groups_by_value
from .fingerprints import content_hashes, near_duplicates, signatures


def check_split(
    dataset: Dataset, name: str, *, alike: bool = False, progress: Progress = no_progress
) -> list[str]:
    """The problems of a split, a sentence each; none if no content is in two parts.

    Reads every byte of its videos, so it finds a video that is in two parts under two names, and a
    file that has changed since the split was made.

    Args:
        dataset: whose split it is.
        name: of the split.
        alike: whether to look for near duplicates too.
        progress: called for each video.

    Raises:
        DatasetError: the split cannot be read, or it records one hash in two parts.
    """
    split = load_split(dataset, name)
    part_of = {video.id: part for part, videos in split.items() for video in videos}
    ids = {video.path: video.id for videos in split.values() for video in videos}
    hashes = {ids[path]: sha256 for path, sha256 in content_hashes(ids, progress).items()}
    missing = [video for video in part_of if video not in hashes]
    problems = []
    if missing:
        problems.append(
            f"{len(missing)} of {len(part_of)} files are missing, such as {missing[0]}: their "
            "content is not compared"
        )
    problems += [
        f"{video}: the file has changed since the split was made"
        for video, sha256 in recorded_hashes(dataset, name).items()
        if hashes.get(video, sha256) != sha256
    ]
    for names in groups_by_value(hashes):
        if len({part_of[video] for video in names}) > 1:
            where = ", ".join(f"{video} ({part_of[video]})" for video in names)
            problems.append(f"the same content in two parts: {where}")
    if alike:
        found = signatures(ids, progress)
        pairs = near_duplicates({ids[path]: signature for path, signature in found.items()})
        problems += [
            f"look alike ({share:.0%} of the bits differ) in two parts: "
            f"{one} ({part_of[one]}), {other} ({part_of[other]})"
            for one, other, share in pairs
            if part_of[one] != part_of[other]
        ]
    return problems
