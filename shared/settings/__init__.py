"""The one reader of the environment: typed, checked at start, one line per mistake.

Each group of settings is a file, with the checks of its fields beside them. A part of the app takes
its own group, and no other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from shared.settings.api import ApiSettings
from shared.settings.cloud import CloudSettings
from shared.settings.cosmos import TIME_TO_LIVE_MARGIN_SECONDS, CosmosSettings
from shared.settings.expiry import ExpirySettings
from shared.settings.group import SettingsError, SettingsGroup
from shared.settings.identity import IdentitySettings
from shared.settings.network import NetworkSettings
from shared.settings.sending import SendingSettings
from shared.settings.storage import StorageSettings
from shared.settings.telemetry import TelemetrySettings

__all__ = ["Settings", "SettingsError", "read_settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the app needs to know, read once at start from the environment."""

    identity: IdentitySettings
    cloud: CloudSettings
    network: NetworkSettings
    expiry: ExpirySettings
    sending: SendingSettings
    storage: StorageSettings
    cosmos: CosmosSettings
    api: ApiSettings
    telemetry: TelemetrySettings

    @property
    def expire_after(self) -> timedelta:
        """How long a conversation may be idle."""
        if self.expires_by_time_to_live_alone and self.cosmos.time_to_live_seconds:
            return timedelta(seconds=self.cosmos.time_to_live_seconds)
        return timedelta(seconds=self.expiry.after_seconds)

    @property
    def expires_by_time_to_live_alone(self) -> bool:
        """Nobody is told and nothing is tracked: Cosmos DB deletes what is idle."""
        return self.storage.state_store == "cosmos" and self.expiry.timer_disabled

    @property
    def least_time_to_live_seconds(self) -> int:
        """The shortest time to live that state is safe with."""
        margin = 0 if self.expires_by_time_to_live_alone else TIME_TO_LIVE_MARGIN_SECONDS
        return int(self.expire_after.total_seconds()) + margin


GROUPS: Mapping[str, type[SettingsGroup]] = {
    field.name: field.type for field in fields(Settings) if isinstance(field.type, type)
}


def read_settings(given: Mapping[str, str] | None = None) -> Settings:
    """Read and check the environment.

    Args:
        given: variables that go before those of the environment.

    Raises:
        SettingsError: one line that names each wrong setting, what it was and what it must be;
            a secret's value is never part of it.
    """
    groups: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, group in GROUPS.items():
        try:
            groups[name] = group(**(given or {}))
        except ValidationError as error:
            mistakes += group.describe(error)
        else:
            mistakes += groups[name].mistakes()
    mistakes += _mistakes_between(**groups)
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    return Settings(**groups)


def _mistakes_between(
    expiry: ExpirySettings | None = None,
    storage: StorageSettings | None = None,
    cosmos: CosmosSettings | None = None,
    **_: SettingsGroup,
) -> Iterator[str]:
    """What does not fit together in the groups that could be read."""
    if storage and expiry:
        yield from storage.mistakes_with(expiry)
        if cosmos and storage.state_store == "cosmos":
            yield from cosmos.mistakes_with(expiry)
