"""The Cosmos DB account, if StateStore is cosmos."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from shared.domain.policy import Rules
from shared.settings.expiry import ExpirySettings
from shared.settings.group import HttpsUrl, SettingsGroup, WholeSeconds, setting

# Cosmos DB keeps a conversation's state at least this much longer than it may be idle. A message in
# the last moment has 30 s (the guard) until its turn writes, clocks differ by 2 s, and Cosmos DB
# counts whole seconds.
TIME_TO_LIVE_MARGIN_SECONDS = 60

CosmosName = Annotated[str, Field(pattern=r"^[^/\\#?]{1,255}$")]
_MADE = "the infrastructure makes the account and what is in it"
_NAME = "a Cosmos DB {}'s name: 1 to 255 characters, none of / \\ # ?"


class CosmosSettings(SettingsGroup):
    """The account's address and key, and its containers.

    The names are those of Microsoft's article "Expire a conversation".
    """

    endpoint: HttpsUrl = setting(
        "CosmosDbEndpoint",
        "the https address of a Cosmos DB account",
        default="",
        no_parameter=_MADE,
    )
    auth_key: SecretStr = setting(
        "CosmosDbAuthKey",
        "a key of the Cosmos DB account",
        default=SecretStr(""),
        not_set="the identity is used, not a key",
    )
    database: CosmosName = setting(
        "CosmosDbDatabaseId",
        _NAME.format("database"),
        default="bot",
        no_parameter=_MADE,
    )
    conversation_container: CosmosName = setting(
        "CosmosDbConversationStateContainerId",
        _NAME.format("container"),
        default="conversation-state",
        no_parameter=_MADE,
    )
    user_container: CosmosName = setting(
        "CosmosDbUserStateContainerId",
        _NAME.format("container"),
        default="user-state",
        no_parameter=_MADE,
    )
    time_to_live_seconds: WholeSeconds | None = setting(
        "CosmosDbTimeToLive",
        f"whole seconds, at least ExpireAfterSeconds and {TIME_TO_LIVE_MARGIN_SECONDS} more",
        default=None,
        parameter="cosmosTimeToLive",
    )
    correct_time_to_live: Literal["off", "on"] = setting(
        "CosmosDbCorrectTimeToLive",
        "off or on",
        default="off",
        no_parameter="the infrastructure sets the time to live",
    )

    def misfits_with(self, expiry: ExpirySettings) -> Iterator[str]:
        """The mistakes if StateStore is cosmos, one message for each."""
        if not self.endpoint:
            yield (
                "CosmosDbEndpoint is empty; where StateStore is cosmos it must be the https address"
                " of a Cosmos DB account"
            )
        policy = expiry.policy
        longest = int(policy.longest_kept.total_seconds())
        kept = " or kept to be resumed" if policy.longest_resume else ""
        least = longest + TIME_TO_LIVE_MARGIN_SECONDS
        if self.time_to_live_seconds is None:
            yield (
                "CosmosDbTimeToLive is missing; where StateStore is cosmos it must be whole seconds"
            )
        # Without the timer, the time to live is the timeout.
        elif self.time_to_live_seconds < least and not expiry.timer_disabled:
            yield (
                f"CosmosDbTimeToLive is {self.time_to_live_seconds}; it must be {least} or more, as"
                f" a conversation may be idle{kept} for {longest} s: else state might be gone"
                " before its conversation expires"
            )
        if expiry.timer_disabled and expiry.rules != Rules():
            yield (
                "ExpiryPolicy names rules; where StateStore is cosmos and the timer is disabled it"
                " must be left out: CosmosDbTimeToLive is the timeout of all conversations"
            )
        if self.conversation_container == self.user_container:
            yield (
                f"CosmosDbUserStateContainerId is {self.user_container!r}; it must be"
                " another than CosmosDbConversationStateContainerId, as user state outlives a"
                " conversation's"
            )
