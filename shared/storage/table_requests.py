"""Requests to Table Storage as bytes, and its answers as rows.

They are those of azure-data-tables. That writes and reads them by generated code, which takes three
times as long as the request itself. Source: learn.microsoft.com, "Table service REST API".
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID, uuid4

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

if TYPE_CHECKING:
    from azure.core.rest import AsyncHttpResponse

    from shared.storage.tables import Operation, Row

VERSION = "2019-02-02"
_JSON, _WITH_TYPES = "application/json", "application/json;odata=minimalmetadata"
_HEADERS = {
    "x-ms-version": VERSION,
    "DataServiceVersion": "3.0",
    "Accept": _WITH_TYPES,
    "User-Agent": "azsdk-python-data-tables",
}
_TYPE, _OF_SERVICE = "@odata.type", "odata."
# What aiohttp does not quote: a signature is of what is sent.
_UNQUOTED = "!$&'()*,:;=@"
_LEAST_INT, _MOST_INT = -(2**31), 2**31 - 1


class TableAddress:
    """Where a table is.

    Args:
        service_url: of the table service; its query is a shared access signature.
        name: of the table.
    """

    def __init__(self, service_url: str, name: str) -> None:
        base, mark, query = service_url.partition("?")
        self._base, self._query = base.rstrip("/"), mark + query
        self._name = name

    def batch(self) -> str:
        """Where transactions go."""
        return f"{self._base}/$batch{self._query}"

    def table(self) -> str:
        """Where new rows go."""
        return f"{self._base}/{self._name}{self._query}"

    def row(self, partition: str, key: str, select: Sequence[str] = ()) -> str:
        """Where one row is; with `select`, those columns of it."""
        url = f"{self._base}/{self._name}(PartitionKey={_quoted(partition)},RowKey={_quoted(key)})"
        if not select:
            return url + self._query
        return f"{url}{self._query or '?'}{'&' if self._query else ''}$select={','.join(select)}"


def get_request(address: TableAddress, partition: str, key: str, select: Sequence[str]) -> Any:
    """Read a row."""
    # The keys come only if they are selected too.
    names = ("PartitionKey", "RowKey", *select) if select else ()
    return HttpRequest("GET", address.row(partition, key, names), headers=_HEADERS)


def write_request(address: TableAddress, operation: "Operation") -> Any:
    """Write one row."""
    method, url, headers, body = _step(address, operation)
    if body is not None:
        headers["Content-Type"] = _JSON
    return HttpRequest(method, url, headers=_HEADERS | headers, content=body)


def transaction_request(address: TableAddress, operations: Sequence["Operation"]) -> Any:
    """Write rows of one partition, all or none."""
    batch, changes = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    lines = [f"--{batch}", f"Content-Type: multipart/mixed; boundary={changes}", ""]
    for number, operation in enumerate(operations):
        method, url, headers, body = _step(address, operation)
        if body is not None:
            headers |= {"Content-Type": _JSON, "Content-Length": str(len(body))}
        headers |= {"x-ms-version": VERSION, "DataServiceVersion": "3.0", "Accept": _WITH_TYPES}
        lines += [
            f"--{changes}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
            f"{method} {url} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
            "",
            (body or b"").decode(),
        ]
    lines += [f"--{changes}--", "", f"--{batch}--", ""]
    headers = {"Content-Type": f"multipart/mixed; boundary={batch}", "Accept": _JSON}
    content = "\r\n".join(lines).encode()
    return HttpRequest("POST", address.batch(), headers=_HEADERS | headers, content=content)


def row_in(answer: "AsyncHttpResponse") -> tuple[str, str, dict[str, Any], str]:
    """The keys of the row that was read, its columns, and its ETag.

    Raises:
        HttpResponseError: there is none.
    """
    if answer.status_code != HTTPStatus.OK:
        raise refusal(answer)
    try:
        found: dict[str, Any] = json.loads(answer.content)
        columns = {
            name: _read(found.get(name + _TYPE), value)
            for name, value in found.items()
            if not (name.endswith(_TYPE) or name.startswith(_OF_SERVICE) or name == "Timestamp")
        }
        return columns.pop("PartitionKey"), columns.pop("RowKey"), columns, found["odata.etag"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise refusal(answer) from error  # some machine on the way has written it


def etag_in(answer: "AsyncHttpResponse") -> str:
    """The ETag of the row that was written; empty if it was deleted.

    Raises:
        HttpResponseError: it was not.
    """
    if not HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
        raise refusal(answer)
    return answer.headers.get("ETag") or ""


_PART = re.compile(rb"\r?\n\r?\nHTTP/1\.1 (\d{3})(.*?)\r?\n\r?\n", re.DOTALL)
_ETAG = re.compile(rb"^ETag: *(.+?)\r?$", re.IGNORECASE | re.MULTILINE)


def etags_in(answer: "AsyncHttpResponse", count: int) -> list[str]:
    """The ETags of the rows that a transaction of so many wrote; empty for a deleted one.

    Raises:
        HttpResponseError: it wrote none.
    """
    if answer.status_code != HTTPStatus.ACCEPTED:
        raise refusal(answer)
    etags = []
    for part in _PART.finditer(answer.content):
        status = int(part[1])
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise refusal(answer, status)  # the one part of its answer
        etag = _ETAG.search(part[2])
        etags.append(etag[1].decode() if etag else "")
    if len(etags) != count:
        raise refusal(answer)
    return etags


_CODE = re.compile(r'"code"\s*:\s*"(\w+)"|<(?:\w+:)?code>(\w+)<', re.IGNORECASE)
_MESSAGE = re.compile(
    r'"value"\s*:\s*"((?:[^"\\]|\\.)*)"|<(?:\w+:)?message[^>]*>([^<]*)', re.IGNORECASE
)


def refusal(answer: "AsyncHttpResponse", status: int | None = None) -> HttpResponseError:
    """The error in an answer, with the service's code and message; it may be JSON, XML, or neither.

    Args:
        answer: of the service.
        status: of the part of a transaction that failed; None: the answer's.
    """
    text = answer.content.decode(errors="replace")
    code, said = _CODE.search(text), _MESSAGE.search(text)
    words = (said[1] or said[2] or "").replace("\\n", "\n") if said else ""
    error = HttpResponseError(message=words or answer.reason or "", response=answer)
    error.error_code = (  # type: ignore[attr-defined] # as azure-data-tables sets it
        code[1] or code[2] if code else answer.headers.get("x-ms-error-code")
    )
    error.status_code = status or answer.status_code
    return error


def _step(
    address: TableAddress, operation: "Operation"
) -> tuple[str, str, dict[str, str], bytes | None]:
    """The method, the address, the headers of its own, and the body."""
    row = operation.row
    if operation.kind == "insert":
        return "POST", address.table(), {"Prefer": "return-no-content"}, _entity(row)
    url = address.row(row.partition, row.key)
    if operation.kind == "upsert":
        return "PUT", url, {}, _entity(row)
    if_match = {"If-Match": row.etag or "*"}
    if operation.kind == "delete":
        return "DELETE", url, if_match, None
    return "PATCH" if operation.kind == "merge" else "PUT", url, if_match, _entity(row)


def _quoted(key: str) -> str:
    doubled = key.replace("'", "''")
    return f"'{quote(doubled, safe=_UNQUOTED)}'"


def _entity(row: "Row") -> bytes:
    """A row as JSON.

    Raises:
        TypeError: a column is of a type that a table cannot hold.
    """
    entity: dict[str, Any] = {"PartitionKey": row.partition, "RowKey": row.key}
    for name, value in row.columns.items():
        kind, written = _written(value)
        if written is None:
            continue
        entity[name] = written
        if kind:
            entity[name + _TYPE] = kind
    return json.dumps(entity).encode()


def _written(value: Any) -> tuple[str, Any]:
    """The type to name (empty: JSON says it) and the value in JSON."""
    match value:
        case bytes():
            return "Edm.Binary", b64encode(value).decode()
        case datetime():
            utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return "Edm.DateTime", utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case bool() | None:
            return "", value
        case int() if _LEAST_INT <= value <= _MOST_INT:
            return "", int(value)
        case float():
            return "Edm.Double", value
        case str():
            return "", str(value)
    raise TypeError(f"a table cannot hold {type(value).__name__}")


def _read(kind: str | None, value: Any) -> Any:
    match kind:
        case "Edm.Binary":
            return b64decode(value)
        case "Edm.DateTime":
            return datetime.fromisoformat(value)
        case "Edm.Guid":
            return UUID(value)
        case "Edm.Double":
            return float(value)
    return value
