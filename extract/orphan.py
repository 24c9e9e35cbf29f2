"""Ending a decoding process whose parent was killed.

A module of its own, because each child imports it first: it must import little.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Have Linux kill this process when its parent dies, even while a decoder hangs.

    On other systems a child whose parent was killed ends when its decoder returns.

    Args:
        parent: The parent's process id.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)
