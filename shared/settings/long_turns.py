"""Whether channels are answered before the turn, and where activities wait for theirs."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from shared.settings.expiry import ExpirySettings
from shared.settings.group import SettingsGroup, setting
from shared.settings.storage import StorageSettings

# Both a table and a queue have this name; 7 of a queue's 63 characters are left for "-poison".
InboxName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{2,55}$")]


class LongTurnsSettings(SettingsGroup):
    """Turns that take longer than a channel waits."""

    long_turns: Literal["off", "on"] = setting(
        "LongTurns",
        "off or on",
        default="off",
        parameter="longTurns",
    )
    inbox: InboxName = setting(
        "Inbox",
        "a name of a table and a queue: 3 to 56 lower-case letters and digits, a letter first",
        default="inbox",
        no_parameter="the account is new, so the default name is free",
    )

    @property
    def is_on(self) -> bool:
        """Whether channels are answered before the turn."""
        return self.long_turns == "on"

    def misfits_with(self, storage: StorageSettings, expiry: ExpirySettings) -> Iterator[str]:
        """The contradictions with storage and expiry, one message for each mistake."""
        if not self.is_on:
            return
        if not storage.has_queues:
            yield (
                "AzureWebJobsStorage__queueServiceUri is missing; where LongTurns is on it must be"
                " the queue service's https address, or __accountName must name the account"
            )
        others = storage.conversations_table, storage.users_table, expiry.queue
        if self.inbox in {name.lower() for name in others}:
            yield f"Inbox is {self.inbox}; it must be another name than that of a table or queue"
