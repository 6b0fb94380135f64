"""The storage account and its tables."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from typing_extensions import override

from shared.settings.expiry import ExpirySettings
from shared.settings.group import ANOTHER_CLOUD, HttpsUrl, SettingsGroup, WholeNumber, setting

TableName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$")]


class StorageSettings(SettingsGroup):
    """The account's address and credential, its tables, and which store has the state."""

    connection_string: SecretStr = setting(
        "AzureWebJobsStorage",
        "a storage connection string",
        default=SecretStr(""),
        not_set="a connection string holds a key; the identity is used",
    )
    table_uri: HttpsUrl = setting(
        "AzureWebJobsStorage__tableServiceUri",
        "the table service's https address",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    queue_uri: HttpsUrl = setting(
        "AzureWebJobsStorage__queueServiceUri",
        "the queue service's https address",
        default="",
        not_set=ANOTHER_CLOUD,
    )
    account_name: str = setting(
        "AzureWebJobsStorage__accountName",
        "a storage account's name",
        default="",
        pattern=r"^([a-z0-9]{3,24})?$",
        no_parameter="the infrastructure makes the account",
    )
    credential: Literal["", "managedidentity"] = setting(
        "AzureWebJobsStorage__credential",
        "managedidentity, or left out",
        default="",
        no_parameter="the identity is always used",
    )
    client_id: str = setting(
        "AzureWebJobsStorage__clientId",
        "the client id of a user-assigned managed identity",
        default="",
        no_parameter="the infrastructure makes the identity",
    )
    conversations_table: TableName = setting(
        "ConversationsTable",
        "a table name: 3 to 63 letters and digits, a letter first",
        default="conversations",
        parameter="conversationsTable",
    )
    users_table: TableName = setting(
        "UsersTable",
        "a table name: 3 to 63 letters and digits, a letter first",
        default="users",
        parameter="usersTable",
    )
    shards: Annotated[WholeNumber, Field(ge=1, le=256)] = setting(
        "TableShards",
        "a whole number from 1 to 256, fixed for the life of the table",
        default=64,
        parameter="tableShards",
    )
    state_limit_kib: Annotated[WholeNumber, Field(ge=1, le=700)] = setting(
        "StateLimitKiB",
        "a whole number from 1 to 700",
        default=700,
        parameter="stateLimitKiB",
    )
    state_store: Literal["tables", "cosmos"] = setting(
        "StateStore",
        "tables or cosmos",
        default="tables",
        parameter="stateStore",
    )

    @property
    def table_endpoint(self) -> str:
        """The table service's address for identity-based access; empty with a connection string."""
        return self.table_uri or self._endpoint("table")

    @property
    def queue_endpoint(self) -> str:
        """The queue service's address for identity-based access; empty with a connection string."""
        return self.queue_uri or self._endpoint("queue")

    @property
    def has_queues(self) -> bool:
        """Whether the queue service can be reached."""
        return bool(self.connection_string.get_secret_value() or self.queue_endpoint)

    def _endpoint(self, service: str) -> str:
        name = self.account_name
        return f"https://{name}.{service}.core.windows.net" if name else ""

    @override
    def misfits(self) -> Iterator[str]:
        if not self.connection_string.get_secret_value() and not self.table_endpoint:
            yield (
                "AzureWebJobsStorage is empty; it must be a storage connection string, or"
                " AzureWebJobsStorage__tableServiceUri or __accountName must name the account"
            )

    def misfits_with(self, expiry: ExpirySettings) -> Iterator[str]:
        """The contradictions with the settings of expiry, one message for each mistake."""
        if expiry.fan_out == "on" and not self.has_queues:
            yield (
                "AzureWebJobsStorage__queueServiceUri is missing; where ExpiryFanOut is on it must"
                " be the queue service's https address, or __accountName must name the account"
            )
