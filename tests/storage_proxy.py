"""A proxy before one service of a storage account, which answers with an error when told to."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from aiohttp import ClientSession, web
from yarl import URL

_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Refusal:
    """An error of the service; without a code, as some machine on the way answers."""

    status: int
    code: str = ""
    writes_only: bool = False

    def answer(self, service: str) -> web.Response:
        """The error as the table service writes it, or the queue service."""
        if not self.code:
            return web.Response(status=self.status, text="<html>Oops</html>")
        if service == "queue":
            body = (
                f'<?xml version="1.0"?><Error><Code>{self.code}</Code><Message>no</Message></Error>'
            )
            headers = {"x-ms-error-code": self.code}
            return web.Response(
                status=self.status, text=body, content_type="application/xml", headers=headers
            )
        message = {"lang": "en-US", "value": "said the service"}
        body_of_table = {"odata.error": {"code": self.code, "message": message}}
        return web.json_response(body_of_table, status=self.status)


class StorageProxy:
    """Passes all requests on, while `refusal` is None.

    Args:
        connection_string: of the account behind it.
        service: "table" or "queue".

    Attributes:
        connection_string: with this proxy in the service's place.
        refusal: what is answered instead.
        refused: how many requests were.
    """

    def __init__(self, connection_string: str, service: str = "table") -> None:
        self._service = service
        pattern = rf"({service.title()}Endpoint=http://)([^/;]+)"
        found = re.search(pattern, connection_string)
        assert found
        self._target = f"http://{found[2]}"
        self._before = (connection_string[: found.start(2)], connection_string[found.end(2) :])
        self.connection_string = ""
        self.refusal: Refusal | None = None
        self.refused = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # Transactions and names have escapes that must arrive as they were sent.
        self._http = ClientSession(auto_decompress=False, requote_redirect_url=False)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await self._site.start()
        port = self._runner.addresses[0][1]
        self.connection_string = f"{self._before[0]}127.0.0.1:{port}{self._before[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._http.close()

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        """Refuses connections for a while, and ends those that there are."""
        port = self._runner.addresses[0][1]
        await self._site.stop()
        assert self._runner.server
        for connection in self._runner.server.connections:
            connection.force_close()
        try:
            yield
        finally:
            self._site = web.TCPSite(self._runner, "127.0.0.1", port)
            await self._site.start()

    async def _handle(self, request: web.Request) -> web.Response:
        refusal = self.refusal
        if refusal and not (refusal.writes_only and request.method == "GET"):
            self.refused += 1
            return refusal.answer(self._service)
        async with self._http.request(
            request.method,
            URL(self._target + request.raw_path, encoded=True),
            data=await request.read() or None,
            skip_auto_headers=("Content-Type", "Accept-Encoding"),  # they would be signed
            headers={n: v for n, v in request.headers.items() if n.lower() not in _HOP_BY_HOP},
        ) as answer:
            headers = {n: v for n, v in answer.headers.items() if n.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)
