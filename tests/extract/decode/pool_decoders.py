"""Stand-ins for a decoder, importable in a child process; the path says how to behave."""

import ctypes
import os
import resource
import signal
import sys
import time

import psutil

from finevq.extract.decode.video import Sampling, decode


def behave(path: str, sampling: object) -> str:
    """Return "PID path", unless the path asks for trouble."""
    name, *_ = path.split("-")
    if name == "hang":
        time.sleep(60)
    if name == "hang_with_gil":  # as native code does; not even SIGTERM comes through
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        ctypes.PyDLL(None).sleep(60)
    if name == "slow":
        time.sleep(0.5)
    if name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "kill":  # from outside, once or always
        with open(path.partition("-")[2], "a+b") as log:
            log.write(b".")
            log.flush()
            if log.tell() == 1 or "always" in path:
                os.kill(os.getpid(), signal.SIGKILL)
    if name == "exit":
        os._exit(3)
    if name == "bug":
        raise KeyError(path)
    return f"{os.getpid()} {path}"


def second(path: str, sampling: object) -> str:
    """The second decoder: has trouble only with what is called so twice, "hang-crash"."""
    return behave(path.partition("-")[2], sampling)


def loaded_modules(path: str, sampling: object) -> list[str]:
    """What a child process has imported in order to decode."""
    return sorted(sys.modules)


_leaked: list[bytes] = []


def leak(path: str, sampling: object) -> int:
    """Lose 32 MB, as decoders do; returns the bytes that the process has."""
    _leaked.append(os.urandom(2**25))
    return psutil.Process().memory_info().rss


def peak(path: str, sampling: Sampling) -> tuple[int, int]:
    """Decode "SHORT,LONG": frames of the long one, bytes by which it raised the peak."""
    short, long = path.split(",")
    decode(short, sampling)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = decode(long, sampling).frame_count
    return count, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
