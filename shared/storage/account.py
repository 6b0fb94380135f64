"""The common part of the clients of Azure's accounts: opening, closing, identity, error codes."""

import re
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from azure.core.exceptions import AzureError

from shared.settings.storage import StorageSettings

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

    Identity: TypeAlias = DefaultAzureCredential | ManagedIdentityCredential


class Account:
    """An account over one client; an async context manager that closes it.

    Args:
        client: the SDK's client of the account.
        identity: the client's identity, if it uses no key.
    """

    def __init__(self, client: Any, identity: "Identity | None") -> None:
        self._client = client
        self._identity = identity

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()
        if self._identity:
            await self._identity.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class StorageAccount(Account):
    """One of the services of a storage account.

    Args:
        connection_string: with the account's key; or
        endpoint: the service's address, for an identity.
        identity: the identity for that address.
        options: of the client, beside its OPTIONS.
    """

    CLIENT: ClassVar[Any]
    OPTIONS: ClassVar[dict[str, Any]]

    def __init__(
        self,
        *,
        connection_string: str = "",
        endpoint: str = "",
        identity: "Identity | None" = None,
        **options: Any,
    ) -> None:
        options |= self.OPTIONS
        if connection_string:
            client = self.CLIENT.from_connection_string(connection_string, **options)
        else:
            client = self.CLIENT(endpoint, credential=identity, **options)
        super().__init__(client, identity)

    @classmethod
    def of(cls, settings: StorageSettings) -> Self:
        """The service of the app's storage account."""
        connection_string = settings.connection_string.get_secret_value()
        if connection_string:
            return cls(connection_string=connection_string)
        return cls(endpoint=cls.endpoint_in(settings), identity=identity_of(settings))

    @staticmethod
    def endpoint_in(settings: StorageSettings) -> str:
        """The address of the service."""
        raise NotImplementedError


def identity_of(settings: StorageSettings) -> "Identity":
    """The app's identity: a managed one, or the first one that the machine has."""
    from azure.identity.aio import (  # noqa: PLC0415 - an app with a key starts without it
        DefaultAzureCredential,
        ManagedIdentityCredential,
    )

    client_id = settings.client_id or None  # of a user-assigned identity
    if settings.credential == "managedidentity":
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(managed_identity_client_id=client_id)


def code_of(error: AzureError) -> str:
    """The service's code for an error, such as `EntityTooLarge`; empty if it gave none.

    Only the code tells the meaning: a 409 is a conflict, or a table that is being deleted.
    """
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    # If the SDK does not understand the body, the code is only in the error's text.
    found = re.search(r'"code"\s*:\s*"(\w+)"', str(error))
    return found[1] if found else ""


def reason(error: AzureError) -> str:
    """The service's message in one line, without the request and its keys."""
    status, code = getattr(error, "status_code", None), code_of(error)
    first_line = (error.message or type(error).__name__).splitlines()[0]
    return " ".join(str(part) for part in (status, code, first_line) if part)
