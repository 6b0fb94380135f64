"""One route of the API, as data."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import azure.functions as func

Handler = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the API. Without `is_open`, access.py decides who may call it.

    Args:
        name: of the function, as the host lists it.
        path: after /api/.
        methods: in capitals; the host answers 404 to every other one.
        handler: answers an accepted request.
        headers: of the answer to a refused caller.
        is_open: everybody may call it.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    handler: Handler
    headers: Mapping[str, str] = field(default_factory=dict)
    is_open: bool = False
