"""Importers, on small files of each database's layout."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from finevq.config import load_config
from finevq.dataset.databases.importing import import_csv, import_database
from finevq.dataset.databases.matlab import read_matlab
from finevq.dataset.databases.published import DATABASES
from finevq.dataset.splits import load_split
from finevq.dataset.videos import Dataset, load_dataset
from finevq.errors import DatasetError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The database's folder."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def imported(out: Path) -> Dataset:
    return load_dataset(load_config(out / "dataset.toml")[0].dataset)


def mos(dataset: Dataset) -> dict[str, float]:
    return {v.id.split("/", 1)[1]: v.labels["overall"] for v in dataset if v.labels}


def save_v73(path: Path, names: list[str], scores: list[float], **keys: str) -> None:
    """As MATLAB 7.3 does: names as references to code units, vectors as columns."""
    with h5py.File(path, "w") as file:
        references = np.empty((1, len(names)), dtype=h5py.ref_dtype)
        for i, name in enumerate(names):
            units = np.frombuffer(name.encode("utf-16-le"), dtype=np.uint16)[:, None]
            references[0, i] = file.create_dataset(f"#refs#/{i}", data=units).ref
        file.create_dataset(keys["cells"], data=references, dtype=h5py.ref_dtype)
        file.create_dataset(keys["vector"], data=np.array([scores]))


def save_v5(path: Path, names: list[str], scores: list[float], **keys: str) -> None:
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    scipy.io.savemat(path, {keys["cells"]: cells, keys["vector"]: np.array(scores)[:, None]})


@pytest.mark.parametrize("save", [save_v5, save_v73], ids=["v5", "v7.3"])
def test_both_kinds_of_matlab_files(source: Path, tmp_path: Path, save: Callable) -> None:
    save(source / "data.mat", ["A1.mp4", "müll.mp4"], [1.5, 99], cells="video_list", vector="mos")
    import_database("live-vqc", source, tmp_path / "out")
    assert mos(imported(tmp_path / "out")) == {"A1.mp4": 1.5, "müll.mp4": 99}


def test_live_yt_gaming_leaves_out_extensions(source: Path, tmp_path: Path) -> None:
    save_v5(source / "any.mat", ["G1", "G2"], [10, 20], cells="video_list", vector="MOS")
    touch(source, "videos/G2.mp4")
    import_database("live-yt-gaming", source, tmp_path / "out")
    assert mos(imported(tmp_path / "out")) == {"G1.mp4": 10, "videos/G2.mp4": 20}


@pytest.mark.parametrize("content", [b"no MATLAB", b""])
def test_what_is_no_matlab_file_is_named(source: Path, content: bytes) -> None:
    (source / "data.mat").write_bytes(content)
    with pytest.raises(DatasetError, match=r"data\.mat: not a MATLAB file"):
        read_matlab(source / "data.mat")


def test_a_vector_that_is_not_there_is_named(source: Path, tmp_path: Path) -> None:
    save_v5(source / "data.mat", ["a"], [1], cells="video_list", vector="score")
    with pytest.raises(DatasetError, match="no vector 'mos'; the vectors are video_list, score"):
        import_database("live-vqc", source, tmp_path / "out")


@pytest.fixture
def lsvq(source: Path) -> Path:
    for name, lines in (
        ("LSVQ_train.txt", ["a/1.mp4, -1, -1, 50", "a/2.mp4, -1, -1, 60"]),
        ("LSVQ_test.txt", ["a/3.mp4, -1, -1, 70"]),
        ("LSVQ_1080p.txt", ["b/4.mp4, -1, -1, 80"]),
    ):
        (source / name).write_text("\n".join(lines))  # as published: no final newline
    (source / "LSVQ.txt").write_text("a/3.mp4, -1, -1, 70\nb/4.mp4, -1, -1, 80\n")
    return source


def test_lsvq_has_two_splits_that_train_on_the_same(lsvq: Path, tmp_path: Path) -> None:
    report = import_database("lsvq", lsvq, tmp_path / "out")
    dataset = imported(tmp_path / "out")
    assert mos(dataset) == {"a/1.mp4": 50, "a/2.mp4": 60, "a/3.mp4": 70, "b/4.mp4": 80}
    for name, test in (("public", "a/3.mp4"), ("public-1080p", "b/4.mp4")):
        split = load_split(dataset, name)
        assert [video.id for video in split["train"]] == ["out/a/1.mp4", "out/a/2.mp4"]
        assert [video.id for video in split["test"]] == [f"out/{test}"]
    assert report.parts == {"train": 2, "test": 1, "test-1080p": 1}


def test_the_published_lsvq_labels(source: Path, tmp_path: Path) -> None:
    (source / "labels_train_test.csv").write_text(
        "name,height,mos,is_test\na/1,4,50.5,False\na/2,4,60,True\n"
    )
    (source / "labels_test_1080p.csv").write_text("name,mos\nb/3,70\n")
    report = import_database("lsvq", source, tmp_path / "out")
    assert mos(imported(tmp_path / "out")) == {"a/1.mp4": 50.5, "a/2.mp4": 60, "b/3.mp4": 70}
    assert report.parts == {"train": 1, "test": 1, "test-1080p": 1}


def test_what_differs_from_the_published_size_is_said(lsvq: Path, tmp_path: Path) -> None:
    notes = import_database("lsvq", lsvq, tmp_path / "out").notes
    assert "LSVQ_train.txt: 2, published are 28056 (-28054)" in notes
    assert "videos: 4, published are 38815 (-38811)" in notes


@pytest.mark.parametrize(
    ("label", "file"),
    [
        ("clips/1.mp4", "clips/1.mp4"),
        ("1.mp4", "deep/er/1.mp4"),
        ("1.mp4", "1.MKV"),
        ("1.mp4", "1_original_centercrop_960x540_8s.mp4"),
    ],
    ids=["path", "name", "stem", "start of the stem"],
)
def test_a_labels_file_is_found(source: Path, tmp_path: Path, label: str, file: str) -> None:
    (source / "KoNViD.txt").write_text(f"{label}, 8, 25, 3.5\n")
    touch(source, file)
    report = import_database("konvid-1k", source, tmp_path / "out")
    assert [v.path for v in imported(tmp_path / "out")] == [source / file]
    assert report.labels_without_video == report.videos_without_label == []


def test_labels_without_videos_and_videos_without_labels_are_listed(
    source: Path, tmp_path: Path
) -> None:
    (source / "KoNViD.txt").write_text("1.mp4, 8, 25, 3.5\n2.mp4, 8, 25, 3.5\n3.mp4, 8, 25, 2\n")
    touch(source, "2.mp4", "4.mp4", "a/3.mp4", "b/3.mp4", "notes.txt")
    report = import_database("konvid-1k", source, tmp_path / "out")
    assert report.labels_without_video == ["1.mp4", "3.mp4"]  # of two 3.mp4 none is taken
    assert report.videos_without_label == ["4.mp4", "a/3.mp4", "b/3.mp4"]
    assert len(imported(tmp_path / "out")) == 3
    written = json.loads((tmp_path / "out" / "import.json").read_text())
    assert written["videos_without_label"] == report.videos_without_label


def test_two_labels_of_one_file_are_refused(source: Path, tmp_path: Path) -> None:
    (source / "KoNViD.txt").write_text("1.mp4, 8, 25, 3.5\nx/1.mp4, 8, 25, 3\n")
    touch(source, "videos/1.mp4")
    with pytest.raises(DatasetError, match=r"videos/1\.mp4: two labels name this file"):
        import_database("konvid-1k", source, tmp_path / "out")


def test_maxwell_keeps_its_other_scores_and_parts(source: Path, tmp_path: Path) -> None:
    (source / "train_labels.txt").write_text("1.mp4, 1.5, 2.5, 3.5\n")
    (source / "val_labels.txt").write_text("2.mp4, 1, 2, 3\n")
    import_database("maxwell", source, tmp_path / "out")
    rows = (tmp_path / "out" / "videos.csv").read_text().splitlines()
    assert rows[:2] == ["video,overall,aesthetic,technical", "1.mp4,3.5,1.5,2.5"]
    split = load_split(imported(tmp_path / "out"), "public")
    assert [len(split[part]) for part in ("train", "val", "test")] == [1, 1, 0]


@pytest.mark.parametrize("name", DATABASES)
def test_a_folder_without_label_files_is_named(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=f"no label files of {name}; they are called"):
        import_database(name, source, tmp_path / "out")


def test_an_unknown_database_lists_the_known_ones(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no importer 'tid'; there are lsvq, .*official, csv"):
        import_database("tid", source, tmp_path / "out")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="gone: no such folder"):
        import_database("lsvq", tmp_path / "gone", tmp_path / "out")


BAD_LISTS = {
    "not a number": ("1.mp4, 8, 25, good\n", "overall of '1.mp4' is not a number"),
    "a column less": ("1.mp4, 8, 25\n", "3 columns, not a name and 3 numbers"),
    "out of range": ("1.mp4, 8, 25, 7\n", "'1.mp4' has the MOS 7 in overall, not in .1, 5."),
    "twice": ("1.mp4, 8, 25, 3\n1.mp4, 8, 25, 4\n", "'1.mp4' and 0 more videos are labelled twice"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_bad_list_is_refused_and_nothing_is_written(
    source: Path, tmp_path: Path, case: str
) -> None:
    text, message = BAD_LISTS[case]
    (source / "KoNViD.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        import_database("konvid-1k", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_any_csv_with_a_mapping(source: Path, tmp_path: Path) -> None:
    (source / "l.csv").write_text(
        "clip,q,n,kind,fold\n1.mp4,7,,game,train\n2.mp4,9.5,3,sport,test\n"
    )
    columns = {"video": "clip", "overall": "q", "noise": "n", "category": "kind", "part": "fold"}
    report = import_csv(source / "l.csv", source, tmp_path / "out", columns, (0, 10))
    first, second = imported(tmp_path / "out")
    assert (first.labels, first.category) == ({"overall": 7.0}, "game")
    assert (second.labels, second.category) == ({"noise": 3.0, "overall": 9.5}, "sport")
    assert report.labels == {"noise": 1, "overall": 2}
    assert len(load_split(imported(tmp_path / "out"), "public")["train"]) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"overall": "q"}, "--columns must map video"),
        ({"video": "clip", "sharpness": "q"}, "may map .*category"),
        ({"video": "clip", "overall": "mos"}, "no column 'mos'; the columns are clip, q"),
        ({"video": "clip", "part": "q"}, "the part '7' is not train, val or test"),
    ],
)
def test_a_wrong_mapping_is_refused(source, tmp_path, columns, message) -> None:
    (source / "l.csv").write_text("clip,q\n1.mp4,7\n")
    with pytest.raises(DatasetError, match=message):
        import_csv(source / "l.csv", source, tmp_path / "out", columns, (0, 10))
