"""The one reader of the environment: typed, checked at start, one line per mistake.

Each group of settings is a file, with the checks of its fields beside them. A part of the app takes
its own group, and no other.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import EnvSettingsSource

from shared.domain.policy import Policy
from shared.domain.timing import Bounds, Timing
from shared.settings.api import ApiSettings
from shared.settings.cloud import CloudSettings
from shared.settings.cosmos import TIME_TO_LIVE_MARGIN_SECONDS, CosmosSettings
from shared.settings.expiry import ExpirySettings
from shared.settings.group import SettingsError, SettingsGroup
from shared.settings.host import HostSettings
from shared.settings.identity import IdentitySettings
from shared.settings.long_turns import LongTurnsSettings
from shared.settings.network import NetworkSettings
from shared.settings.sending import SendingSettings
from shared.settings.storage import StorageSettings
from shared.settings.telemetry import TelemetrySettings
from shared.settings.texts import TextsSettings

__all__ = ["Settings", "SettingsError", "read_settings"]


class Settings(BaseModel):
    """All settings of the app, read once at start from the environment."""

    model_config = ConfigDict(frozen=True)

    identity: IdentitySettings
    cloud: CloudSettings
    network: NetworkSettings
    expiry: ExpirySettings
    long_turns: LongTurnsSettings
    sending: SendingSettings
    texts: TextsSettings
    storage: StorageSettings
    cosmos: CosmosSettings
    api: ApiSettings
    telemetry: TelemetrySettings
    host: HostSettings

    @property
    def policy(self) -> Policy:
        """Which timing holds for which conversation."""
        if self.expires_by_time_to_live_alone and self.cosmos.time_to_live_seconds:
            return Policy(Timing(timedelta(seconds=self.cosmos.time_to_live_seconds)))
        return self.expiry.policy

    @property
    def bounds_for_code(self) -> Bounds:
        """What the bot's code may set of a conversation's time."""
        most_idle, lives = None, self.cosmos.time_to_live_seconds
        if self.storage.state_store == "cosmos" and lives:
            most_idle = timedelta(seconds=lives - TIME_TO_LIVE_MARGIN_SECONDS)
            most_idle -= self.policy.longest_resume
        return Bounds(
            least_warning=self.expiry.least_warning,
            most_idle=most_idle,
            is_tracked=not self.expires_by_time_to_live_alone,
        )

    @property
    def expires_by_time_to_live_alone(self) -> bool:
        """Whether Cosmos DB alone ends idle conversations: nothing is tracked, nobody is told."""
        return self.storage.state_store == "cosmos" and self.expiry.timer_disabled

    @property
    def least_time_to_live_seconds(self) -> int:
        """The shortest time to live that state is safe with."""
        margin = 0 if self.expires_by_time_to_live_alone else TIME_TO_LIVE_MARGIN_SECONDS
        return int(self.policy.longest_kept.total_seconds()) + margin


GROUPS: Mapping[str, type[SettingsGroup]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup)
}


def read_settings(given: Mapping[str, str] | None = None) -> Settings:
    """Read and check the environment.

    Args:
        given: variables that override those of the environment.

    Raises:
        SettingsError: one line that names each wrong setting, what it was and what it must be;
            a secret's value is never part of it.
    """
    given = given or {}
    variables = {name: {**_variables(group), **given} for name, group in GROUPS.items()}
    with suppress(ValidationError):
        settings = Settings.model_validate(variables)
        if not list(_misfits(**dict(settings))):
            return settings
    raise SettingsError(
        "; ".join(_mistakes(variables, with_values=True)),
        without_values="; ".join(_mistakes(variables, with_values=False)),
    )


def _variables(group: type[SettingsGroup]) -> dict[str, Any]:
    return EnvSettingsSource(group)()  # type: ignore[arg-type] # it reads fields and config only


def _mistakes(variables: Mapping[str, object], *, with_values: bool) -> Iterator[str]:
    """Every mistake. Groups are read one by one, so that a mistake in one hides none in another."""
    groups = {}
    for name, group in GROUPS.items():
        try:
            groups[name] = group.model_validate(variables[name])
        except ValidationError as error:
            yield from group.describe(error, with_values=with_values)
    yield from _misfits(**groups)


def _misfits(**groups: Any) -> Iterator[str]:
    """The contradictions within the groups that could be read, and between them."""
    for group in groups.values():
        yield from group.misfits()
    expiry, storage, cosmos, host, long_turns = map(
        groups.get, ("expiry", "storage", "cosmos", "host", "long_turns")
    )
    if host and expiry:
        yield from host.misfits_with(expiry)
    if storage and expiry:
        yield from storage.misfits_with(expiry)
        if long_turns:
            yield from long_turns.misfits_with(storage, expiry)
        if cosmos and storage.state_store == "cosmos":
            yield from cosmos.misfits_with(expiry)
