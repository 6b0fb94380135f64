"""What a container does, on a Cosmos DB server and in memory."""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from aiohttp import ClientSession, TCPConnector, web

from shared.domain.errors import ConflictError, StateUnreadableError, StorageUnavailableError
from shared.storage.cosmos_account import CosmosDb
from shared.storage.cosmos_documents import Container, Document
from tests.conftest import cosmos_db, cosmos_settings
from tests.memory_container import MemoryContainer
from tests.ports import free_port


@pytest.fixture(params=["cosmos", "memory"])
def container(request: pytest.FixtureRequest) -> Container:
    if request.param == "memory":
        return MemoryContainer()
    found: Container = request.getfixturevalue("two_cosmos_containers")[0]
    return found


COLUMNS = {
    "text": "grüße 😀",
    "bytes": bytes(range(256)),
    "empty": b"",
    "time": datetime(2026, 11, 25, 12, 0, 0, 123_456, tzinfo=UTC),
    "number": 7,
    "truth": True,
    "nested": {"ann": {"State": b"hers", "Version": "v1"}, "bytes": {"bytes": "not bytes"}},
}


async def test_a_document_comes_back_as_it_was_written(container: Container) -> None:
    created = await container.create(Document("one|two", COLUMNS, ["ann", "bob"]))
    assert created.etag
    read = await container.read("one|two", created.token)
    assert read == replace(created, token="")
    replaced = await container.replace(replace(created, columns={"text": "other"}))
    assert replaced.etag != created.etag
    assert await container.read("one|two") == replace(replaced, token="")


async def test_a_document_that_is_not_there_is_none(container: Container) -> None:
    assert await container.read("nothing") is None
    await container.delete("nothing")
    with pytest.raises(ConflictError):
        await container.replace(Document("nothing", COLUMNS))


async def test_a_document_is_created_once(container: Container) -> None:
    results = await asyncio.gather(
        *(container.create(Document("one", {"n": n})) for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, ConflictError) for result in results) == 4


async def test_of_writers_at_one_version_exactly_one_wins(container: Container) -> None:
    created = await container.create(Document("one"))
    results = await asyncio.gather(
        *(container.replace(replace(created, columns={"n": n})) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, ConflictError) for result in results) == 4


async def test_without_an_etag_a_document_is_written_over_and_deleted_at_any_version(
    container: Container,
) -> None:
    await container.create(Document("one"))
    await container.replace(Document("one", {"n": 2}))
    await container.delete("one")
    assert await container.read("one") is None


async def test_a_document_is_deleted_at_its_version_only(container: Container) -> None:
    created = await container.create(Document("one"))
    replaced = await container.replace(created)
    with pytest.raises(ConflictError):
        await container.delete("one", created.etag)
    assert await container.read("one") is not None
    await container.delete("one", replaced.etag)
    await container.delete("one", replaced.etag)  # again: no error
    assert await container.read("one") is None


async def test_documents_about_a_user_are_found(container: Container) -> None:
    await container.create(Document("one", users=["ann", "bob"]))
    await container.create(Document("two", users=["bob"]))
    await container.create(Document("three"))
    assert [each async for each in container.about("ann")] == ["one"]
    assert sorted([each async for each in container.about("bob")]) == ["one", "two"]
    assert [each async for each in container.about("bob", timedelta(hours=1))] == []


# What only the real client can get wrong


async def test_a_damaged_document_is_an_error_that_names_it(cosmos_endpoint: str) -> None:
    async with cosmos_db(cosmos_settings(cosmos_endpoint)) as database:
        await database.ensure_containers()
        raw = database.conversations._client
        await raw.create_item({"id": "one", "columns": {"State": {"bytes": "not base64!"}}})
        with pytest.raises(StateUnreadableError, match="document one"):
            await database.conversations.read("one")


async def test_a_container_that_is_gone_is_unavailable_storage(cosmos_endpoint: str) -> None:
    async with cosmos_db(cosmos_settings(cosmos_endpoint)) as database:
        await database.ensure_containers()
        missing = database._client.get_database_client("nosuch").get_container_client("nosuch")
        lost = type(database.conversations)(missing)
        with pytest.raises(StorageUnavailableError):
            await lost.create(Document("one"))


async def test_no_answer_is_unavailable_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CosmosDb.OPTIONS, "retry_total", 0)
    async with cosmos_db(cosmos_settings("https://127.0.0.1:9/")) as database:
        with pytest.raises(StorageUnavailableError):
            await database.ensure_containers()


@asynccontextmanager
async def throttled(endpoint: str, refusals: float) -> AsyncIterator[tuple[str, list[float]]]:
    """The server behind one that answers so many requests for documents 429, to be tried in 10 ms.

    Yields its address, and when it answered so.
    """
    refused: list[float] = []
    port = free_port()

    async def answer(request: web.Request) -> web.Response:
        if "/docs" in request.path and len(refused) < refusals:
            refused.append(time.monotonic())
            return web.json_response({}, status=429, headers={"x-ms-retry-after-ms": "10"})
        async with (
            ClientSession(connector=TCPConnector(ssl=False)) as http,
            http.request(
                request.method,
                f"{endpoint.rstrip('/')}{request.rel_url}",
                headers={k: v for k, v in request.headers.items() if k.lower() != "host"},
                data=await request.read(),
            ) as real,
        ):
            body = (await real.text()).replace(endpoint.rsplit(":", 1)[1].strip("/"), str(port))
            kept = {k: v for k, v in real.headers.items() if k.lower().startswith(("x-ms", "etag"))}
            return web.Response(
                text=body, status=real.status, headers=kept, content_type="application/json"
            )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    try:
        yield f"https://127.0.0.1:{port}/", refused
    finally:
        await runner.cleanup()


async def test_a_throttled_request_is_tried_again_when_cosmos_db_says(cosmos_endpoint: str) -> None:
    async with (
        throttled(cosmos_endpoint, 3) as (endpoint, refused),
        cosmos_db(cosmos_settings(endpoint)) as database,
    ):
        await database.ensure_containers()
        await database.conversations.create(Document("one", COLUMNS))
        assert len(refused) == 3
        found = await database.conversations.read("one")
    assert found is not None
    assert found.columns == COLUMNS


async def test_what_is_throttled_again_and_again_is_unavailable_storage(
    cosmos_endpoint: str,
) -> None:
    async with (
        throttled(cosmos_endpoint, math.inf) as (endpoint, refused),
        cosmos_db(cosmos_settings(endpoint)) as database,
    ):
        await database.ensure_containers()
        with pytest.raises(StorageUnavailableError, match="429"):
            await database.conversations.create(Document("one", COLUMNS))
    assert len(refused) == 1 + CosmosDb.OPTIONS["retry_throttle_total"]
