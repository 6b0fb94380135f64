"""The asynchronous client of the Bot Framework's connector API: it sends to channels.

It replaces the SDK's ConnectorClient. The SDK runs requests in a small thread pool, with one TLS
session per turn (docs/decisions.md has the figures). Here one HTTP session serves all service URLs.
"""

import asyncio
import json
import math
import ssl
from collections.abc import Coroutine
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientPayloadError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)
from botbuilder.schema import (
    Activity,
    ChannelAccount,
    ConversationParameters,
    ConversationResourceResponse,
    PagedMembersResult,
    ResourceResponse,
)
from msrest.serialization import Model
from multidict import CIMultiDictProxy
from opentelemetry.trace import SpanKind
from yarl import URL

from shared.connector.answers import TooLargeError, read_bounded
from shared.connector.credentials import TokenSource
from shared.connector.hosts import PUBLIC_HOSTS, KnownHosts, is_loopback
from shared.connector.outbound import wire_form
from shared.telemetry import tracer

_M = TypeVar("_M", bound=Model)

_LONGEST_DETAIL = 200


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

    def for_service_url(self, service_url: str, *, is_anonymous: bool = False) -> "ConnectorClient":
        """The client of one service URL: cheap, made anew for every turn or notice.

        If the service URL cannot be used, each operation raises a ConnectorError; this does not.

        Args:
            service_url: the channel's address.
            is_anonymous: whether nobody vouches for the address; it gets no token.
        """
        return ConnectorClient(self, service_url, is_anonymous=is_anonymous)

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
    ) -> Any:
        """Make one request and read its answer.

        Args:
            method: the HTTP method.
            service_url: the channel's address, with or without a slash at its end.
            path: below the service URL, already percent-encoded.
            body: sent as JSON.
            is_anonymous: see `for_service_url`.

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
            request = self._request(method, service_url, path, body, is_anonymous=is_anonymous)
            try:
                return await self._on_own_loop(request)
            except ConnectorError as error:
                span.set_attribute("http.response.status_code", error.status or 0)
                raise

    async def _on_own_loop(self, request: Coroutine[Any, Any, Any]) -> Any:
        here = asyncio.get_running_loop()
        self._loop = self._loop or here
        if here is self._loop:
            return await request
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(request, self._loop))

    async def _request(
        self,
        method: str,
        service_url: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        is_anonymous: bool,
    ) -> Any:
        shows_token = self._tokens.has_identity and not is_anonymous
        url = _url(service_url, path, secure=shows_token)
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a small answer might unpack to a large one
            "Content-Type": "application/json; charset=utf-8",
        }
        if shows_token and not self._hosts.has(url.host or ""):
            raise ConnectorError(
                f"{method}: {url.host!a} is no channel's host (AllowedServiceHosts): the bot's"
                " token stays here"
            )
        token = await self._tokens.token() if shows_token else None
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
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
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                proxy=_proxy(url.scheme, url.host or ""),
                allow_redirects=False,  # a redirect would carry the token to another host
            ) as response:
                try:
                    content = await read_bounded(response)
                except (ClientPayloadError, TooLargeError):
                    content = b""  # the status has arrived, and it decides
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
        answer = _json(content)
        if not 200 <= response.status < 300:  # noqa: PLR2004 - the successes of HTTP
            raise _refusal(method, response.status, response.headers, answer, token)
        return answer


class Conversations:
    """The SDK's conversation operations, with its names and argument order.

    Bot code that takes the connector client from `turn_context.turn_state` can use it as before.
    Every operation raises ConnectorError and CredentialError as `Connector.request` does.
    """

    def __init__(
        self, connector: Connector, service_url: str, *, is_anonymous: bool = False
    ) -> None:
        self._connector = connector
        self._service_url = service_url
        self._options = {"is_anonymous": True} if is_anonymous else {}

    async def create_conversation(
        self, parameters: ConversationParameters
    ) -> ConversationResourceResponse:
        """Start a conversation."""
        answer = await self._request("POST", (), parameters)
        return _model(ConversationResourceResponse, answer if isinstance(answer, dict) else {})

    async def send_to_conversation(
        self, conversation_id: str, activity: Activity
    ) -> ResourceResponse:
        """Add an activity at the end of the conversation."""
        return _resource(await self._request("POST", (conversation_id, "activities"), activity))

    async def reply_to_activity(
        self, conversation_id: str, activity_id: str, activity: Activity
    ) -> ResourceResponse:
        """Add an activity as a reply to another, if the channel supports replies."""
        segments = (conversation_id, "activities", activity_id)
        return _resource(await self._request("POST", segments, activity))

    async def update_activity(
        self, conversation_id: str, activity_id: str, activity: Activity
    ) -> ResourceResponse:
        """Replace an activity that was sent before."""
        segments = (conversation_id, "activities", activity_id)
        return _resource(await self._request("PUT", segments, activity))

    async def delete_activity(self, conversation_id: str, activity_id: str) -> None:
        """Delete an activity that was sent before."""
        await self._request("DELETE", (conversation_id, "activities", activity_id))

    async def get_conversation_members(self, conversation_id: str) -> list[ChannelAccount]:
        """All members of the conversation."""
        return _accounts(await self._request("GET", (conversation_id, "members")))

    async def get_conversation_member(self, conversation_id: str, member_id: str) -> ChannelAccount:
        """One member of the conversation."""
        answer = await self._request("GET", (conversation_id, "members", member_id))
        return _model(ChannelAccount, answer)

    async def get_conversation_paged_members(
        self,
        conversation_id: str,
        page_size: int | None = None,
        continuation_token: str | None = None,
    ) -> PagedMembersResult:
        """One page of the conversation's members, and the token of the next page."""
        query: dict[str, object] = {}
        if page_size is not None:
            query["pageSize"] = page_size
        if continuation_token is not None:
            query["continuationToken"] = continuation_token
        answer = await self._request("GET", (conversation_id, "pagedmembers"), query=query)
        return _model(PagedMembersResult, answer)

    async def get_activity_members(
        self, conversation_id: str, activity_id: str
    ) -> list[ChannelAccount]:
        """The members that an activity went to."""
        segments = (conversation_id, "activities", activity_id, "members")
        return _accounts(await self._request("GET", segments))

    async def _request(
        self,
        method: str,
        segments: tuple[str, ...],
        model: Model | None = None,
        query: dict[str, object] | None = None,
    ) -> Any:
        try:
            path = "/".join(("v3/conversations", *map(_segment, segments)))
            body = None if model is None else wire_form(model)
        except (ValueError, TypeError) as error:  # msrest's serialisation errors are ValueErrors
            reason = ascii(str(error)[:_LONGEST_DETAIL])
            raise ConnectorError(f"{method}: this cannot be sent: {reason}") from error
        if query:
            path += f"?{urlencode(query)}"
        return await self._connector.request(method, self._service_url, path, body, **self._options)


class ConnectorClient:
    """The SDK's connector client: one service URL and its conversations."""

    def __init__(
        self, connector: Connector, service_url: str, *, is_anonymous: bool = False
    ) -> None:
        self.service_url = service_url
        self.conversations = Conversations(connector, service_url, is_anonymous=is_anonymous)

    async def send(self, activity: Activity) -> ResourceResponse:
        """Send as the SDK's CloudAdapter does: a reply if `reply_to_id` is set, or a new activity.

        Raises:
            ConnectorError: the channel refused, or did not answer.
            CredentialError: there is no token to send with.
        """
        if activity.reply_to_id:
            return await self.conversations.reply_to_activity(
                activity.conversation.id, activity.reply_to_id, activity
            )
        return await self.conversations.send_to_conversation(activity.conversation.id, activity)


def _segment(value: str) -> str:
    """An id as one segment of a path: `.` and `..` too, which would else be steps in it."""
    return value.replace(".", "%2E") if value in {".", ".."} else quote(value, safe="")


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


def _resource(answer: Any) -> ResourceResponse:
    """The id that a channel gave; empty if it gave none, which is still a success."""
    given = answer.get("id") if isinstance(answer, dict) else None
    return ResourceResponse(id=_words(given))


def _model(kind: type[_M], answer: Any) -> _M:
    """Read an answer as one of the SDK's models; an answer that is none is an error."""
    problem = ConnectorError(f"the channel's answer is no {kind.__name__}")
    if not isinstance(answer, dict):
        raise problem
    reader: Any = kind  # msrest's deserialize has no types
    try:
        model: _M = reader.deserialize(answer)
    except (ValueError, RecursionError) as error:  # msrest's DeserializationError is one
        raise problem from error
    return model


def _accounts(answer: Any) -> list[ChannelAccount]:
    if not isinstance(answer, list):
        raise ConnectorError("the channel's answer is no list of members")
    return [_model(ChannelAccount, account) for account in answer]


def _refusal(
    method: str, status: int, headers: CIMultiDictProxy[str], answer: Any, token: str | None
) -> ConnectorError:
    """The error of an answer that is no success, whatever its body."""
    details = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(details, dict):
        details = {}
    code = _words(details.get("code"))[:_LONGEST_DETAIL] or None
    text = f"{code or ''} {_words(details.get('message'))}"
    if token:
        text = text.replace(token, "***")
    return ConnectorError(
        f"{method}: {status} {text.strip()[:_LONGEST_DETAIL]!a}",
        status=status,
        code=code,
        retry_after_seconds=_retry_after_seconds(headers.get("Retry-After", "")),
    )


def _words(value: Any) -> str:
    """A text or number of an answer; empty for anything else, which may be deep."""
    return str(value) if value and isinstance(value, str | int) else ""


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
