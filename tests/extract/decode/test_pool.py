"""The pool: every video ends in a result, and trouble with one does not touch another."""

import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from finevq.errors import VideoError
from finevq.extract.decode.pool import LOOK_AHEAD, DecodePool
from finevq.extract.decode.video import DecodedVideo, Sampling, decode
from finevq.extract.settings import DecodeSettings

SAMPLING = Sampling(frames=4, frame_size=32, sampler="middles", mode="clips", clips=1, clip_size=32)


@pytest.fixture(scope="module")
def stand_ins():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))  # children get the parent's search path
        import pool_decoders

        yield pool_decoders


def settings(processes: int = 1, timeout_s: float = 30, videos_per_process: int = 100):
    return DecodeSettings(
        processes=processes,
        timeout_s=timeout_s,
        videos_per_process=videos_per_process,
        damaged="fail",
        decoder="pyav",
    )


def pid(outcome: str) -> str:
    return outcome.split()[0]


def test_real_videos_come_back_in_order(video, encode, tmp_path) -> None:
    (tmp_path / "empty.mp4").touch()
    short = encode(tmp_path / "short.mp4", range(5))
    with DecodePool(SAMPLING, settings(processes=2)) as pool:
        first, empty, second = pool.decode_all([video, tmp_path / "empty.mp4", short])
    assert isinstance(empty, VideoError)
    assert str(empty) == "is empty (0 bytes)"
    assert (first.frame_count, second.frame_count) == (40, 5)
    here = decode(video, SAMPLING)
    assert isinstance(first, DecodedVideo)
    assert np.array_equal(first.frames, here.frames)
    assert np.array_equal(first.clips, here.clips)


def test_hangs_and_crashes_fail_alone(stand_ins) -> None:
    paths = ["a", "hang", "b", "crash", "c", "exit", "d", "hang_with_gil", "e"]
    paths = [name if len(name) == 1 else f"{name}-{name}" for name in paths]
    with DecodePool(SAMPLING, settings(timeout_s=1.0), stand_ins.behave, stand_ins.second) as pool:
        outcomes = [str(outcome) for outcome in pool.decode_all(paths)]
    assert outcomes[1] == outcomes[7]
    assert outcomes[1].startswith("decoding took longer than 1 s and was stopped")
    assert outcomes[3].startswith("crashed the decoder (SIGSEGV)")
    assert outcomes[5].startswith("crashed the decoder (exit code 3)")
    assert [outcome.split()[1] for outcome in outcomes[::2]] == ["a", "b", "c", "d", "e"]


def test_second_decoder_takes_what_the_first_hung_or_crashed_on(stand_ins) -> None:
    paths = ["hang_with_gil-a", "b", "crash-c"]
    with DecodePool(SAMPLING, settings(timeout_s=1.0), stand_ins.behave, stand_ins.second) as pool:
        outcomes = [outcome.split()[1] for outcome in pool.decode_all(paths)]
    assert outcomes == ["a", "b", "c"]


def test_decoder_that_was_killed_once_is_tried_again(stand_ins, tmp_path) -> None:
    path = f"kill-{tmp_path / 'log'}"
    with DecodePool(SAMPLING, settings(), stand_ins.behave, stand_ins.second) as pool:
        outcome = pool.submit(path).result()
    assert outcome.split()[1] == path  # the second decoder names it without "kill-"


def test_decoder_that_is_always_killed_is_followed_by_the_second(stand_ins, tmp_path) -> None:
    path = f"kill-{tmp_path / 'always'}"
    with DecodePool(SAMPLING, settings(), stand_ins.behave, stand_ins.second) as pool:
        outcome = pool.submit(path).result()
    assert outcome.split()[1] == path.removeprefix("kill-")
    assert (tmp_path / "always").read_bytes() == b".."


def test_both_reasons_are_kept(stand_ins) -> None:
    with DecodePool(SAMPLING, settings(timeout_s=1.0), stand_ins.behave, stand_ins.second) as pool:
        outcomes = [str(outcome) for outcome in pool.decode_all(["hang-exit", "crash-hang"])]
    stopped = "decoding took longer than 1 s and was stopped"
    assert outcomes == [
        f"{stopped}; on the second try: crashed the decoder (exit code 3)",
        f"crashed the decoder (SIGSEGV); on the second try: {stopped}",
    ]


def test_time_that_failures_took_is_known(stand_ins, tmp_path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with DecodePool(SAMPLING, settings(timeout_s=1.0), stand_ins.behave, stand_ins.second) as pool:
        assert pool.submit("hang-hang").result().decoding_s == 2.0
    with DecodePool(SAMPLING, settings()) as pool:
        assert 0 < pool.submit(tmp_path / "text.mp4").result().decoding_s < 30


def test_video_that_the_second_decoder_refuses_has_failed(stand_ins) -> None:
    with DecodePool(SAMPLING, settings(), stand_ins.behave) as pool:
        (outcome,) = pool.decode_all(["crash"])  # PyAV does not find such a file
    assert isinstance(outcome, VideoError)
    assert str(outcome).startswith("crashed the decoder (SIGSEGV); on the second try: cannot")


def test_the_second_try_is_never_by_decord(stand_ins, video, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    video.rename("crash-a.mp4")
    sampling = replace(SAMPLING, decoder="decord")
    with DecodePool(sampling, settings(timeout_s=300), stand_ins.behave) as pool:
        assert pool.submit("crash-a.mp4").result().decoder == "pyav"
    with DecodePool(sampling, settings(timeout_s=300)) as pool:
        assert pool.submit("crash-a.mp4").result().decoder == "decord"


def test_a_hang_does_not_hold_up_the_other_process(stand_ins) -> None:
    with DecodePool(SAMPLING, settings(processes=2), stand_ins.behave) as pool:
        hanging = pool.submit("hang")
        assert [pid(pool.submit("a").result()) for _ in range(3)]
        assert not hanging.done()


def test_processes_are_replaced(stand_ins) -> None:
    with DecodePool(SAMPLING, settings(videos_per_process=2), stand_ins.behave) as pool:
        pids = [pid(outcome) for outcome in pool.decode_all("abcdef")]
    assert pids[0::2] == pids[1::2]
    assert len(set(pids)) == 3


def test_memory_that_decoders_lose_comes_back(stand_ins) -> None:
    with DecodePool(SAMPLING, settings(videos_per_process=3), stand_ins.leak) as pool:
        held = list(pool.decode_all("abcdefghi"))
    assert max(held) - min(held) < 4 * 2**25  # of the nine times that it was lost


def test_very_long_video_takes_the_memory_of_a_short_one(stand_ins, encode, tmp_path) -> None:
    short, long = tmp_path / "short.mp4", tmp_path / "long.mp4"
    encode(short, range(100), options={"preset": "ultrafast"})
    count = 20_000
    encode(long, (i * 256 // count for i in range(count)), options={"preset": "ultrafast"})
    with DecodePool(SAMPLING, settings(), stand_ins.peak) as pool:
        frames, more = pool.submit(f"{short},{long}").result()
    assert frames == count
    assert more < 30e6  # all of its frames are 737 MB


def test_few_videos_are_in_flight(stand_ins) -> None:
    taken: list[str] = []
    paths = (taken.append(name) or name for name in "abcdefghij")
    with DecodePool(SAMPLING, settings(), stand_ins.behave) as pool:
        outcomes = pool.decode_all(paths)
        assert taken == []
        for done, _ in enumerate(outcomes):
            assert len(taken) <= done + 1 + LOOK_AHEAD
    assert len(taken) == 10


def test_a_bug_keeps_its_traceback(stand_ins) -> None:
    with DecodePool(SAMPLING, settings(), stand_ins.behave) as pool:
        with pytest.raises(KeyError) as caught:
            pool.submit("bug").result()
        assert "pool_decoders.py" in str(caught.value.__cause__)
        assert pool.submit("a").result().endswith("a")


def test_end_kills_what_still_runs(stand_ins) -> None:
    began = time.monotonic()
    with DecodePool(SAMPLING, settings(), stand_ins.behave) as pool:
        futures: list[Future] = [pool.submit("hang"), pool.submit("a")]
        time.sleep(0.5)
    assert time.monotonic() - began < 20
    assert all(future.done() for future in futures)
    assert all(future.cancelled() or future.exception() for future in futures)
    assert not multiprocessing.active_children()


def test_an_unused_pool_starts_nothing() -> None:
    with DecodePool(SAMPLING, settings()):
        assert not multiprocessing.active_children()


def test_started_pool_has_its_process_before_it_knows_the_sampling(stand_ins) -> None:
    with DecodePool(None, settings(), stand_ins.behave) as pool:
        pool.start()
        deadline = time.monotonic() + 20
        while not (children := multiprocessing.active_children()):
            assert time.monotonic() < deadline, "no process was started"
            time.sleep(0.01)
        pool.sampling = SAMPLING
        assert int(pid(pool.submit("a").result())) == children[0].pid


def test_works_outside_the_main_thread(stand_ins) -> None:
    outcomes: list[str] = []

    def work() -> None:
        with DecodePool(SAMPLING, settings(), stand_ins.behave) as pool:
            outcomes.extend(pool.decode_all("ab"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [outcome.split()[1] for outcome in outcomes] == ["a", "b"]


def test_children_are_light(stand_ins) -> None:
    with DecodePool(SAMPLING, settings(), stand_ins.loaded_modules) as pool:
        loaded = set(pool.submit("any").result())
    assert "finevq.extract.decode.video" in loaded  # for the sampling
    assert loaded.isdisjoint({"transformers", "dask", "zarr", "pydantic", "pandas"})


def test_child_outlives_the_thread_that_gave_it_its_first_video(stand_ins) -> None:
    outcomes: list[str] = []
    with DecodePool(SAMPLING, settings(), stand_ins.behave) as pool:
        thread = threading.Thread(target=lambda: outcomes.append(pool.submit("a").result()))
        thread.start()
        thread.join()
        outcomes.append(pool.submit("b").result())
    first, second = map(pid, outcomes)
    assert first == second


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a child with its parent")
@pytest.mark.parametrize("trouble", ["hang", "hang_with_gil"])
def test_hung_decoder_dies_with_its_parent(trouble: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    command = [sys.executable, str(script), str(Path(__file__).parent), trouble]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.3)  # it has begun to hang
        assert child.is_running()
        parent.kill()
    child.wait(10)


_PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
import pool_decoders
from finevq.extract.decode.pool import DecodePool
from finevq.extract.settings import DecodeSettings

if __name__ == "__main__":
    settings = DecodeSettings(
        processes=1, timeout_s=60, videos_per_process=100, damaged="fail", decoder="pyav"
    )
    with DecodePool(None, settings, pool_decoders.behave) as pool:
        print(pool.submit("a").result().split()[0], flush=True)
        pool.submit(sys.argv[2]).result()
"""
