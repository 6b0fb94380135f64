"""What an error of storage means: its code says so, never its HTTP status alone.

The codes are those of learn.microsoft.com: "Table Storage error codes", "Queue Storage error codes"
and "Common REST API error codes". One of a 503 is enough, as the SDK waits for them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest

from shared.domain.errors import ConflictError, StateTooLargeError, StorageUnavailableError
from shared.storage.queues import Queues
from shared.storage.table_account import Tables
from shared.storage.tables import AzureTable, Operation, Row
from tests.storage_proxy import Refusal, StorageProxy

CONFLICTS = ["409 EntityAlreadyExists", "412 UpdateConditionNotSatisfied", "412 ConditionNotMet"]
MISSING = ["404 EntityNotFound", "404 ResourceNotFound"]
SIZES = [
    *("400 EntityTooLarge", "400 PropertyValueTooLarge"),
    *("413 RequestBodyTooLarge", "413 ContentLengthExceeded"),
]
COMMON = """
    409 AccountAlreadyExists, 409 AccountBeingCreated, 403 AccountIsDisabled,
    403 AuthenticationFailed, 403 AuthorizationFailure, 400 ConditionHeadersNotSupported,
    400 EmptyMetadataKey,
    403 InsufficientAccountPermissions, 400 InvalidAuthenticationInfo, 400 InvalidHeaderValue,
    400 InvalidHttpVerb, 400 InvalidInput, 400 InvalidMd5, 400 InvalidMetadata,
    400 InvalidQueryParameterValue, 416 InvalidRange, 400 InvalidResourceName, 400 InvalidUri,
    400 InvalidXmlDocument, 400 InvalidXmlNodeValue, 400 Md5Mismatch, 400 MetadataTooLarge,
    411 MissingContentLengthHeader, 400 MissingRequiredHeader, 400 MissingRequiredQueryParameter,
    400 MissingRequiredXmlNode, 400 MultipleConditionHeadersNotSupported,
    403 NoAuthenticationInformation, 400 OutOfRangeInput, 400 OutOfRangeQueryParameterValue,
    400 RequestUrlFailedToParse, 409 ResourceAlreadyExists, 409 ResourceTypeMismatch,
    400 UnsupportedHeader, 400 UnsupportedQueryParameter, 405 UnsupportedHttpVerb,
    400 UnsupportedXmlNode, 403 KeyVaultEncryptionKeyNotFound, 400 NoSuchCodeYet, 503 ServerBusy"""
OF_TABLES = """
    400 DuplicatePropertiesSpecified, 400 HostInformationNotPresent, 400 InvalidDuplicateRow,
    400 InvalidValueType, 415 JsonFormatNotSupported, 405 MethodNotAllowed, 400 PropertiesNeedValue,
    400 PropertyNameInvalid, 400 PropertyNameTooLong, 409 TableAlreadyExists, 409 TableBeingDeleted,
    404 TableNotFound, 400 TooManyProperties, 400 XMethodIncorrectCount, 400 XMethodIncorrectValue,
    400 XMethodNotUsingPost, 400, 403, 404, 409, 412, 413"""
OF_QUEUES = """
    400 InvalidMarker, 400 MessageTooLarge, 409 QueueBeingDeleted, 409 QueueDisabled,
    409 QueueNotEmpty, 400, 403, 404, 409"""


def split(text: str) -> list[str]:
    return [each.strip() for each in text.replace("\n", " ").split(",")]


def refusal(written: str) -> Refusal:
    status, _, code = written.partition(" ")
    return Refusal(int(status), code)


UNAVAILABLE = [*split(OF_TABLES), *split(COMMON)]
INSERT = Operation("insert", Row("s000", "a", {"X": 1}))
REPLACE = Operation("replace", Row("s000", "a", {"X": 1}, 'W/"1"'))
DELETE = Operation("delete", Row("s000", "a", {}, 'W/"1"'))
WRITES = [[INSERT], [REPLACE], [Operation("upsert", INSERT.row)], [INSERT, REPLACE]]


@pytest.fixture(scope="module")
async def proxy(storage_connection_string: str) -> AsyncIterator[StorageProxy]:
    async with StorageProxy(storage_connection_string) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def tables(proxy: StorageProxy) -> AsyncIterator[Tables]:
    async with Tables(connection_string=proxy.connection_string) as tables:
        yield tables


@pytest.fixture
def table(tables: Tables) -> AzureTable:
    return tables.table("any")


async def read(table: AzureTable) -> list[list[Row]]:
    return [page async for page in table.query("s000", "a", "b")]


@pytest.mark.parametrize("written", UNAVAILABLE)
async def test_tables_that_answer_anything_else_are_unavailable(
    proxy: StorageProxy, tables: Tables, table: AzureTable, written: str
) -> None:
    proxy.refusal = refusal(written)
    requests: list[Callable[[], Awaitable[object]]] = [
        lambda: table.get("s000", "a"),
        lambda: table.write([INSERT]),
    ]
    if not written.startswith("5"):  # the SDK waits between its attempts
        requests += [
            lambda: read(table),
            lambda: table.write([REPLACE]),
            lambda: table.write([DELETE]),
            lambda: table.write([INSERT, REPLACE]),
        ]
    for request in requests:
        with pytest.raises(StorageUnavailableError):
            await request()
    if "AlreadyExists" not in written and not written.startswith("5"):
        with pytest.raises(StorageUnavailableError):
            await tables.create("any")


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("written", [*CONFLICTS, *MISSING])
async def test_a_write_may_find_another_version_or_none(
    proxy: StorageProxy, table: AzureTable, written: str, write: list[Operation]
) -> None:
    proxy.refusal = refusal(written)
    with pytest.raises(ConflictError):
        await table.write(write)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("written", SIZES)
async def test_a_write_may_be_too_large(
    proxy: StorageProxy, table: AzureTable, written: str, write: list[Operation]
) -> None:
    proxy.refusal = refusal(written)
    with pytest.raises(StateTooLargeError):
        await table.write(write)


@pytest.mark.parametrize("written", [*CONFLICTS, *SIZES])
async def test_no_read_conflicts_or_is_too_large(
    proxy: StorageProxy, table: AzureTable, written: str
) -> None:
    proxy.refusal = refusal(written)
    for request in (table.get("s000", "a"), read(table)):
        with pytest.raises(StorageUnavailableError):
            await request


@pytest.mark.parametrize("written", MISSING)
async def test_a_row_may_be_missing(proxy: StorageProxy, table: AzureTable, written: str) -> None:
    proxy.refusal = refusal(written)
    assert await table.get("s000", "a") is None
    assert await table.write([DELETE]) == [""]


@pytest.mark.parametrize("written", [*split(OF_QUEUES), *split(COMMON)[:-1]])
async def test_a_queue_that_answers_anything_else_is_unavailable(
    storage_connection_string: str, written: str
) -> None:
    async with (
        StorageProxy(storage_connection_string, "queue") as proxy,
        Queues(connection_string=proxy.connection_string) as queues,
    ):
        queue = queues.queue(f"q{uuid4().hex}")
        await queue.put("one")
        message = await queue.receive(1)
        assert message
        proxy.refusal = refusal(written)
        for request in (
            queue.put("two"),
            queue.receive(1),
            queue.delete(message),
            queue.peek(),
            queue.count(),
        ):
            with pytest.raises(StorageUnavailableError):
                await request
        proxy.refusal = None
        assert await queue.count() == 1
