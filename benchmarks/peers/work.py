"""What a worker does: it takes turns when it is told to, and says what they cost.

Standard library only, because it also runs where this project's packages are not installed.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

# Takes a turn: the body of a request, and its Authorization header.
TakeTurn = Callable[[bytes, str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the bot is.

    Attributes:
        app_id: empty: callers are not checked, and replies carry no token.
        app_password: its secret.
        bearer: the Authorization header of its callers.
        login_url: the login service, without a tenant.
        login_tenant: the tenant of the bot's tokens.
        url: the fake's, over TLS, without a slash at its end.
        keys_url: the keys of its callers' tokens (JWKS).
        storage: the connection string of the storage account; empty: state is in memory.
    """

    app_id: str
    app_password: str
    bearer: str
    login_url: str
    login_tenant: str
    url: str
    keys_url: str
    storage: str = ""


def work(make: Callable[[Setting], AbstractAsyncContextManager[TakeTurn]]) -> None:
    """Take turns until standard input ends.

    Its first line is a `Setting`, each other line a list of bodies. The answer to each is a line:
    for each body, the CPU of all threads and the wall time, in milliseconds.
    """
    asyncio.run(_work(make, Setting(**json.loads(sys.stdin.readline()))))


async def _work(
    make: Callable[[Setting], AbstractAsyncContextManager[TakeTurn]], setting: Setting
) -> None:
    async with make(setting) as take:
        for line in iter(sys.stdin.readline, ""):
            bodies = [body.encode() for body in json.loads(line)]
            gc.collect()  # no round pays for what another left
            costs = []
            for body in bodies:
                cpu, wall = time.process_time(), time.perf_counter()
                await take(body, setting.bearer)
                costs.append((time.process_time() - cpu, time.perf_counter() - wall))
            milliseconds = [(1000 * cpu, 1000 * wall) for cpu, wall in costs]
            sys.stdout.write(json.dumps(milliseconds) + "\n")
            sys.stdout.flush()
