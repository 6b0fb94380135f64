"""When Python collects garbage in full: not while a sweep has thousands of notices in hand.

A full collection walks every object that may be part of a cycle, and nothing else runs meanwhile:
76 ms for what the app has imported, up to 260 ms with a sweep's waiting notices.
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
    """Take what was imported and built so far out of all collections to come."""
    gc.freeze()


def full_collections_put_off() -> AbstractContextManager[None]:
    """Let full collections wait until the end of this, and of whatever else asked for the same.

    Then there is one. The younger generations are collected as ever.
    """
    return _collector.put_off()
