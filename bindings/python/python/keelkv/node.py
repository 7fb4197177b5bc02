"""A member in this process."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Union

from keelkv import _native
from keelkv.errors import Code, Error

# What keys and values may be; a text is taken as UTF-8. Any other object with bytes in it will do as well.
Data = Union[str, bytes, bytearray, memoryview]


class KeyValue(NamedTuple):
    """A key as it was at one revision."""

    key: bytes
    value: bytes
    #: The revision that made the key.
    create_revision: int
    #: The revision of its last change.
    mod_revision: int
    #: How many changes it has seen since it was made.
    version: int
    #: The lease that it hangs on, or 0.
    lease: int


class EventKind(enum.IntEnum):
    """What happened to a key."""

    PUT = 0
    DELETE = 1


class Event(NamedTuple):
    """One change."""

    kind: EventKind
    #: The key after it. After a deletion only `key` and `mod_revision` say something.
    kv: KeyValue


class Batch(NamedTuple):
    """Events of one or more whole revisions, in order."""

    #: The store's revision when they were sent.
    revision: int
    events: list[Event]


class Watch(Iterator[Batch]):
    """Events of some keys, in order and without gaps. Any thread may use it; what one gets another does not.

    Iterating waits for events and ends with `cancel`. Ctrl-C ends a wait, and nothing is lost then.
    """

    def __init__(self, native: _native.Watch) -> None:
        self._native = native

    def next(self, timeout: float | None = None) -> Batch | None:
        """Waits for events, at most `timeout` seconds. None if there were none until then."""
        found = self._native.next(timeout)
        if found is None:
            return None
        revision, events = found
        return Batch(revision, [Event(EventKind(kind), KeyValue(*pair)) for kind, pair in events])

    def cancel(self) -> None:
        """Ends the watch, also for those who wait for it."""
        self._native.cancel()

    def __next__(self) -> Batch:
        try:
            while (batch := self.next()) is None:
                pass
        except Error as error:
            if error.code == Code.WATCH_CANCELED:
                raise StopIteration from None
            raise
        return batch

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class Node:
    """A member that runs in this process, on threads of its own. Any thread may use it."""

    def __init__(self, native: _native.Node) -> None:
        self._native = native

    @classmethod
    def start(cls, *, data_dir: str | os.PathLike[str] | None = None, name: str = "default") -> Node:
        """Starts a member and waits until it serves.

        Its data is in `data_dir`, which is made if it is missing; without one it is in memory, gone with the member.
        """
        options = {"name": name, "data-dir": "" if data_dir is None else os.fspath(data_dir)}
        return cls(_native.Node.start(options))

    def put(self, key: Data, value: Data) -> int:
        """Writes a key: its new revision, once that is durable.

        An `Error` whose `may_have_been_done` is true leaves open whether it was written.
        """
        return self._native.put(_bytes(key), _bytes(value))

    def get(self, key: Data) -> KeyValue | None:
        """Reads a key, with everything that was acknowledged before."""
        found = self._native.get(_bytes(key))
        return None if found is None else KeyValue(*found)

    def watch(self, key: Data, *, range_end: Data = b"", start_revision: int = 0) -> Watch:
        r"""Watches the keys from `key` up to, and without, `range_end`.

        Without an end it is one key, and with an end of b"\0" all keys from `key` on. From `start_revision` on, or from
        now on if it is 0.
        """
        return Watch(self._native.watch(_bytes(key), _bytes(range_end), start_revision))

    def stop(self) -> None:
        """Stops the member: those who wait are told, and its directory is free then. A second time does nothing."""
        self._native.stop()

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _bytes(value: Data) -> bytes:
    # By way of a view, because bytes(7) would be seven zeros.
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))
