"""Ports for servers of tests: no two tests get the same one, nor do two test runs at once."""

import random
import socket
from contextlib import ExitStack, suppress

# Below those that a system hands out for connections: a moment later one may be taken otherwise.
_RANGE = range(20_100, 32_000)

# A port of UDP is bound for as long as this process lives: it says that the same one of TCP is ours
# although its server does not listen yet.
_reserved: list[ExitStack] = []


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on.

    Raises:
        OSError: There is none.
    """
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nothing listens on.

    Raises:
        OSError: There are none.
    """
    for _ in range(1000):
        first = random.choice(_RANGE)
        with suppress(OSError), ExitStack() as reserved:
            for port in range(first, first + count):
                reserved.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind(
                    ("127.0.0.1", port)
                )
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            _reserved.append(reserved.pop_all())
            return first
    raise OSError(f"no {count} free ports in {_RANGE}")
