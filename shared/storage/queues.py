"""Queue Storage: `shared.expiry.fan_out.Queue` on the azure-storage-queue SDK.

Messages are base64, as the Functions host expects them ("messageEncoding" in host.json).
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.request import getproxies

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient
from typing_extensions import override

from shared.domain.errors import StorageUnavailableError
from shared.expiry.fan_out import Message, Queue
from shared.settings.storage import StorageSettings
from shared.storage.account import StorageAccount, code_of, reason

_MOST_AT_ONCE = 32  # the service's limit

# Source of the codes: learn.microsoft.com, "Queue Storage error codes". All codes but those named
# below mean that the queue is unavailable; a queue that is being deleted is also a 409.
_QUEUE_MISSING = "QueueNotFound"


class AzureQueue(Queue):
    """A `Queue` on the azure-storage-queue SDK."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client

    @override
    async def put(self, text: str, *, after_seconds: int = 0) -> None:
        content = b64encode(text.encode()).decode()
        options = {"visibility_timeout": after_seconds} if after_seconds else {}
        with _errors_translated():
            try:
                await self._client.send_message(content, **options)
            except HttpResponseError as error:
                if code_of(error) != _QUEUE_MISSING:
                    raise
                await self._create()
                await self._client.send_message(content, **options)

    async def _create(self) -> None:
        try:
            await self._client.create_queue()
        except HttpResponseError as error:
            if code_of(error) != "QueueAlreadyExists":  # another put was first
                raise

    @override
    async def receive(self, hidden_seconds: int) -> Message | None:
        with _errors_translated():
            try:
                message = await self._client.receive_message(visibility_timeout=hidden_seconds)
            except HttpResponseError as error:
                if code_of(error) != _QUEUE_MISSING:
                    raise
                return None
        return _message(message) if message else None

    @override
    async def hide(self, message: Message, seconds: int) -> None:
        with _errors_translated():
            await self._client.update_message(
                message.id, message.receipt, visibility_timeout=seconds
            )

    @override
    async def delete(self, message: Message) -> None:
        with _errors_translated():
            try:
                await self._client.delete_message(message.id, message.receipt)
            except HttpResponseError as error:
                if code_of(error) not in ("MessageNotFound", "PopReceiptMismatch"):
                    raise

    @override
    async def peek(self) -> Sequence[Message]:
        with _errors_translated():
            try:
                messages = await self._client.peek_messages(max_messages=_MOST_AT_ONCE)
            except HttpResponseError as error:
                if code_of(error) != _QUEUE_MISSING:
                    raise
                return []
        return [_message(message) for message in messages]

    @override
    async def count(self) -> int:
        with _errors_translated():
            try:
                properties = await self._client.get_queue_properties()
            except HttpResponseError as error:
                if code_of(error) != _QUEUE_MISSING:
                    raise
                return 0
        return properties.approximate_message_count or 0


class Queues(StorageAccount):
    """The queues of one storage account, over one client; an async context manager."""

    CLIENT = QueueServiceClient
    OPTIONS: ClassVar[dict[str, Any]] = {
        # By default the SDK waits 15 s before it tries again, and 60 s for an answer.
        "connection_timeout": 3,
        "read_timeout": 10,
        "retry_total": 2,
        "initial_backoff": 1,
        "increment_base": 1,
        "random_jitter_range": 1,
        "use_env_settings": bool(getproxies()),
        # By default the SDK asks for the newest version, which Azurite does not know yet.
        "api_version": "2023-11-03",
    }

    @staticmethod
    def endpoint_in(settings: StorageSettings) -> str:
        """The address of the queue service."""
        return settings.queue_endpoint

    def queue(self, name: str) -> AzureQueue:
        """The queue of that name, which may not exist yet."""
        return AzureQueue(self._client.get_queue_client(name))


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except AzureError as error:
        raise StorageUnavailableError(reason(error)) from error


def _message(message: QueueMessage) -> Message:
    return Message(
        id=message.id,
        text=_decoded(message.content),
        dequeue_count=message.dequeue_count or 0,
        receipt=message.pop_receipt or "",
    )


def _decoded(content: str) -> str:
    """The text. If it is not base64, another program wrote it, and it is shown as it is."""
    try:
        return b64decode(content, validate=True).decode()
    except ValueError:
        return content
