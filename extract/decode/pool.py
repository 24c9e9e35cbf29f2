"""Decoding in child processes that may hang, crash or leak without harm to anyone else.

A decoder is native code fed with files from strangers. Each video is decoded in a child process.
One that takes too long is killed, even while it holds the GIL; one that is killed or crashes is
replaced. Its video gets one more try, with the second decoder alone, before it has failed; no other
video is touched. After a fixed number of videos a process is replaced in any case, because decoders
leak. A child dies with its parent, however that ends (Linux).

The children are spawned, not forked: a fork would copy the locks of the parent's threads (CUDA,
Dask) in whatever state they are. Hence a script that uses a pool needs the usual
`if __name__ == "__main__":`, and a Dask worker must not be a daemonic process.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from ...errors import VideoError
from ..settings import DecodeSettings
from .orphan import end_with_parent
from .video import DecodedVideo, Sampling, decode, decode_by_pyav, ready

LOOK_AHEAD = 2
"""Videos in flight beyond one a process: enough to keep all busy, few enough for the memory."""

Outcome = DecodedVideo | VideoError
"""What became of one video."""

Decode = Callable[[str, Sampling], DecodedVideo]
"""Decodes one video; a function that a child process can import."""


class DecodePool:
    """Child processes that decode videos, as a context manager; its end kills what still runs.

    Nothing is started before the first video, or `start`.

    Attributes:
        sampling: What to keep of each video; must be set before the first.
    """

    def __init__(
        self,
        sampling: Sampling | None,
        settings: DecodeSettings,
        decoder: Decode = decode,
        second: Decode = decode_by_pyav,
    ) -> None:
        """Prepare a pool.

        Args:
            sampling: See the class; None to set it later.
            settings: Processes, seconds a video may take, and videos until a process is replaced.
            decoder: Tried on every video.
            second: Tried on those that `decoder` hung or crashed on.
        """
        self.sampling = sampling
        self._settings = settings
        self._decoders = decoder, second
        self._open: set[Future[Outcome]] = set()
        # Linux takes the end of the thread that started a child for that of its parent.
        self._starter = ThreadPoolExecutor(1, "decode-pool")
        self._pool: Any = ProcessPool(
            max_workers=settings.processes,
            max_tasks=settings.videos_per_process,
            context=multiprocessing.get_context("spawn"),
            initializer=end_with_parent,
            initargs=(os.getpid(),),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.stop()
        self._pool.join()
        self._starter.shutdown()
        for future in list(self._open):
            # A child that died before it took its task leaves that task without an end.
            future.cancel()

    def start(self) -> list[Future[None]]:
        """Start the processes: they import what they need while the caller does something else.

        Returns:
            Futures of the time when that is done.
        """
        calls = range(self._settings.processes)
        return [self._starter.submit(self._pool.schedule, ready).result() for _ in calls]

    def submit(self, path: str | os.PathLike[str]) -> Future[Outcome]:
        """Decode a video when a process is free.

        Args:
            path: The video file.

        Returns:
            A future of the video, or of the reason why it cannot be decoded: damage, a crash or a
            hang of the decoder. It raises only for a bug, or if the pool ends before it is done.
        """
        future: Future[Outcome] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        self._try(os.fspath(path), future, ())
        return future

    def decode_all(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Outcome]:
        """Decode videos in the order given, a few of them ahead of the one that is yielded.

        At most `processes + 2` videos are in flight, so memory does not grow with the list.

        Args:
            paths: The video files; read as they are needed.

        Yields:
            For each path the video, or the reason why it cannot be decoded.
        """
        waiting: deque[Future[Outcome]] = deque()
        for path in paths:
            waiting.append(self.submit(path))
            if len(waiting) == self._settings.processes + LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _try(
        self,
        path: str,
        future: Future[Outcome],
        failures: tuple[VideoError, ...],
        *,
        again: bool = False,
    ) -> None:
        """Schedule the next decoder; `failures` says how those before it ended.

        A process that gets a SIGKILL was most likely ended from outside, as for want of memory:
        its decoder is tried `again`, once, so that the video's pixels stay those of the first.
        """
        child = self._starter.submit(
            self._pool.schedule,
            self._decoders[len(failures)],
            args=(path, self.sampling),
            timeout=self._settings.timeout_s,
        ).result()
        child.add_done_callback(lambda done: self._settle(done, path, future, failures, again))

    def _settle(
        self,
        child: "Future[DecodedVideo]",
        path: str,
        future: Future[Outcome],
        failures: tuple[VideoError, ...],
        again: bool,
    ) -> None:
        try:
            future.set_result(child.result())
        except VideoError as error:
            future.set_result(_failure(*failures, error))
        except TimeoutError:
            limit = f"{self._settings.timeout_s:g} s"
            failure = VideoError(f"decoding took longer than {limit} and was stopped")
            failure.decoding_s = self._settings.timeout_s
            self._try_again(path, future, (*failures, failure))
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGKILL and not again:
                self._try_again(path, future, failures, again=True)
                return
            failure = VideoError(f"crashed the decoder ({_death(error.exitcode)})")
            self._try_again(path, future, (*failures, failure))
        except CancelledError:
            future.cancel()
            future.set_running_or_notify_cancel()
        except Exception as error:  # a bug in our own code: the caller gets its traceback
            future.set_exception(error)

    def _try_again(
        self,
        path: str,
        future: Future[Outcome],
        failures: tuple[VideoError, ...],
        *,
        again: bool = False,
    ) -> None:
        if len(failures) == len(self._decoders):
            future.set_result(_failure(*failures))
            return
        try:
            self._try(path, future, failures, again=again)
        except RuntimeError:  # the pool has ended meanwhile
            future.cancel()


def _failure(*tries: VideoError) -> VideoError:
    """What the decoders said, one after the other, as one."""
    failure = VideoError("; with the second decoder: ".join(map(str, tries)))
    failure.decoding_s = sum(each.decoding_s for each in tries)
    return failure


def _death(exit_code: int) -> str:
    """How a process ended, in words: "SIGSEGV" or "exit code 3"."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"exit code {exit_code}"
