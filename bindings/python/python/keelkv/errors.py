"""What goes wrong, with numbers that never change."""

from __future__ import annotations

import enum

from keelkv import _native

# The table is the library's own.
Code = enum.IntEnum("Code", _native.CODES)
Code.__doc__ = "A kind of failure, as Code.NO_SPACE. A number never changes its meaning; new ones are added."


class Error(Exception):
    """A call that failed. The text is etcd's where etcd has one."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        #: What kind of failure it is.
        self.code = Code(code)
        #: One line.
        self.message = message

    @property
    def may_have_been_done(self) -> bool:
        """Whether what was asked may have been done all the same, or may still be: read before you ask again."""
        return self.code in _native.UNCERTAIN

    def __str__(self) -> str:
        return self.message
