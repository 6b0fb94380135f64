"""Our requests to Table Storage beside azure-data-tables: each reads what the other wrote."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables import (
    AccountSasPermissions,
    EdmType,
    EntityProperty,
    ResourceTypes,
    generate_account_sas,
)

from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.storage.table_account import Tables
from shared.storage.tables import AzureTable, Operation, Row

KEY = "c|it's 100% päß+&=,()"
COLUMNS: dict[str, Any] = {
    "Text": 'päß 😀 "quoted" \\ \n',
    "Empty": "",
    "Blob": b"\0\xff",
    "Count": -(2**31),
    "No": False,
    "Share": 0.5,
    "At": datetime(2026, 11, 30, 20, 40, 18, 1, tzinfo=UTC),
    "Whole": datetime(2026, 11, 30, tzinfo=UTC),
}


@pytest.fixture
def table(two_azure_tables: tuple[AzureTable, AzureTable]) -> AzureTable:
    return two_azure_tables[0]


@pytest.mark.parametrize("kind", ["insert", "upsert"])
async def test_the_sdk_reads_what_we_write(table: AzureTable, kind: Any) -> None:
    (etag,) = await table.write([Operation(kind, Row("s001", KEY, COLUMNS))])
    entity = await table._client.get_entity("s001", KEY)
    assert dict(entity) == {"PartitionKey": "s001", "RowKey": KEY, **COLUMNS}
    assert entity.metadata["etag"] == etag


async def test_the_sdk_reads_what_a_transaction_writes(table: AzureTable) -> None:
    rows = [Row("s001", f"{KEY}{number}", COLUMNS) for number in range(3)]
    (first,) = await table.write([Operation("insert", rows[0])])
    etags = await table.write(
        [
            Operation("replace", Row("s001", rows[0].key, {"Text": "new"}, first)),
            Operation("insert", rows[1]),
            Operation("upsert", rows[2]),
        ]
    )
    entities = [await table._client.get_entity("s001", row.key) for row in rows]
    assert [entity.metadata["etag"] for entity in entities] == etags
    assert entities[0]["Text"] == "new"
    for entity in entities[1:]:
        assert {name: entity[name] for name in COLUMNS} == COLUMNS
    assert await table.write([Operation("delete", Row("s001", row.key)) for row in rows]) == [
        "",
        "",
        "",
    ]
    assert await table.get("s001", rows[0].key) is None


async def test_we_read_what_the_sdk_writes(table: AzureTable) -> None:
    id_ = uuid4()
    await table._client.upsert_entity(
        {
            "PartitionKey": "s001",
            "RowKey": KEY,
            **COLUMNS,
            "Guid": id_,
            "Long": EntityProperty(2**40, EdmType.INT64),
        }
    )
    row = await table.get("s001", KEY)
    assert row is not None
    assert row.columns == {**COLUMNS, "Guid": id_, "Long": str(2**40)}
    assert isinstance(row.columns["Guid"], UUID)
    selected = await table.get("s001", KEY, ["At", "Absent"])
    assert selected == Row("s001", KEY, {"At": COLUMNS["At"]}, row.etag)


async def test_a_time_of_another_zone_is_written_as_utc(table: AzureTable) -> None:
    local = datetime(2026, 11, 30, 22, tzinfo=timezone(timedelta(hours=2)))
    await table.write([Operation("upsert", Row("s001", "a", {"At": local}))])
    row = await table.get("s001", "a")
    assert row is not None
    assert row.columns["At"].isoformat() == "2026-11-30T20:00:00+00:00"


@pytest.mark.parametrize("value", [2**31, object(), ["list"]])
async def test_what_a_table_cannot_hold_is_an_error_and_nothing_is_sent(
    table: AzureTable, value: object
) -> None:
    with pytest.raises(TypeError, match="a table cannot hold"):
        await table.write([Operation("upsert", Row("s001", "a", {"X": value}))])
    assert await table.get("s001", "a") is None


async def test_a_shared_access_signature_is_enough(
    storage_connection_string: str, table: AzureTable
) -> None:
    parts = dict(part.split("=", 1) for part in storage_connection_string.split(";"))
    signature = generate_account_sas(
        AzureNamedKeyCredential(parts["AccountName"], parts["AccountKey"]),
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, update=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    connection = f"TableEndpoint={parts['TableEndpoint']};SharedAccessSignature={signature}"
    async with Tables(connection_string=connection) as tables:
        signed = tables.table(table._client.table_name)
        (etag,) = await signed.write([Operation("insert", Row("s001", KEY, COLUMNS))])
        assert await signed.get("s001", KEY, ["No"]) == Row("s001", KEY, {"No": False}, etag)
        with pytest.raises(ConflictError):
            await signed.write(
                [Operation("insert", Row("s001", "new")), Operation("insert", Row("s001", KEY))]
            )
        assert await signed.get("s001", "new") is None


class _Identity:
    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        return AccessToken("its token", 2**40)

    async def close(self) -> None:
        pass


class _Recording(AioHttpTransport):  # type: ignore[misc] # its module makes it when asked
    """Asks a server on this machine in place of the account."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(**options)
        self.url = url

    async def send(self, request: Any, **options: Any) -> Any:
        asked = request.url
        request.url = asked.replace("https://account.example", self.url)
        try:
            return await super().send(request, **options)
        finally:
            request.url = asked


@pytest.fixture
async def answers() -> AsyncIterator[tuple[str, list[web.Response], list[str]]]:
    """A server that answers with these in order, and the Authorization headers that came."""
    left: list[web.Response] = []
    came: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        came.append(request.headers["Authorization"])
        return left.pop(0)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", left, came
    await runner.cleanup()


@pytest.fixture
async def with_identity(
    answers: tuple[str, list[web.Response], list[str]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AzureTable]:
    identity: Any = _Identity()
    transport = partial(_Recording, answers[0])
    monkeypatch.setattr("shared.storage.table_account.AioHttpTransport", transport)
    async with Tables(endpoint="https://account.example", identity=identity) as tables:
        yield tables.table("any")


async def test_an_identitys_token_goes_along(
    with_identity: AzureTable, answers: tuple[str, list[web.Response], list[str]]
) -> None:
    _, left, came = answers
    entity = {"PartitionKey": "s001", "RowKey": "a", "odata.etag": 'W/"1"'}
    left += [web.json_response(entity), web.Response(status=204, headers={"ETag": 'W/"2"'})]
    row = await with_identity.get("s001", "a")
    assert row == Row("s001", "a", {}, 'W/"1"')
    assert await with_identity.write([Operation("replace", row)]) == ['W/"2"']
    assert came == ["Bearer its token"] * 2


async def test_a_busy_service_is_asked_again(
    with_identity: AzureTable, answers: tuple[str, list[web.Response], list[str]]
) -> None:
    _, left, came = answers
    left += [web.Response(status=503), web.Response(status=204, headers={"ETag": 'W/"2"'})]
    assert await with_identity.write([Operation("replace", Row("s001", "a", {}, 'W/"1"'))]) == [
        'W/"2"'
    ]
    assert len(came) == 2


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome to the guest network</html>",
        "[]",
        json.dumps({"PartitionKey": "s001", "RowKey": "a"}),
        json.dumps({"PartitionKey": "s001", "odata.etag": "1"}),
        json.dumps(
            {"PartitionKey": "s001", "RowKey": "a", "odata.etag": "1"}
            | {"B": "?", "B@odata.type": "Edm.Binary"}
            | {"T": "soon", "T@odata.type": "Edm.DateTime"}
        ),
    ],
)
async def test_an_answer_that_is_no_row_means_unavailable(
    with_identity: AzureTable, answers: tuple[str, list[web.Response], list[str]], body: str
) -> None:
    answers[1].append(web.Response(text=body))
    with pytest.raises(StorageUnavailableError):
        await with_identity.get("s001", "a")


async def test_a_transactions_answer_without_all_its_parts_means_unavailable(
    with_identity: AzureTable, answers: tuple[str, list[web.Response], list[str]]
) -> None:
    part = '--c\r\nA: b\r\n\r\nHTTP/1.1 204 No Content\r\nETag: W/"1"\r\n\r\n\r\n'
    answers[1].append(web.Response(status=202, text=part))
    with pytest.raises(StorageUnavailableError):
        await with_identity.write([Operation("insert", Row("s001", "a"))] * 2)
