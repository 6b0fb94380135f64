"""When Python collects garbage in full: not while a sweep holds thousands of notices.

A full collection visits every object that may be part of a cycle, and nothing else runs meanwhile:
76 ms for the app's imports, up to 260 ms with a sweep's waiting notices.
"""

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

_NEVER = 1_000_000_000


class _Collector:
    """The process's garbage collector."""

    def __init__(self) -> None:
        self._thresholds = gc.get_threshold()
        self._sweeps = 0

    @contextmanager
    def put_off(self) -> Iterator[None]:
        if not self._sweeps:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(*self._thresholds[:2], _NEVER)
        self._sweeps += 1
        try:
            yield
        finally:
            self._sweeps -= 1
            if not self._sweeps:
                gc.set_threshold(*self._thresholds)
                gc.collect()


_collector = _Collector()


def keep_what_is_there() -> None:
    """Take all objects that exist now out of later collections: imports, and what was built."""
    gc.freeze()


def full_collections_put_off() -> AbstractContextManager[None]:
    """Let full collections wait until this and every other user of it has ended; then do one.

    The younger generations are collected as usual.
    """
    return _collector.put_off()
