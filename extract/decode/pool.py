"""Decoding in child processes, which may hang, crash or leak without harm to the other videos.

A decoder is native code that reads files from strangers, so each video is decoded in a child
process. A process that takes too long is killed, even while it holds the GIL; one that was killed
or crashed is replaced. Its video is then decoded once more, by PyAV; if that goes wrong too, the
video has failed. After a fixed number of videos a process is replaced in any case, because decoders
leak. A child dies with its parent, however the parent ends (Linux).

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
from ..orphan import end_with_parent
from ..settings import DecodeSettings
from .video import DecodedVideo, Sampling, decode, decode_by_pyav, warm_up

LOOK_AHEAD = 2
"""Videos in flight beside one for each process: enough to keep all processes busy."""

Outcome = DecodedVideo | VideoError
"""What came of decoding one video."""

Decode = Callable[[str, Sampling], DecodedVideo]
"""A function that decodes one video, and that a child process can import."""


class DecodePool:
    """Child processes that decode videos, as a context manager, which kills them at its end.

    They are started by the first video, or by `start`.

    Attributes:
        sampling: What to keep of each video; must be set before the first one.
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
            settings: Number of processes, seconds that a video may take, and videos after which a
                process is replaced.
            decoder: Decodes every video.
            second: The second try with those on which `decoder` hung or crashed.
        """
        self.sampling = sampling
        self._settings = settings
        self._decoders = decoder, second
        self._open: set[Future[Outcome]] = set()
        # To Linux, the parent of a child has ended when the thread that started it has: so one
        # thread that lives as long as the pool starts them all.
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
            # A task whose child died before it took the task would never be done.
            future.cancel()

    def start(self) -> list[Future[None]]:
        """Start the processes, which import what they need while the caller goes on.

        Returns:
            Futures that are done when the imports are.
        """
        calls = range(self._settings.processes)
        return [self._starter.submit(self._pool.schedule, warm_up).result() for _ in calls]

    def submit(self, path: str | os.PathLike[str]) -> Future[Outcome]:
        """Decode a video as soon as a process is free.

        Args:
            path: The video file.

        Returns:
            A future of the decoded video, or of a VideoError that says why there is none: the file
            is damaged, or decoding hung or crashed twice. The future raises for a bug alone, or if
            the pool ends first.
        """
        future: Future[Outcome] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        self._try(os.fspath(path), future, ())
        return future

    def decode_all(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Outcome]:
        """Decode videos, and yield them in the order given.

        At most `processes + LOOK_AHEAD` videos are in flight, so memory does not grow with their
        number.

        Args:
            paths: The video files; the iterable is read only as far as needed.

        Yields:
            For each path the decoded video, or the reason why there is none.
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
        retried: bool = False,
    ) -> None:
        """Schedule the next try.

        A process that got a SIGKILL was most likely ended from outside, for example because the
        machine ran out of memory. Then the same decoder gets a second chance, so that the features
        do not depend on such an event.

        Args:
            path: The video file.
            future: Where the outcome goes.
            failures: How the tries before this one ended.
            retried: Whether this is the second chance.
        """
        child = self._starter.submit(
            self._pool.schedule,
            self._decoders[len(failures)],
            args=(path, self.sampling),
            timeout=self._settings.timeout_s,
        ).result()
        child.add_done_callback(lambda done: self._settle(done, path, future, failures, retried))

    def _settle(
        self,
        child: "Future[DecodedVideo]",
        path: str,
        future: Future[Outcome],
        failures: tuple[VideoError, ...],
        retried: bool,
    ) -> None:
        """Set the outcome of a video from what its child process did, or try again."""
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
            if error.exitcode == -signal.SIGKILL and not retried:
                self._try_again(path, future, failures, retried=True)
                return
            failure = VideoError(f"crashed the decoder ({_exit_name(error.exitcode)})")
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
        retried: bool = False,
    ) -> None:
        if len(failures) == len(self._decoders):
            future.set_result(_failure(*failures))
            return
        try:
            self._try(path, future, failures, retried=retried)
        except RuntimeError:  # the pool has ended meanwhile
            future.cancel()


def _failure(*tries: VideoError) -> VideoError:
    """One error of all that the tries said, in their order."""
    failure = VideoError("; on the second try: ".join(map(str, tries)))
    failure.decoding_s = sum(error.decoding_s for error in tries)
    return failure


def _exit_name(exit_code: int) -> str:
    """How a process ended: "SIGSEGV" or "exit code 3"."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"exit code {exit_code}"
