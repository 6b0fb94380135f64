"""Queue triggers. As on the real host, messages are tried again and then become poison."""

import asyncio
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from scripts.local_host.functions import HostedFunction, filled_in, setting, to_seconds
from scripts.local_host.workers import InvocationError

if TYPE_CHECKING:
    from azure.storage.queue import QueueMessage
    from azure.storage.queue.aio import QueueClient

logger = logging.getLogger(__name__)

POLL_SECONDS = 1
HIDDEN_SECONDS = 600  # while a function works on a message; as the real host, which renews it
# As of the app's own clients: the newest version is one that Azurite does not know yet.
_OPTIONS: dict[str, Any] = {"api_version": "2023-11-03", "retry_total": 0}

# Runs a function for a message: its text, and what else there is to know about it.
Run = Callable[[HostedFunction, dict[str, Any], bytes], Awaitable[object]]


class QueueListener:
    """Runs one function for each message of its queue.

    Args:
        function: the function.
        settings: extensions.queues of host.json.

    Raises:
        FunctionError: a setting that the trigger names is missing.
    """

    def __init__(self, function: HostedFunction, settings: Mapping[str, Any]) -> None:
        self.connection = setting(function.trigger["connection"], "connection string")
        self.queue_name = filled_in(function, "queueName")
        self.function = function
        self.batch_size = int(settings.get("batchSize", 16))
        self.max_dequeue_count = int(settings.get("maxDequeueCount", 5))
        self.is_base64 = settings.get("messageEncoding", "base64") != "none"
        self.retry_seconds = int(to_seconds(settings.get("visibilityTimeout", "00:00:00")) or 0)

    async def run(self, run: Run, stopping: asyncio.Event) -> None:
        """Serves the queue, batchSize messages at once, until the stop."""
        # Imported here, so that apps without queues do not wait for it.
        from azure.storage.queue.aio import QueueClient  # noqa: PLC0415

        def client(name: str) -> QueueClient:
            return QueueClient.from_connection_string(self.connection, name, **_OPTIONS)

        async with client(self.queue_name) as queue, client(f"{self.queue_name}-poison") as poison:
            slots = asyncio.Semaphore(self.batch_size)

            async def serve(message: "QueueMessage") -> None:
                try:
                    await self._serve(message, run, queue, poison)
                except AzureError as error:
                    self._warn(error)
                finally:
                    slots.release()

            async with asyncio.TaskGroup() as serving:
                while not stopping.is_set():
                    await slots.acquire()
                    message = await self._next(queue)
                    if message:
                        serving.create_task(serve(message))
                        continue
                    slots.release()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stopping.wait(), POLL_SECONDS)

    def _warn(self, error: AzureError) -> None:
        logger.warning("%s: %s", self.queue_name, error.message.splitlines()[0])

    async def _next(self, queue: "QueueClient") -> "QueueMessage | None":
        try:
            return await queue.receive_message(visibility_timeout=HIDDEN_SECONDS)
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            self._warn(error)
            return None

    async def _serve(
        self, message: "QueueMessage", run: Run, queue: "QueueClient", poison: "QueueClient"
    ) -> None:
        """Runs the function for a message."""
        try:
            text = self._decoded(message.content)
        except ValueError:
            await self._poison(message, queue, poison)
            return
        try:
            text.decode()  # the worker's binding takes text
            await run(self.function, _facts(message), text)
        except (InvocationError, UnicodeDecodeError):
            if (message.dequeue_count or 0) < self.max_dequeue_count:
                await queue.update_message(message, visibility_timeout=self.retry_seconds)
            else:
                await self._poison(message, queue, poison)
            return
        await queue.delete_message(message)

    def _decoded(self, content: str) -> bytes:
        return b64decode(content, validate=True) if self.is_base64 else content.encode()

    async def _poison(
        self, message: "QueueMessage", queue: "QueueClient", poison: "QueueClient"
    ) -> None:
        logger.warning("%s: message %s is poison", self.function.name, message.id)
        try:
            await poison.send_message(message.content)
        except ResourceNotFoundError:
            with suppress(HttpResponseError):  # another was first
                await poison.create_queue()
            await poison.send_message(message.content)
        await queue.delete_message(message)


def _facts(message: "QueueMessage") -> dict[str, Any]:
    """What the function learns about a message besides its text."""
    return {
        "id": message.id,
        "dequeue_count": message.dequeue_count,
        "insertion_time": _text(message.inserted_on),
        "expiration_time": _text(message.expires_on),
        "time_next_visible": _text(message.next_visible_on),
        "pop_receipt": message.pop_receipt,
    }


def _text(time: datetime | str | None) -> str | None:
    return time.isoformat() if isinstance(time, datetime) else time
