"""A stand-in for what a bot speaks to: a channel's connector, the login service and its keys.

In a test: `async with FakeChannel() as channel: ...`. As a process of its own, for benchmarks and
whole bots: `tests.channel_process`.
"""

import asyncio
import json
import math
import random
import re
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import jwt
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from shared.connector.cloud import PUBLIC, Cloud
from tests.rate_limits import RateLimits

CHANNEL_ISSUER = "https://api.botframework.com"
# The tenant botframework.com, as the SDK expects it of tokens from the emulator.
EMULATOR_ISSUER = "https://sts.windows.net/d6d49420-f39b-4df7-a1dc-d59a935871db/"
# Names that its certificate is good for, besides the address: to be reached through a proxy.
PROXIED_HOSTS = ("channel.example", "login.example")
ENDORSEMENTS = ("emulator", "test", "msteams", "webchat", "directline")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the fake says instead of its usual answer.

    Attributes:
        body: bytes or text go out as they are, all else as JSON.
        delay_seconds: before the answer.
        hang: never answer; in the end the connection breaks.
        drop: break the connection instead of answering.
        cut: break it within the body.
        chance: that a request gets this answer; the others get the usual one.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0
    hang: bool = False
    drop: bool = False
    cut: bool = False
    chance: float = 1


@dataclass(slots=True)
class Received:
    """One request to the connector.

    Attributes:
        at: on the machine's monotonic clock, so that processes can compare.
        connection: the same for requests that came by one connection.
        status: of the answer; None if there is none (yet).
    """

    at: float
    method: str
    path: str
    conversation_id: str
    authorization: str | None
    body: Any
    connection: str = ""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # their names in lower case


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the login service; `endorsements` None leaves the property out."""

    key_id: str
    endorsements: Sequence[str] | None = ENDORSEMENTS
    private_key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )

    def document(self) -> dict[str, Any]:
        """The public half, as the JWKS has it."""
        document: dict[str, Any] = json.loads(
            jwt.algorithms.RSAAlgorithm.to_jwk(self.private_key.public_key())
        )
        document |= {"kid": self.key_id, "use": "sig"}
        if self.endorsements is not None:
            document["endorsements"] = list(self.endorsements)
        return document


_FIRST_KEY = SigningKey("first-key")  # made once: a key costs 50 ms and more


class FakeChannel:
    """The fake: its addresses, what it received, and what it is told to answer.

    Answers are lists, used from the front; the last one stays. An empty list is the usual answer.

    Attributes:
        requests: every request to the connector, in order.
        limits: how fast it may be sent to; None: as fast as one likes.
        answers: by conversation id.
        pattern_answers: by a regular expression of conversation ids, for those not in `answers`.
        default_answers: for conversations that are in neither.
        login_answers: for the token endpoints.
        login_requests: the forms that came to the token endpoints.
        keys_answers: for the OpenID metadata.
        keys_requests: how often the OpenID metadata was fetched.
        keys: what the JWKS shows; the first one signs.
        token_lifetime_seconds: of the tokens the login service gives.
        app_certificate: PEM; the login service then gives tokens only to who has its key.
        url: over TLS, if it has that; `plain_url` is without in any case.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self.requests: list[Received] = []
        self.limits: RateLimits | None = None
        self.answers: dict[str, list[Answer]] = {}
        self.pattern_answers: dict[str, list[Answer]] = {}
        self.default_answers: list[Answer] = []
        self.login_answers: list[Answer] = []
        self.login_requests: list[dict[str, str]] = []
        self.keys_answers: list[Answer] = []
        self.keys_requests = 0
        self.keys = [_FIRST_KEY]
        self.token_lifetime_seconds = 3600
        self.app_certificate = ""
        self.authority = trustme.CA() if tls else None
        self._closing = asyncio.Event()
        self._apps_by_token: dict[str, str] = {}
        self._random = random.Random(0)
        self.url = ""
        self.plain_url = ""

    @property
    def service_url(self) -> str:
        """What activities of this channel have as their serviceUrl."""
        return f"{self.url}/channel/"

    @property
    def channel_keys_url(self) -> str:
        """The OpenID metadata of the channels' tokens."""
        return f"{self.url}/v1/.well-known/openidconfiguration"

    @property
    def emulator_keys_url(self) -> str:
        """The OpenID metadata of the emulator's tokens."""
        return f"{self.url}/common/v2.0/.well-known/openid-configuration"

    @property
    def cloud(self) -> Cloud:
        """The public cloud, with this fake in place of its login service."""
        return replace(
            PUBLIC,
            login_url=self.url,
            channel_keys_url=self.channel_keys_url,
            emulator_keys_url=self.emulator_keys_url,
        )

    @property
    def connections(self) -> int:
        """How many connections the requests to the connector came by."""
        return len({request.connection for request in self.requests})

    @property
    def managed_identity_url(self) -> str:
        """What a Function App has in IDENTITY_ENDPOINT."""
        return f"{self.url}/msi/token"

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """A client's context that trusts this fake; None without TLS."""
        if self.authority is None:
            return None
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    async def __aenter__(self) -> Self:
        server_context = None
        if self.authority is not None:
            server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert("127.0.0.1", "localhost", *PROXIED_HOSTS).configure_cert(
                server_context
            )
        app = web.Application(client_max_size=16 * 2**20)
        self.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        self.url = self.plain_url = f"http://127.0.0.1:{await self._listen(None)}"
        if server_context:
            self.url = f"https://127.0.0.1:{await self._listen(server_context)}"
        return self

    async def _listen(self, server_context: ssl.SSLContext | None) -> int:
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=server_context).start()
        port: int = self._runner.addresses[-1][1]
        return port

    def add_routes(self, app: web.Application) -> None:
        """What is where."""
        app.router.add_get("/v1/.well-known/openidconfiguration", self._metadata)
        app.router.add_get("/common/v2.0/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/keys", self._jwks)
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._tenant)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        app.router.add_get("/msi/token", self._managed_identity_token)
        app.router.add_route("*", r"/{tail:[\s\S]*}", self._connector)

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()  # lets go of the hanging requests
        await self._runner.cleanup()

    def sent_to(self, conversation_id: str) -> list[Any]:
        """The bodies that came for one conversation, in order."""
        return [each.body for each in self.requests if each.conversation_id == conversation_id]

    def token(
        self,
        *,
        app_id: str,
        service_url: str | None = None,
        claims: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        key: SigningKey | None = None,
        algorithm: str = "RS256",
        expires_in_seconds: float = 3600,
    ) -> str:
        """Sign a token as a channel would show it to the bot; what is None is left out."""
        now = int(time.time())
        all_claims = {
            "iss": CHANNEL_ISSUER,
            "aud": app_id,
            "serviceurl": service_url or self.service_url,
            "nbf": now - 600,
            "exp": now + int(expires_in_seconds),
        } | (claims or {})
        key = key or self.keys[0]
        return jwt.encode(
            _present(all_claims),
            key.private_key,
            algorithm=algorithm,
            headers=_present({"kid": key.key_id} | (headers or {})),
        )

    def emulator_token(self, *, app_id: str, claims: dict[str, Any] | None = None) -> str:
        """Sign a token as the emulator or the Playground would show it to the bot."""
        given = {"iss": EMULATOR_ISSUER, "ver": "1.0", "appid": app_id, "serviceurl": None}
        return self.token(app_id=app_id, claims=given | (claims or {}))

    async def _answer(
        self, request: web.Request, answers: list[Answer], usual: Answer
    ) -> web.StreamResponse:
        answer = usual
        if answers and (answers[0].chance == 1 or self._random.random() < answers[0].chance):
            answer = answers[0] if len(answers) == 1 else answers.pop(0)
        await asyncio.sleep(answer.delay_seconds)
        if answer.hang:
            await self._closing.wait()
        if (answer.hang or answer.drop) and request.transport is not None:
            request.transport.abort()
        headers = dict(answer.headers)
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if answer.cut:
            headers["Content-Length"] = str(len(body) + 1)
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            await response.write(body)
            assert request.transport
            request.transport.close()
            return response
        return web.Response(status=answer.status, body=body, headers=headers)

    async def _connector(self, request: web.Request) -> web.StreamResponse:
        # Not aiohttp's match_info: it decodes before it splits, and ids hold slashes.
        path = urlsplit(request.raw_path).path
        segments = path.partition("/v3/conversations")[2].split("/")
        conversation_id = unquote(segments[1]) if len(segments) > 1 else ""
        content = await request.read()
        assert request.transport
        received = Received(
            at=time.monotonic(),
            method=request.method,
            path=request.raw_path,
            conversation_id=conversation_id,
            authorization=request.headers.get("Authorization"),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=json.loads(content) if content else None,
            connection=str(request.transport.get_extra_info("peername")),
        )
        self.requests.append(received)
        too_early = self._too_early(received)
        if too_early:
            received.status = too_early.status
            return await self._answer(request, [], too_early)
        answers = self._answers_for(conversation_id)
        usual = Answer(201, {"id": f"activity-{len(self.requests)}"})
        if request.method == "DELETE":
            usual = Answer(200)
        elif request.method == "GET":
            account = {"id": "user-1", "name": "User One"}
            usual = Answer(200, [account])
            if "/pagedmembers" in path:
                usual = Answer(200, {"members": [account], "continuationToken": "next"})
            elif len(segments) > 1 and segments[-2] == "members":
                usual = Answer(200, {"id": unquote(segments[-1]), "name": "User One"})
            elif "/v3/teams/" in path:
                usual = Answer(200, {"id": unquote(path.rpartition("/")[2]), "name": "Team One"})
            elif path.endswith("/v3/conversations"):
                usual = Answer(200, {"conversations": [{"id": "conversation-1", "members": []}]})
        response = await self._answer(request, answers, usual)
        is_broken = request.transport is None or request.transport.is_closing()
        received.status = None if is_broken else response.status
        return response

    def _answers_for(self, conversation_id: str) -> list[Answer]:
        if conversation_id in self.answers:
            return self.answers[conversation_id]
        for pattern, answers in self.pattern_answers.items():
            if re.fullmatch(pattern, conversation_id):
                return answers
        return self.default_answers

    def _too_early(self, request: Received) -> Answer | None:
        """What Teams answers who sends too fast. Reads count for the tenant only."""
        if self.limits is None:
            return None
        token = (request.authorization or "").removeprefix("Bearer ")
        body = request.body if isinstance(request.body, dict) else {}
        tenant = (
            (body.get("conversation") or {}).get("tenantId")
            or ((body.get("channelData") or {}).get("tenant") or {}).get("id")
            or body.get("tenantId", "")
        )
        # In Teams' channels, what follows names the message that begins a reply chain.
        thread = "" if request.method == "GET" else request.conversation_id.partition(";")[0]
        app = self._apps_by_token.get(token, "")
        wait = self.limits.wait_seconds(f"{app} {tenant}", thread, request.at)
        if wait == 0:
            return None
        error = {"code": "Throttled", "message": "Too many requests."}
        return Answer(429, {"error": error}, {"Retry-After": str(max(1, math.ceil(wait)))})

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        self.keys_requests += 1
        document = {"issuer": CHANNEL_ISSUER, "jwks_uri": f"{self.url}/keys"}
        return await self._answer(request, self.keys_answers, Answer(200, document))

    async def _jwks(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": [key.document() for key in self.keys]})

    async def _tenant(self, request: web.Request) -> web.StreamResponse:
        base = f"{self.url}/{request.match_info['tenant']}"
        return web.json_response(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
        )

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.login_requests.append(form | {"tenant": request.match_info["tenant"]})
        refusal = self._refusal(form, f"{self.url}{request.path}")
        if refusal:
            error = {"error": "invalid_client", "error_description": refusal}
            return await self._answer(request, [], Answer(401, error))
        token = f"bot-token-{len(self.login_requests)}"
        self._apps_by_token[token] = form.get("client_id", "")
        document = {
            "token_type": "Bearer",
            "access_token": token,
            "expires_in": self.token_lifetime_seconds,
        }
        return await self._answer(request, self.login_answers, Answer(200, document))

    def _refusal(self, form: dict[str, str], token_url: str) -> str:
        """What is wrong with a client's proof that it has the certificate's key, if it needs one.

        Source: learn.microsoft.com, "Microsoft identity platform application authentication
        certificate credentials".
        """
        if not self.app_certificate:
            return ""
        certificate = load_pem_x509_certificate(self.app_certificate.encode())
        thumbprint = urlsafe_b64encode(certificate.fingerprint(SHA256())).decode().rstrip("=")
        assertion = form.get("client_assertion", "")
        try:
            if jwt.get_unverified_header(assertion)["x5t#S256"].rstrip("=") != thumbprint:
                return "AADSTS700027: another certificate"
            jwt.decode(
                assertion,
                certificate.public_key(),  # type: ignore[arg-type] # an RSA key in these tests
                algorithms=["PS256"],
                audience=token_url,
                issuer=form["client_id"],
                subject=form["client_id"],
                options={"require": ["exp", "jti", "iss", "sub"]},
            )
        except jwt.PyJWTError as error:
            return f"AADSTS700027: {error}"
        return ""

    async def _managed_identity_token(self, request: web.Request) -> web.StreamResponse:
        self.login_requests.append(dict(request.query))
        document = {
            "token_type": "Bearer",
            "access_token": f"bot-token-{len(self.login_requests)}",
            "expires_on": str(int(time.time()) + self.token_lifetime_seconds),
            "resource": request.query.get("resource", ""),
        }
        return await self._answer(request, self.login_answers, Answer(200, document))


def unsigned_token(header: Any, claims: Any) -> str:
    """A token of three parts whose signature is rubbish."""
    parts = (urlsafe_b64encode(json.dumps(part).encode()).decode() for part in (header, claims))
    return ".".join([*(part.rstrip("=") for part in parts), "c2lnbmF0dXJl"])


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something has become true."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
