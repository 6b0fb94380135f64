"""What every `Queue` does: the one on Azurite, and the one in memory that stands for it."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from azure.storage.queue.aio import QueueClient

from shared.domain.errors import StorageUnavailableError
from shared.expiry.fan_out import Queue
from shared.storage.queues import Queues
from tests.memory_queue import MemoryQueue
from tests.ports import free_port


@pytest.fixture
async def queues(storage_connection_string: str) -> AsyncIterator[Queues]:
    async with Queues(connection_string=storage_connection_string) as queues:
        yield queues


@pytest.fixture(params=["azurite", "memory"])
def queue(request: pytest.FixtureRequest) -> Queue:
    if request.param == "memory":
        return MemoryQueue()
    azure: Queues = request.getfixturevalue("queues")
    return azure.queue(f"q{uuid4().hex}")


async def test_the_short_form_of_azurites_connection_string_is_taken() -> None:
    async with Queues(connection_string="UseDevelopmentStorage=true") as queues:
        assert queues.queue("any")._client.url == "http://127.0.0.1:10001/devstoreaccount1/any"


def another_client(connection_string: str, name: str) -> QueueClient:
    return QueueClient.from_connection_string(connection_string, name, api_version="2023-11-03")


async def let_pass(queue: Queue, seconds: float) -> None:
    if isinstance(queue, MemoryQueue):
        queue.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def test_a_queue_that_was_never_written_is_empty(queue: Queue) -> None:
    assert await queue.receive(30) is None
    assert list(await queue.peek()) == []
    assert await queue.count() == 0


async def test_a_message_comes_back_as_it_was_put(queue: Queue) -> None:
    await queue.put('päß <&> 😀 {"a": 1}\n\x01')
    message = await queue.receive(30)
    assert message
    assert (message.text, message.dequeue_count) == ('päß <&> 😀 {"a": 1}\n\x01', 1)


async def test_a_received_message_is_hidden_but_counted_until_it_is_deleted(queue: Queue) -> None:
    await queue.put("one")
    message = await queue.receive(30)
    assert message
    assert await queue.receive(30) is None
    assert list(await queue.peek()) == []
    assert await queue.count() == 1
    await queue.delete(message)
    assert await queue.count() == 0


async def test_a_message_that_is_not_deleted_comes_again_and_counts_it(queue: Queue) -> None:
    await queue.put("one")
    assert await queue.receive(1)
    await let_pass(queue, 1.2)
    again = await queue.receive(30)
    assert again
    assert (again.text, again.dequeue_count) == ("one", 2)


async def test_a_message_can_be_given_back_at_once(queue: Queue) -> None:
    await queue.put("one")
    message = await queue.receive(30)
    assert message
    await queue.hide(message, 0)
    again = await queue.receive(30)
    assert again
    assert (again.text, again.dequeue_count) == ("one", 2)


async def test_a_message_can_be_put_for_later(queue: Queue) -> None:
    await queue.put("one", after_seconds=1)
    assert await queue.receive(30) is None
    assert await queue.count() == 1
    await let_pass(queue, 1.2)
    assert await queue.receive(30)


async def test_who_was_too_slow_cannot_delete_what_another_reader_has(queue: Queue) -> None:
    await queue.put("one")
    slow = await queue.receive(1)
    await let_pass(queue, 1.2)
    other = await queue.receive(30)
    assert slow
    assert other
    await queue.delete(slow)
    assert await queue.count() == 1
    await queue.delete(other)
    await queue.delete(other)
    assert await queue.count() == 0


async def test_peeking_shows_at_most_32_and_changes_nothing(queue: Queue) -> None:
    for number in range(33):
        await queue.put(str(number))
    assert len(await queue.peek()) == 32
    assert len(await queue.peek()) == 32
    assert await queue.count() == 33
    message = await queue.receive(30)
    assert message
    assert message.dequeue_count == 1


async def test_several_first_puts_at_once_all_arrive(queue: Queue) -> None:
    await asyncio.gather(*(queue.put(str(number)) for number in range(8)))
    assert sorted(message.text for message in await queue.peek()) == list("01234567")


async def test_messages_are_base64_on_the_wire_as_the_functions_host_reads_them(
    queues: Queues, storage_connection_string: str
) -> None:
    name = f"q{uuid4().hex}"
    await queues.queue(name).put("päß")
    async with another_client(storage_connection_string, name) as plain:
        message = await plain.receive_message()
        assert message
        assert message.content == b64encode("päß".encode()).decode()


async def test_what_is_not_base64_is_read_as_it_is(
    queues: Queues, storage_connection_string: str
) -> None:
    name = f"q{uuid4().hex}"
    async with another_client(storage_connection_string, name) as plain:
        await plain.create_queue()
        await plain.send_message("by hand!")
    (message,) = await queues.queue(name).peek()
    assert message.text == "by hand!"


async def test_a_service_that_is_not_there_is_unavailable() -> None:
    nowhere = (
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;"
        f"QueueEndpoint=http://127.0.0.1:{free_port()}/a"
    )
    async with Queues(connection_string=nowhere) as queues:
        with pytest.raises(StorageUnavailableError) as refusal:
            await queues.queue("q").count()
    assert "c2VjcmV0" not in str(refusal.value)
