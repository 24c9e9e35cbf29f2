"""What an import found, and how it differs from what is published."""

from dataclasses import dataclass, field


@dataclass
class ImportReport:
    """What an import found; `import.json` holds the same.

    Attributes:
        database: its name.
        rows: labels or lines of each label file.
        published: the published number of rows of a file, or of `videos`, where it is known.
        videos: in the manifest.
        labels: how many videos have a label, by dimension.
        parts: videos of each part of the public split.
        labels_without_video: the videos of the labels that have no video file.
        videos_without_label: the files that no label names, relative to the root.
        notes: what differs, a sentence each.
    """

    database: str
    rows: dict[str, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    videos: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    labels_without_video: list[str] = field(default_factory=list)
    videos_without_label: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def differences(self) -> list[str]:
        """What is not as published, and what has no counterpart on disk, a sentence each."""
        found = self.rows | {"videos": self.videos}
        notes = [
            f"{name}: {found[name]}, published are {size} ({found[name] - size:+})"
            for name, size in self.published.items()
            if found[name] != size
        ]
        for names, kind in (
            (self.labels_without_video, "labels without a video file"),
            (self.videos_without_label, "video files without a label"),
        ):
            if names:
                notes.append(f"{len(names)} {kind}, such as {names[0]} (all in import.json)")
        return notes
