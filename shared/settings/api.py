"""Who may use the app's own routes."""

from collections.abc import Iterator
from typing import Literal

from typing_extensions import override

from shared.settings.group import SettingsGroup, setting


class ApiSettings(SettingsGroup):
    """Who may read and write state over HTTP, and see the status page."""

    state_api: Literal["key", "entra", "off"] = setting(
        "StateApi",
        "key, entra or off",
        default="key",
        parameter="stateApi",
    )
    easy_auth_enabled: str = setting(
        "WEBSITE_AUTH_ENABLED",
        "set by App Service where Easy Auth is on",
        default="",
        not_set="App Service sets it",
    )

    @override
    def misfits(self) -> Iterator[str]:
        if self.state_api == "entra" and self.easy_auth_enabled.lower() != "true":
            # Only Easy Auth itself keeps strangers from sending its headers.
            yield (
                "StateApi is 'entra'; it must be key or off where the app has no authentication"
                " of App Service (Easy Auth)"
            )
