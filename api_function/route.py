"""One route of the API, as data."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import azure.functions as func

Handler = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]

# Values of app roles, which the app's registration in Entra ID defines and assigns.
STATE_ROLE = "BotState.ReadWrite"
STATUS_ROLE = "BotStatus.Read"


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the API. access.py decides who may call it: by StateApi, if nothing is said.

    Args:
        name: of the function, as the host lists it.
        path: after /api/.
        methods: in capitals; the host answers 404 to every other one.
        handler: answers an accepted request.
        is_open: everybody may call it.
        is_status_page: StatusPage decides.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    handler: Handler
    is_open: bool = False
    is_status_page: bool = False

    @property
    def role(self) -> str:
        """The app role that a caller needs who signs in with Entra ID."""
        return STATUS_ROLE if self.is_status_page else STATE_ROLE
