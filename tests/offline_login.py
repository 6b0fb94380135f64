"""The login service left out: whoever asks msal for the bot's token gets one at once."""

from collections.abc import Callable
from typing import Any

from msal.application import ConfidentialClientApplication

TOKEN = "the-bots-token"


def log_in_offline(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Takes msal's place, for the SDK and for the app: it would ask Microsoft's own service."""

    def nothing(*_: Any, **__: Any) -> None:
        return None

    def token(*_: Any, **__: Any) -> dict[str, Any]:
        return {"access_token": TOKEN, "expires_in": 3600}

    set_attribute(ConfidentialClientApplication, "__init__", nothing)
    set_attribute(ConfidentialClientApplication, "acquire_token_silent", nothing)
    set_attribute(ConfidentialClientApplication, "acquire_token_for_client", token)
