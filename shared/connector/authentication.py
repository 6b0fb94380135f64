"""Who may call the bot: the SDK's checks, with signing keys that never block the event loop."""

import asyncio
import logging
import re
import ssl
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession
from botbuilder.schema import Activity
from botframework.connector.auth import (
    AuthenticateRequestResult,
    AuthenticationConfiguration,
    AuthenticationConstants,
    BotFrameworkAuthentication,
    BotFrameworkAuthenticationFactory,
    ClaimsIdentity,
    JwtTokenExtractor,
    PasswordServiceClientCredentialFactory,
    ServiceClientCredentialsFactory,
)
from jwt.algorithms import RSAAlgorithm

from shared.connector.cloud import PUBLIC, Cloud

logger = logging.getLogger(__name__)

_BEARER = re.compile(r"Bearer [\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class UnauthorizedError(Exception):
    """The caller did not prove to be a channel that may call this bot."""


class SigningKeysUnavailableError(Exception):
    """The keys that check tokens could not be fetched; the caller may be a good one."""


class InboundAuthentication:
    """Checks the callers of the messages function; one per process.

    Tokens of other bots (skills) are refused: the SDK accepts them only from callers it is told of,
    and there are none.

    Args:
        app_id: the bot's app id; empty accepts everyone as anonymous (development only).
        credentials: the SDK's credentials of the bot, for the clients that `sdk` makes (sign-in);
            None if there are none.
        cloud: the cloud whose channels may call.
        ssl_context: which certificates to trust when keys are fetched; None: those that the system
            trusts.
    """

    def __init__(
        self,
        *,
        app_id: str,
        credentials: ServiceClientCredentialsFactory | None = None,
        cloud: Cloud = PUBLIC,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._app_id = app_id
        self._scope = cloud.scope
        # If the addresses are given one by one, the SDK always compares the service URL.
        self.sdk: BotFrameworkAuthentication = BotFrameworkAuthenticationFactory.create(
            validate_authority=True,
            to_channel_from_bot_login_url=cloud.authority,
            to_channel_from_bot_oauth_scope=cloud.scope,
            to_bot_from_channel_token_issuer=cloud.token_issuer,
            oauth_url=cloud.oauth_url,
            to_bot_from_channel_open_id_metadata_url=cloud.channel_keys_url,
            to_bot_from_emulator_open_id_metadata_url=cloud.emulator_keys_url,
            caller_id=cloud.caller_id,
            # Without a factory of ours the SDK would accept every caller.
            credential_factory=credentials or PasswordServiceClientCredentialFactory(app_id),
            auth_configuration=AuthenticationConfiguration(),
        )
        for url in (cloud.channel_keys_url, cloud.emulator_keys_url):
            # The SDK looks here before it makes its own. Its own fetches with blocking requests
            # without a timeout, and after a change of keys refuses callers for up to a day.
            JwtTokenExtractor.metadataCache[url] = SigningKeys(url, ssl_context=ssl_context)

    async def authenticate(self, activity: Activity, auth_header: str) -> AuthenticateRequestResult:
        """Check a request's Authorization header against the activity it came with.

        Args:
            activity: a validated activity.
            auth_header: the header as it came; empty if there was none.

        Returns:
            The SDK's result; its claims_identity, audience and caller_id are set.

        Raises:
            UnauthorizedError: the token is missing, malformed, expired, forged, or not for us.
            SigningKeysUnavailableError: the token could not be checked.
        """
        if not self._app_id:
            return self._anonymous()
        if not _BEARER.fullmatch(auth_header):
            raise UnauthorizedError("there is no bearer token")
        if not activity.service_url or not activity.channel_id:
            raise UnauthorizedError("the SDK would not compare the claims with an absent field")
        try:
            result = await self.sdk.authenticate_request(activity, auth_header)
        except (SigningKeysUnavailableError, UnauthorizedError):
            raise
        except Exception as error:
            # The SDK reports bad tokens as PermissionError, PyJWTError, KeyError, bare Exception...
            raise UnauthorizedError(f"{type(error).__name__}: {str(error)[:200]!a}") from error
        audience = result.claims_identity.get_claim_value(AuthenticationConstants.AUDIENCE_CLAIM)
        if audience == self._scope:
            # The SDK takes it for an emulator's. Each receiver of it could then write as any user.
            raise UnauthorizedError("this is the bot's own token for the channels")
        return result

    def _anonymous(self) -> AuthenticateRequestResult:
        """The result if nobody is checked. The SDK's own code fails if there is no recipient."""
        result = AuthenticateRequestResult()
        result.claims_identity = ClaimsIdentity(
            {}, True, AuthenticationConstants.ANONYMOUS_AUTH_TYPE
        )
        result.audience = self._scope
        return result


@dataclass(frozen=True, slots=True)
class _Key:
    """A signing key, with the attributes the SDK reads."""

    public_key: Any
    endorsements: list[str]


class SigningKeys:
    """The signing keys of one OpenID metadata URL, in place of the SDK's _OpenIdMetadata.

    They are fetched when first needed, when a day old, and when a token names an unknown key. In
    that last case at most once per `pause_seconds`, so that invented key ids cannot make the bot
    flood the login service.

    Args:
        url: the OpenID metadata document.
        pause_seconds: from one fetch to the next, if a token names an unknown key.
        failure_pause_seconds: from a failed fetch to the next.
        timeout_seconds: for the metadata document and the keys together.
        max_age_seconds: after which keys are fetched again.
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
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._ssl = ssl_context or True
        self._pause_seconds = pause_seconds
        self._failure_pause_seconds = failure_pause_seconds
        self._timeout_seconds = timeout_seconds
        self._max_age_seconds = max_age_seconds
        self._keys: dict[str, _Key] = {}
        self._fetched_at = -float("inf")
        self._next_fetch_at = -float("inf")
        self._failure: Exception | None = None
        self._lock = asyncio.Lock()

    async def get(self, key_id: str | None) -> _Key:
        """The key with this id. The SDK calls it with the "kid" of a token not yet verified.

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
        if key is not None:
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
                async with session.get(self._url, ssl=self._ssl) as response:
                    metadata = await response.json(content_type=None)
                async with session.get(metadata["jwks_uri"], ssl=self._ssl) as response:
                    documents = (await response.json(content_type=None))["keys"]
            keys = {
                document["kid"]: _Key(
                    RSAAlgorithm.from_jwk(document), document.get("endorsements", [])
                )
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
