"""The asynchronous client of the Bot Framework's connector API: it sends to channels.

It replaces the SDK's ConnectorClient. The SDK runs requests in a small thread pool, with one TLS
session per turn (docs/decisions.md has the figures). Here one HTTP session serves all service URLs.
"""

import asyncio
import json
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)
from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry.trace import SpanKind
from yarl import URL

from shared.connector.answers import LONGEST_DETAIL, TooLargeError, read_bounded, words
from shared.connector.credentials import BlockingCredentials, TokenSource
from shared.connector.hosts import PUBLIC_HOSTS, KnownHosts, is_loopback
from shared.telemetry import tracer

_T = TypeVar("_T")


class ConnectorError(Exception):
    """A request to a channel failed, or could not be made safely and was not made.

    Attributes:
        status: the HTTP status, or None if there was no answer (connection, timeout, bad address).
        code: the channel's own error code ("error.code" of its answer), if it gave one.
        retry_after_seconds: how long the channel asks us to wait, if it says so.
        connection_failed: no connection could be opened, or it broke before an answer. Another
            attempt may succeed, and the request may have arrived. False if the channel's
            certificate is bad, or if time ran out after sending.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_seconds: float | None = None,
        connection_failed: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.connection_failed = connection_failed


class Connector:
    """The HTTP session and the token behind every `ConnectorClient`; one per process.

    Nothing is retried here: the caller decides whether a message may be sent twice
    (`shared.connector.retry` for replies, the sweep for notices).

    The event loop that it is made on owns its connections, or else the loop of the first request.
    Requests of other loops, as of bot code that calls `asyncio.run` in a thread, are carried over.

    Args:
        tokens: the source of the bearer token; without an app id no token is sent.
        total_timeout_seconds: for a whole request, the wait for a free connection included.
        connect_timeout_seconds: for opening one connection.
        connection_limit: connections open at once; further requests wait. Half of them may be to
            one host, so that one that hangs leaves room for the others.
        hosts: who may have the token; None: the public cloud's channels and this machine.
        ssl_context: which certificates to trust; None: those that the system trusts.
    """

    def __init__(
        self,
        tokens: TokenSource,
        *,
        total_timeout_seconds: float = 10,
        connect_timeout_seconds: float = 5,
        connection_limit: int = 320,  # more than notices under way: replies need some too
        ssl_context: ssl.SSLContext | None = None,
        hosts: KnownHosts | None = None,
    ) -> None:
        self._tokens = tokens
        self._hosts = hosts or KnownHosts(PUBLIC_HOSTS, loopback=True)
        self._timeout = ClientTimeout(
            total=total_timeout_seconds,
            sock_connect=connect_timeout_seconds,
            # Otherwise time-outs of one second end together, and their clean-up stalls the loop.
            ceil_threshold=math.inf,
        )
        self._connection_limit = connection_limit
        self._ssl = ssl_context or True
        self._session: ClientSession | None = None
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    @property
    def has_identity(self) -> bool:
        """Whether requests carry a token."""
        return self._tokens.has_identity

    @property
    def credentials(self) -> BlockingCredentials:
        """For clients of the SDK that send by themselves, to the same hosts only."""
        return BlockingCredentials(self._tokens, self._hosts)

    async def close(self) -> None:
        """Close all connections. The connector must not be used afterwards."""
        await self._tokens.close()
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        service_url: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        is_anonymous: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one request and read its answer.

        Args:
            method: the HTTP method.
            service_url: the channel's address, with or without a slash at its end.
            path: below the service URL, already percent-encoded.
            body: sent as JSON.
            is_anonymous: whether nobody vouches for the service URL; it gets no token.
            headers: further ones. None of them takes the place of the token.

        Returns:
            The JSON of a 2xx answer, or None if it was not JSON, or above a MiB.

        Raises:
            ConnectorError: the channel refused, or did not answer.
            CredentialError: there is no token to send.
        """
        with tracer.start_as_current_span(
            "send",
            kind=SpanKind.CLIENT,
            attributes={"http.request.method": method},
        ) as span:
            request = self._request(
                method, service_url, path, body, is_anonymous=is_anonymous, further=headers or {}
            )
            try:
                return await self._on_own_loop(request)
            except ConnectorError as error:
                span.set_attribute("http.response.status_code", error.status or 0)
                raise

    async def _on_own_loop(self, work: Awaitable[_T]) -> _T:
        here = asyncio.get_running_loop()
        self._loop = self._loop or here
        if here is self._loop:
            return await work

        async def carried_over() -> _T:
            return await work

        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(carried_over(), self._loop)
        )

    async def _request(
        self,
        method: str,
        service_url: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        is_anonymous: bool,
        further: Mapping[str, str],
    ) -> Any:
        url, headers, token = await self._prepared(
            method, service_url, path, is_anonymous=is_anonymous, further=further
        )
        data = None if body is None else json.dumps(body).encode()
        async with self._answer(method, url, headers, data) as response:
            try:
                content = await read_bounded(response)
            except (ClientPayloadError, TooLargeError):
                content = b""  # the status has arrived, and it decides
        answer = _json(content)
        if not 200 <= response.status < 300:  # noqa: PLR2004 - the successes of HTTP
            raise _refusal(method, response.status, response.headers, answer, token)
        return answer

    @asynccontextmanager
    async def _answer(
        self, method: str, url: URL, headers: CIMultiDict[str], data: bytes | None = None
    ) -> AsyncIterator[ClientResponse]:
        """Send one request; what fails until its answer is read is a ConnectorError."""
        try:
            async with self._opened().request(
                method,
                url,
                data=data,
                headers=headers,
                proxy=_proxy(url.scheme, url.host or ""),
                allow_redirects=False,  # a redirect would carry the token to another host
            ) as response:
                yield response
        except TimeoutError as error:
            raise ConnectorError(
                f"{method}: no answer from {url.host} within {self._timeout.total} seconds",
                connection_failed=isinstance(error, ConnectionTimeoutError),
            ) from error
        except (ClientError, OSError, ValueError) as error:
            raise ConnectorError(
                f"{method}: no answer from {url.host}: {type(error).__name__}",
                connection_failed=isinstance(error, ClientConnectionError | OSError)
                and not isinstance(error, ClientSSLError),
            ) from error

    async def _prepared(
        self,
        method: str,
        service_url: str,
        path: str,
        *,
        is_anonymous: bool,
        further: Mapping[str, str],
    ) -> tuple[URL, CIMultiDict[str], str | None]:
        """Address, headers and token of a request; refused if a token would go to a stranger."""
        shows_token = self._tokens.has_identity and not is_anonymous
        url = _url(service_url, path, secure=shows_token)
        headers = CIMultiDict(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # a small answer might unpack to a large one
                "Content-Type": "application/json; charset=utf-8",
            }
        )
        headers.update(further)
        if shows_token and not self._hosts.has(url.host or ""):
            raise ConnectorError(
                f"{method}: {url.host!a} is no channel's host (AllowedServiceHosts): the bot's"
                " token stays here"
            )
        token = await self._tokens.token() if shows_token else None
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return url, headers, token

    def _opened(self) -> ClientSession:
        if self._session is None:
            # Here, not in the constructor: a session belongs to the loop it is made on.
            self._session = ClientSession(
                connector=TCPConnector(
                    limit=self._connection_limit,
                    limit_per_host=max(1, self._connection_limit // 2),
                    keepalive_timeout=60,
                    ssl=self._ssl,
                ),
                auto_decompress=False,
                timeout=self._timeout,
                cookie_jar=DummyCookieJar(),  # one conversation's cookies are not another's
            )
        return self._session

    async def download(
        self,
        service_url: str,
        path: str,
        *,
        is_anonymous: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[bytes]:
        """The body of an answer, in chunks as they come.

        Raises:
            ConnectorError: the channel refused, or did not answer.
            CredentialError: there is no token to send.
        """
        chunks = self._chunks(service_url, path, is_anonymous=is_anonymous, further=headers or {})
        try:
            while chunk := await self._on_own_loop(anext(chunks, b"")):
                yield chunk
        finally:
            await self._on_own_loop(chunks.aclose())

    async def _chunks(
        self, service_url: str, path: str, *, is_anonymous: bool, further: Mapping[str, str]
    ) -> AsyncGenerator[bytes]:
        url, headers, token = await self._prepared(
            "GET", service_url, path, is_anonymous=is_anonymous, further=further
        )
        async with self._answer("GET", url, headers) as response:
            if response.status != HTTPStatus.OK:
                answer = _json(await read_bounded(response))
                raise _refusal("GET", response.status, response.headers, answer, token)
            async for chunk in response.content.iter_any():
                yield chunk


def _url(service_url: str, path: str, *, secure: bool) -> URL:
    """The address of a request; refused if it is no web address or would leak a token."""
    route, _, query = path.partition("?")
    try:
        base = URL(service_url or "")
        host = base.host or ""
        url = URL.build(
            scheme=base.scheme,
            authority=base.raw_authority,
            path=f"{base.raw_path.rstrip('/')}/{route}",
            query_string=query,
            encoded=True,
        )
    except ValueError as error:
        raise ConnectorError("the service URL cannot be read") from error
    extras = base.user or base.password or base.query_string or base.fragment
    if base.scheme not in {"http", "https"} or not host or extras:
        raise ConnectorError("the service URL is not a plain http or https address")
    if secure and base.scheme == "http" and not is_loopback(host):
        raise ConnectorError("the service URL is not https: the bot's token stays here")
    return url


@lru_cache(maxsize=256)
def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment asks for.

    aiohttp's own trust_env would also read ~/.netrc for every request, in the default thread pool.
    If it found a password there beside our token, every request would fail.
    """
    return None if proxy_bypass(host) else getproxies().get(scheme)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _refusal(
    method: str, status: int, headers: CIMultiDictProxy[str], answer: Any, token: str | None
) -> ConnectorError:
    """The error of an answer that is no success, whatever its body."""
    details = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(details, dict):
        details = {}
    code = words(details.get("code"))[:LONGEST_DETAIL] or None
    text = f"{code or ''} {words(details.get('message'))}"
    if token:
        text = text.replace(token, "***")
    return ConnectorError(
        f"{method}: {status} {text.strip()[:LONGEST_DETAIL]!a}",
        status=status,
        code=code,
        retry_after_seconds=_retry_after_seconds(headers.get("Retry-After", "")),
    )


def _retry_after_seconds(value: str) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
