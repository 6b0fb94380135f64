"""What a route is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import azure.functions as func

Handler = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the API. Without `is_open`, it is for callers whom access.py lets in.

    Args:
        name: of the function, as the host lists it.
        path: after /api/.
        methods: in capitals; the host answers 404 to every other one.
        handler: answers a request that was let in.
        headers: of the answer to a caller who was not let in.
        is_open: anybody may call it.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    handler: Handler
    headers: Mapping[str, str] = field(default_factory=dict)
    is_open: bool = False
