"""A proxy of the kind companies have: HTTPS goes through it with CONNECT."""

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class ConnectProxy:
    """Takes every host that is asked for to one address, and notes what was asked.

    Args:
        target_url: where all connections go.

    Attributes:
        asked: "host:port", in order.
    """

    def __init__(self, target_url: str) -> None:
        self._target = urlsplit(target_url)
        self.asked: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, where, _ = (await reader.readline()).decode().split()
        assert method == "CONNECT"
        self.asked.append(where)
        while await reader.readline() not in (b"\r\n", b""):
            pass
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()
    with suppress(ConnectionError):
        await sink.wait_closed()
