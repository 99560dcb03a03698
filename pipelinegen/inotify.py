"""Linux's inotify: which files in some folders are opened, by anybody, in the order in which it happens.

A binding of three system calls (inotify(7)); the standard library has none. Of who opens a file it says nothing, and
nothing of `stat`. Two equal events in a row are reported as one.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

OPEN = 0x20
IS_FOLDER = 0x4000_0000
OVERFLOW = 0x4000
UNMOUNTED = 0x2000
IGNORED = 0x8000
"""Bits of `Event.mask` (`<sys/inotify.h>`); the last three mean that something was missed or will be."""

_ONLY_FOLDERS = 0x0100_0000
_HEADER = struct.Struct("iIII")
_READ_BYTES = 1 << 18


class Event(NamedTuple):
    """Something happened in a watched folder.

    Attributes:
        watch: the number that `Inotify.watch` gave; -1 for `OVERFLOW`.
        mask: bits.
        name: of the file in the folder; empty for the folder itself.
    """

    watch: int
    mask: int
    name: bytes


class Inotify:
    """One queue of events.

    Raises:
        OSError: there is no inotify (another system), or this user has too many queues.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        try:
            number = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        except AttributeError as error:
            raise OSError("this system has no inotify") from error
        if number < 0:
            raise _last_error("inotify_init1")
        self.number: int = number

    def watch(self, folder: bytes) -> int:
        """Report what is opened in a folder from now on, and the folder itself; the number of the watch.

        Raises:
            OSError: the folder cannot be read, or this user may have no more watches.
        """
        watch: int = self._libc.inotify_add_watch(self.number, folder, OPEN | _ONLY_FOLDERS)
        if watch < 0:
            raise _last_error(os.fsdecode(folder))
        return watch

    def events(self) -> Iterator[Event]:
        """All that has happened by now."""
        while True:
            try:
                data = os.read(self.number, _READ_BYTES)
            except BlockingIOError:
                return
            position = 0
            while position < len(data):
                watch, mask, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size
                yield Event(watch, mask, data[position : position + length].partition(b"\0")[0])
                position += length

    def close(self) -> None:
        """Stop watching."""
        os.close(self.number)


def _last_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
