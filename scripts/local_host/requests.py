"""A request as the real host hands it to a function: Kestrel's path, its query, its limits."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus, unquote_to_bytes

from aiohttp import web

MAX_BODY_BYTES = 100 * 1024 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024  # of all headers together
MAX_LINE_BYTES = 8 * 1024  # of the first line, with its end

_ESCAPES = re.compile("(?:%[0-9a-fA-F]{2})+")
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t -~]*")
_SLASH = re.compile("(%2f)", re.IGNORECASE)


class RefusedError(Exception):
    """The host answers a request itself.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def check(request: web.Request) -> None:
    """Checks what Kestrel checks before any function.

    Raises:
        RefusedError: the request breaks one of its limits.
    """
    line = f"{request.method} {request.raw_path} HTTP/1.1\r\n"
    if len(line) > MAX_LINE_BYTES:
        raise RefusedError(414)
    headers = request.raw_headers
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise RefusedError(431)
    if not request.raw_path.isascii():
        raise RefusedError(400)
    for _, value in headers:
        try:
            value.decode()
        except UnicodeDecodeError:
            raise RefusedError(400) from None


def path_of(request: web.Request) -> str:
    """The path, decoded once but for %2F, which stays as it was written; without dot segments.

    Raises:
        RefusedError: it holds a null character.
    """
    decoded = _ESCAPES.sub(_decode, request.rel_url.raw_path)
    if "\0" in decoded:
        raise RefusedError(400)
    segments: list[str] = []
    for segment in decoded.split("/"):
        if segment == "..":
            segments = segments[:1] + segments[1:-1]
        elif segment != ".":
            segments.append(segment)
    if decoded.endswith(("/.", "/..")):
        segments.append("")
    return "/".join(segments)


def _decode(escapes: re.Match[str]) -> str:
    parts = _SLASH.split(escapes[0])
    return "".join(part if _SLASH.fullmatch(part) else _decode_part(part) for part in parts)


def _decode_part(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        return part


def query_of(request: web.Request) -> dict[str, str]:
    """The query: names in any case are one, its values joined; empty values are left out."""
    names: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for pair in request.rel_url.raw_query_string.split("&"):
        name, _, value = pair.partition("=")
        if not value:
            continue
        name = unquote_plus(name)
        spelled = names.setdefault(name.lower(), name)
        values.setdefault(spelled, []).append(unquote_plus(value))
    return {name: ",".join(each) for name, each in values.items()}


def headers_of(request: web.Request) -> dict[str, str]:
    """The headers: names in lower case, the values of one name joined."""
    return {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers}


async def body_of(request: web.Request) -> bytes:
    """The body. One without Content-Length arrives empty.

    Source: azure-functions-host, issue 4926.

    Raises:
        RefusedError: it is too large.
    """
    if request.content_length is None:
        return b""
    if request.content_length > MAX_BODY_BYTES:
        raise RefusedError(500)
    return await request.read()


async def expect(request: web.Request) -> None:
    """Answers `Expect: 100-continue`, and passes over any other expectation."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def can_be_answered(headers: Mapping[str, str], size: int) -> bool:
    """Says whether an app's headers can be sent with a body of so many bytes."""
    well_formed = all(
        _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
        for name, value in headers.items()
    )
    return well_formed and headers.get("Content-Length", str(size)) == str(size)
