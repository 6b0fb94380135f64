"""What msal needs for a login service on this machine."""

from typing import Any

from msal.application import ConfidentialClientApplication


def ask_nobody_about_the_login_service() -> None:
    """Keep msal from looking the login service up.

    It knows the real one by name; about a stranger it would ask login.microsoftonline.com.
    """
    application: Any = ConfidentialClientApplication
    make = application.__init__

    def without_discovery(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs | {"instance_discovery": False})

    application.__init__ = without_discovery
