"""Ending a decoding process whose parent was killed; a module of its own, to be light to import."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Have Linux kill this process when its parent dies, even while a decoder hangs.

    Elsewhere a child whose parent was killed ends when its decoder comes back.

    Args:
        parent: Its process id.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os.kill(os.getpid(), signal.SIGKILL)
