"""Who may call the bot: tokens checked as Microsoft's published requirements say, one by one.

Source: learn.microsoft.com, "Authentication with the Bot Connector API", on requests from the Bot
Connector service and from the Bot Framework Emulator to a bot.
"""

import asyncio
import json
import logging
import re
import ssl
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import jwt
from aiohttp import ClientSession
from botframework.connector.auth import (
    AuthenticateRequestResult,
    AuthenticationConfiguration,
    AuthenticationConstants,
    BotFrameworkAuthentication,
    BotFrameworkAuthenticationFactory,
    ClaimsIdentity,
    PasswordServiceClientCredentialFactory,
    ServiceClientCredentialsFactory,
)
from jwt.algorithms import RSAAlgorithm
from yarl import URL

from shared.connector.answers import read_bounded
from shared.connector.cloud import PUBLIC, Cloud
from shared.connector.hosts import is_loopback

logger = logging.getLogger(__name__)

# Real tokens have 1 to 2 KB.
_LONGEST_HEADER = 16_384
_BEARER = re.compile(r"Bearer [\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

_ALGORITHMS = ("RS256",)
_LEEWAY_SECONDS = 300  # the requirements: "industry-standard clock-skew is 5 minutes"
_REMEMBERED_TOKENS = 1_000


class UnauthorizedError(Exception):
    """The caller did not prove to be a channel that may call this bot."""


class SigningKeysUnavailableError(Exception):
    """The keys that check tokens could not be fetched; the caller may be a good one."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that some login service signed for this bot.

    Attributes:
        claims: what it says.
        key: what signed it.
        is_emulators: whether the Emulator or the Playground sent it, and not a channel.
    """

    claims: Mapping[str, Any]
    key: "SigningKey"
    is_emulators: bool


class InboundAuthentication:
    """Checks the callers of the messages function; one per process.

    Tokens of other bots (skills) are refused.

    Args:
        app_id: the bot's app id; empty accepts everyone as anonymous (development only).
        credentials: the SDK's credentials of the bot, for the clients that `sdk` makes (sign-in);
            None if there are none.
        cloud: the cloud whose channels may call.
        ssl_context: which certificates to trust when keys are fetched; None: those that the system
            trusts.
        takes_emulators: whether tokens of the Emulator and the Playground are good. Whoever knows
            the bot's secret can get one, and they name no service URL.
        tenant: the bot's own tenant; the Emulator may have its token from there.
    """

    def __init__(
        self,
        *,
        app_id: str,
        credentials: ServiceClientCredentialsFactory | None = None,
        cloud: Cloud = PUBLIC,
        ssl_context: ssl.SSLContext | None = None,
        takes_emulators: bool = False,
        tenant: str = "",
    ) -> None:
        self._app_id = app_id
        self._cloud = cloud
        self._issuers = _Issuers(cloud.token_issuer, _emulator_issuers(cloud, tenant))
        self._takes_emulators = takes_emulators
        self._channel_keys = SigningKeys(cloud.channel_keys_url, ssl_context=ssl_context)
        self._emulator_keys = SigningKeys(cloud.emulator_keys_url, ssl_context=ssl_context)
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        # Only for the users' sign-in (OAuthPrompt): nothing is checked by it.
        self.sdk: BotFrameworkAuthentication = BotFrameworkAuthenticationFactory.create(
            validate_authority=True,
            to_channel_from_bot_login_url=cloud.authority,
            to_channel_from_bot_oauth_scope=cloud.scope,
            to_bot_from_channel_token_issuer=cloud.token_issuer,
            oauth_url=cloud.oauth_url,
            to_bot_from_channel_open_id_metadata_url=cloud.channel_keys_url,
            to_bot_from_emulator_open_id_metadata_url=cloud.emulator_keys_url,
            caller_id=cloud.caller_id,
            credential_factory=credentials or PasswordServiceClientCredentialFactory(app_id),
            auth_configuration=AuthenticationConfiguration(),
        )

    def check_header(self, auth_header: str) -> None:
        """Refuse a header that holds no token, before anything is read.

        Raises:
            UnauthorizedError: callers are checked, and the header is missing or malformed.
        """
        if self._app_id and (
            len(auth_header) > _LONGEST_HEADER or not _BEARER.fullmatch(auth_header)
        ):
            raise UnauthorizedError("there is no bearer token")

    async def verify(self, auth_header: str) -> VerifiedToken | None:
        """Check a header's token, whatever activity it came with.

        Args:
            auth_header: the header as it came; empty if there was none.

        Returns:
            The token; None if callers are not checked.

        Raises:
            UnauthorizedError: the token is missing, malformed, expired, forged, or not for us.
            SigningKeysUnavailableError: the token could not be checked.
        """
        if not self._app_id:
            return None
        self.check_header(auth_header)
        token = auth_header.removeprefix("Bearer ")
        digest = sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known and time.time() < known.claims["exp"] and await self._is_still_signed(known):
            return known
        self._verified.pop(digest, None)
        verified = await self._verify(token)
        self._verified[digest] = verified
        if len(self._verified) > _REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        return verified

    def caller(
        self, token: VerifiedToken | None, channel_id: str, service_url: str
    ) -> AuthenticateRequestResult:
        """Who sends an activity, by its token: whether it may speak for channel and service URL.

        Args:
            token: what `verify` gave.
            channel_id: of the activity.
            service_url: of the activity.

        Returns:
            The SDK's result; its claims_identity, audience and caller_id are set. An anonymous
            caller has no caller_id.

        Raises:
            UnauthorizedError: the token is good for other channels or another service URL.
        """
        result = AuthenticateRequestResult()
        result.audience = self._cloud.scope
        if token is None:
            kind = AuthenticationConstants.ANONYMOUS_AUTH_TYPE
            result.claims_identity = ClaimsIdentity({}, True, kind)
            return result
        if not channel_id or not service_url:
            raise UnauthorizedError("there is nothing to compare the claims with")
        if not token.is_emulators:
            if channel_id not in token.key.endorsements:
                raise UnauthorizedError("the key has no endorsement for this channel")
            if token.claims.get(AuthenticationConstants.SERVICE_URL_CLAIM) != service_url:
                raise UnauthorizedError("the token is for another service URL")
        result.claims_identity = ClaimsIdentity(dict(token.claims), True)
        result.caller_id = self._cloud.caller_id
        return result

    async def authenticate(
        self, auth_header: str, channel_id: str, service_url: str
    ) -> AuthenticateRequestResult:
        """`verify` and `caller` in one."""
        return self.caller(await self.verify(auth_header), channel_id, service_url)

    async def _is_still_signed(self, token: VerifiedToken) -> bool:
        """Whether the login service still shows the key. It may have withdrawn or replaced it."""
        keys = self._emulator_keys if token.is_emulators else self._channel_keys
        return await keys.get(token.key.key_id) == token.key

    async def _verify(self, token: str) -> VerifiedToken:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            issuer = _unverified_issuer(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise UnauthorizedError(f"no token: {type(error).__name__}") from error
        is_emulators = issuer in self._issuers.emulators
        if is_emulators and not self._takes_emulators:
            raise UnauthorizedError("tokens of the Emulator are for development")
        if not is_emulators and issuer != self._issuers.channels:
            raise UnauthorizedError("the issuer is none of ours")
        key = await (self._emulator_keys if is_emulators else self._channel_keys).get(key_id)
        try:
            claims = jwt.decode(
                token,
                key.public_key,
                algorithms=_ALGORITHMS,
                audience=self._app_id,
                issuer=issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "exp"], "strict_aud": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{type(error).__name__}: {str(error)[:200]!a}"
            raise UnauthorizedError(reason) from error
        if not isinstance(claims["exp"], int | float):
            raise UnauthorizedError("the expiry is no number")
        if is_emulators:
            self._check_emulators(claims)
        elif claims.get("appid", self._app_id) != self._app_id:
            raise UnauthorizedError("the token is another bot's")
        return VerifiedToken(claims, key, is_emulators)

    def _check_emulators(self, claims: Mapping[str, Any]) -> None:
        """The requirement that only tokens of the Emulator have: the bot's own id sent them."""
        by_version = {
            "": AuthenticationConstants.APP_ID_CLAIM,
            "1.0": AuthenticationConstants.APP_ID_CLAIM,
            "2.0": AuthenticationConstants.AUTHORIZED_PARTY,
        }
        version = claims.get(AuthenticationConstants.VERSION_CLAIM)
        claim = by_version.get(version) if isinstance(version, str) else None
        if claim is None or claims.get(claim) != self._app_id:
            raise UnauthorizedError("the Emulator's token is not this bot's")


@dataclass(frozen=True, slots=True)
class _Issuers:
    """Whose tokens are taken."""

    channels: str
    emulators: Collection[str]


# The tenants that the Emulator has its tokens from, and the login services of v2 tokens.
_EMULATOR_TENANTS = (
    ("d6d49420-f39b-4df7-a1dc-d59a935871db", "https://login.microsoftonline.com"),
    ("f8cdef31-a31e-4b4a-93e4-5f571e91255a", "https://login.microsoftonline.com"),
    ("cab8a31a-1906-4287-a0d8-4eef66b95f6e", "https://login.microsoftonline.us"),
)


def _emulator_issuers(cloud: Cloud, tenant: str) -> frozenset[str]:
    """The issuers of the Emulator's tokens, v1 and v2.

    The tokens of a bot that lives in one tenant are that tenant's.
    """
    own = tenant.lower()
    logins = {"https://login.microsoftonline.com", cloud.login_url}
    tenants = [*_EMULATOR_TENANTS, *((own, login) for login in logins if own)]
    return frozenset(
        issuer
        for tenant_id, login in tenants
        for issuer in (f"https://sts.windows.net/{tenant_id}/", f"{login}/{tenant_id}/v2.0")
    )


def _unverified_issuer(token: str) -> str:
    """Who the token says it is from: that decides which keys can verify it.

    Raises:
        ValueError: there are no claims, or no issuer.
    """
    part = token.split(".")[1]
    claims = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(issuer, str):
        raise ValueError("no issuer")  # noqa: TRY004 - what is wrong is the token, not a type
    return issuer


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key of a login service.

    Attributes:
        key_id: its name in tokens.
        modulus: of its public key, as the service writes it: another key has another one.
        endorsements: the channels that its tokens may speak for.
        public_key: verifies signatures.
    """

    key_id: str
    modulus: str
    endorsements: frozenset[str]
    public_key: Any = field(compare=False, repr=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "SigningKey":
        """The key in a JWKS document."""
        endorsements = document.get("endorsements") or ()
        if not isinstance(endorsements, list | tuple):
            endorsements = ()
        return cls(
            key_id=document["kid"],
            modulus=document["n"],
            endorsements=frozenset(each for each in endorsements if isinstance(each, str)),
            public_key=RSAAlgorithm.from_jwk(dict(document)),
        )


class SigningKeys:
    """The signing keys of one OpenID metadata URL.

    They come over https only; from this machine itself also over http. They are fetched when first
    needed, when a day old, and when a token names an unknown key. In that last case at most once
    per `pause_seconds`, so that invented key ids cannot make the bot flood the login service.

    Args:
        url: the OpenID metadata document.
        pause_seconds: from one fetch to the next, if a token names an unknown key.
        failure_pause_seconds: from a failed fetch to the next.
        timeout_seconds: for the metadata document and the keys together.
        max_age_seconds: after which keys are fetched again.
        max_stale_seconds: how old keys may be that are used because there are no newer ones.
        ssl_context: as of `InboundAuthentication`.
    """

    def __init__(
        self,
        url: str,
        *,
        pause_seconds: float = 300,
        failure_pause_seconds: float = 5,
        timeout_seconds: float = 10,
        max_age_seconds: float = 86_400,
        max_stale_seconds: float = 5 * 86_400,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._ssl = ssl_context or True
        self._pause_seconds = pause_seconds
        self._failure_pause_seconds = failure_pause_seconds
        self._timeout_seconds = timeout_seconds
        self._max_age_seconds = max_age_seconds
        self._max_stale_seconds = max_stale_seconds
        self._keys: dict[str, SigningKey] = {}
        self._fetched_at = -float("inf")
        self._next_fetch_at = -float("inf")
        self._failure: Exception | None = None
        self._lock = asyncio.Lock()

    async def get(self, key_id: str | None) -> SigningKey:
        """The key with this id, the "kid" of a token not yet verified.

        Raises:
            UnauthorizedError: there is no such key.
            SigningKeysUnavailableError: the keys could not be fetched.
        """
        # A known key, even an old one, never waits for a fetch that another caller began.
        if not self._is_good(key_id) and not (key_id in self._keys and self._lock.locked()):
            async with self._lock:
                if not self._is_good(key_id) and time.monotonic() >= self._next_fetch_at:
                    await self._fetch()
        key = self._keys.get(key_id or "")
        if key is not None and time.monotonic() < self._fetched_at + self._max_stale_seconds:
            return key
        if self._failure is not None:
            raise SigningKeysUnavailableError(
                f"no keys from {self._url}: {type(self._failure).__name__}"
            ) from self._failure
        raise UnauthorizedError("the token names no key of the login service")

    def _is_good(self, key_id: str | None) -> bool:
        return key_id in self._keys and time.monotonic() < self._fetched_at + self._max_age_seconds

    async def _fetch(self) -> None:
        """Replace the keys; a failure keeps the old ones."""
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                ClientSession(trust_env=True, raise_for_status=True) as session,
            ):
                metadata = await self._document(session, self._url)
                documents = (await self._document(session, metadata["jwks_uri"]))["keys"]
            keys = {
                document["kid"]: SigningKey.of(document)
                for document in documents
                if document.get("kty") == "RSA" and "kid" in document
            }
            if not keys:
                raise ValueError("no keys")  # noqa: TRY301 - one place says what a failure means
        except Exception as error:  # noqa: BLE001 - after any error there are no new keys
            self._failure = error
            self._next_fetch_at = time.monotonic() + self._failure_pause_seconds
            logger.warning("signing keys: none from %s: %s", self._url, type(error).__name__)
            return
        self._failure = None
        self._keys = keys
        self._fetched_at = time.monotonic()
        self._next_fetch_at = self._fetched_at + self._pause_seconds

    async def _document(self, session: ClientSession, url: str) -> Any:
        """A JSON document of the login service.

        Raises:
            ValueError: the address is not safe, or the answer is no document.
        """
        address = URL(url)
        if address.scheme != "https" and not (
            is_loopback(address.host or "") and is_loopback(URL(self._url).host or "")
        ):
            raise ValueError("keys come over https only")
        # A redirect could lead to an address without https.
        async with session.get(address, ssl=self._ssl, allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                raise ValueError(f"the login service answered {response.status}")
            return json.loads(await read_bounded(response))
