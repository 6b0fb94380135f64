"""Queue triggers of the local host. A connection string in the settings names the queue.

As on the real host, messages are tried again and then become poison.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from azure.functions.queue import QueueMessage

from scripts import local_app
from scripts.local_app import HostedFunction, InvocationError
from shared.domain.errors import StorageUnavailableError
from shared.expiry.fan_out import Queue, poison_name

logger = logging.getLogger(__name__)

POLL_SECONDS = 1
HIDDEN_SECONDS = 600  # while a function works on a message; as the real host, which renews it

Invoke = Callable[[HostedFunction, object], Awaitable[object]]


class QueueListener:
    """Runs one function for each message of its queue.

    Args:
        function: the function.
        settings: extensions.queues of host.json.

    Raises:
        SystemExit: a setting that the trigger names is missing.
    """

    def __init__(self, function: HostedFunction, settings: Mapping[str, Any]) -> None:
        setting = function.trigger["connection"]
        self.connection = os.environ.get(setting) or sys.exit(
            f"{function.name}: the setting {setting}, its connection string, is missing."
        )
        self.queue_name = local_app.filled_in(function, "queueName")
        self.function = function
        self.batch_size = settings.get("batchSize", 16)
        self.max_dequeue_count = settings.get("maxDequeueCount", 5)
        visibility_timeout = settings.get("visibilityTimeout", "00:00:00")
        self.retry_seconds = int(local_app.to_seconds(visibility_timeout) or 0)

    async def run(self, invoke: Invoke, stopping: asyncio.Event) -> None:
        """Serves the queue, batchSize messages at once, until the stop."""
        # Imported here, so that apps without queues do not wait for it.
        from shared.storage.queues import Queues  # noqa: PLC0415

        async with Queues(connection_string=self.connection) as queues:
            queue = queues.queue(self.queue_name)
            poison = queues.queue(poison_name(self.queue_name))

            async def work() -> None:
                while not stopping.is_set():
                    try:
                        idle = not await self._serve_one(invoke, queue, poison)
                    except StorageUnavailableError as error:
                        logger.warning("%s: %s", self.queue_name, error)
                        idle = True
                    if idle:
                        with suppress(TimeoutError):
                            await asyncio.wait_for(stopping.wait(), POLL_SECONDS)

            await asyncio.gather(*(work() for _ in range(self.batch_size)))

    async def _serve_one(self, invoke: Invoke, queue: Queue, poison: Queue) -> bool:
        """Runs the function for a message; says whether there was one."""
        message = await queue.receive(HIDDEN_SECONDS)
        if message is None:
            return False
        as_given = QueueMessage(
            id=message.id, body=message.text, dequeue_count=message.dequeue_count
        )
        try:
            await invoke(self.function, as_given)
        except InvocationError:
            if message.dequeue_count < self.max_dequeue_count:
                await queue.hide(message, self.retry_seconds)
                return True
            logger.warning("%s: message %s is poison", self.function.name, message.id)
            await poison.put(message.text)
        await queue.delete(message)
        return True
