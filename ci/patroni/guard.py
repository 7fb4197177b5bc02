"""A program that leaves nothing behind, however it ends."""

import contextlib
import ctypes
import os
import pathlib
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable

# Linux's numbers.
SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36
NEW_IPC_NAMESPACE = 0x0800_0000


def guarded(story: Callable[[pathlib.Path], int]) -> int:
    """Runs the story, with a folder for it, and returns its status. Afterwards the folder is gone, and so is each
    process that the story has started, those included which became daemons; also if this process is killed."""
    whole = os.getpid()
    sys.stdout.flush()
    guard = os.fork()
    if guard == 0:
        os._exit(_guard(story, whole))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os.kill(guard, signal.SIGTERM))
    return os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1])


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    children: dict[int, list[int]] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found


def _guard(story: Callable[[pathlib.Path], int], whole: int) -> int:
    # Whoever kills this program's group does not kill its guard.
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    linux = ctypes.CDLL(None)
    # Daemons become children of the guard, which is also who reaps them: where nobody does they seem to run on.
    linux.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    linux.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    # A PostgreSQL that is killed leaves a few bytes of shared memory to the system; who is not root is refused this.
    linux.unshare(NEW_IPC_NAMESPACE)
    if os.getppid() != whole:
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="keelkv-patroni-") as folder:
            try:
                teller = os.fork()
                if teller == 0:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    os._exit(_tell(story, pathlib.Path(folder)))
                while True:
                    pid, status = os.wait()
                    if pid == teller:
                        return os.waitstatus_to_exitcode(status)
            finally:
                _end_all()
    except SystemExit as ended:
        return int(ended.code)


def _tell(story: Callable[[pathlib.Path], int], folder: pathlib.Path) -> int:
    try:
        return story(folder)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()


def _end_all() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.wait()
