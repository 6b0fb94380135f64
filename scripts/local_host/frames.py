"""The messages between host and worker: a JSON object, and bytes beside it."""

import asyncio
import json
import struct
from typing import Any

_LENGTHS = struct.Struct(">IQ")  # of the JSON, of the bytes

Frame = tuple[dict[str, Any], bytes]


def write(writer: asyncio.StreamWriter, head: dict[str, Any], body: bytes = b"") -> None:
    """Writes one message."""
    text = json.dumps(head).encode()
    writer.write(_LENGTHS.pack(len(text), len(body)) + text + body)


async def read(reader: asyncio.StreamReader) -> Frame | None:
    """Reads one message; None means that the other side is gone."""
    try:
        text, body = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        return json.loads(await reader.readexactly(text)), await reader.readexactly(body)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
