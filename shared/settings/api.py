"""Who may use the app's own routes."""

from collections.abc import Iterator
from typing import Literal

from typing_extensions import override

from shared.settings.group import SettingsGroup, setting

Access = Literal["key", "entra", "off"]


class ApiSettings(SettingsGroup):
    """Who may read and write state over HTTP, and who may see the status page."""

    state_api: Access = setting(
        "StateApi",
        "key, entra or off",
        default="off",  # it gives out what users said, so nobody gets it unasked
        parameter="stateApi",
    )
    status_page: Access = setting(
        "StatusPage",
        "key, entra or off",
        default="key",
        parameter="statusPage",
    )
    easy_auth_enabled: str = setting(
        "WEBSITE_AUTH_ENABLED",
        "set by App Service where Easy Auth is on",
        default="",
        not_set="App Service sets it",
    )

    @override
    def misfits(self) -> Iterator[str]:
        if self.easy_auth_enabled.lower() == "true":
            return
        for name, access in (("StateApi", self.state_api), ("StatusPage", self.status_page)):
            if access == "entra":
                # Only Easy Auth itself keeps strangers from sending its headers.
                yield (
                    f"{name} is 'entra'; it must be key or off where the app has no authentication"
                    " of App Service (Easy Auth)"
                )
