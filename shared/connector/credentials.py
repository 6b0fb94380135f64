"""The token the bot shows to channels: fetched off the event loop, cached, refreshed ahead."""

import asyncio
import functools
import logging
import re
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from botframework.connector.auth import (
    CertificateServiceClientCredentialsFactory,
    ManagedIdentityServiceClientCredentialsFactory,
    PasswordServiceClientCredentialFactory,
    ServiceClientCredentialsFactory,
)
from msal.application import ConfidentialClientApplication
from msal.managed_identity import ManagedIdentityClient, UserAssignedManagedIdentity
from msrest.authentication import Authentication

from shared.certificate import Certificate
from shared.connector.cloud import PUBLIC, Cloud
from shared.connector.hosts import KnownHosts, is_loopback
from shared.settings.identity import AppType, IdentitySettings

logger = logging.getLogger(__name__)

# For requests of the SDK's blocking clients.
_BLOCKING_SECONDS = 10


class CredentialError(Exception):
    """There is no token. The message says why and holds no secret."""


class TokenSource:
    """Gets and keeps the bot's access token for the Bot Framework; one per process.

    Args:
        app_id: the bot's app id; empty means no identity, and `token` gives None.
        app_password: the client secret; not used by a managed identity.
        certificate: instead of a client secret.
        app_type: how the bot proves who it is.
        cloud: whose login service gives the tokens.
        ca_file: a PEM file of authorities to trust, instead of the public ones.
        refresh_ahead_seconds: how long before its end a token is replaced.
        failure_pause_seconds: from a failed fetch to the next.
        timeout_seconds: of each request to the login endpoint.
    """

    def __init__(
        self,
        *,
        app_id: str,
        app_password: str = "",
        certificate: Certificate | None = None,
        app_type: AppType = "MultiTenant",
        cloud: Cloud = PUBLIC,
        ca_file: str = "",
        refresh_ahead_seconds: float = 300,
        failure_pause_seconds: float = 10,
        timeout_seconds: float = 10,
    ) -> None:
        self._app_id = app_id
        self._credential = (
            # msal makes the thumbprint itself: SHA-256, because it gets only the certificate.
            {"private_key": certificate.private_key, "public_certificate": certificate.public}
            if certificate
            else app_password
        )
        self._app_type = app_type
        self._scope = cloud.scope
        self._authority = cloud.authority
        self._ca_file = ca_file
        self._refresh_ahead_seconds = refresh_ahead_seconds
        self._failure_pause_seconds = failure_pause_seconds
        self._timeout_seconds = timeout_seconds
        self._token: str | None = None
        # Seconds since 1970, because a monotonic clock stands still while a machine sleeps.
        self._expires_at = 0.0
        self._fetch_at = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._failure: CredentialError | None = None

    @property
    def has_identity(self) -> bool:
        """Whether requests carry a token."""
        return bool(self._app_id)

    async def token(self) -> str | None:
        """The bearer token to send, or None for a bot without an app id.

        While a token is still valid, no caller waits for the next one. Callers at the same time
        share one fetch, which goes on even if they are cancelled.

        Raises:
            CredentialError: there is no valid token and none could be fetched.
        """
        if not self.has_identity:
            return None
        if time.time() >= self._fetch_at and self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        if time.time() >= self._expires_at and self._fetching is not None:
            await asyncio.shield(self._fetching)
        if time.time() >= self._expires_at:
            raise CredentialError(
                str(self._failure or "the login endpoint gave an expired token")
            ) from self._failure
        return self._token

    def token_blocking(self) -> str | None:
        """The same for code that cannot wait: if there is no valid token, the thread stands still.

        Raises:
            CredentialError: there is no valid token and none could be fetched.
        """
        if not self.has_identity:
            return None
        if time.time() >= self._expires_at:
            self._keep(*self._fetch_blocking())
        return self._token

    async def close(self) -> None:
        """Cancel a fetch of a token that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    async def _fetch(self) -> None:
        """Replace the token, or remember why that failed."""
        try:
            self._keep(*await asyncio.to_thread(self._fetch_blocking))
        except CredentialError as error:
            self._failure = error
            self._fetch_at = time.time() + self._failure_pause_seconds
            logger.warning("token: %s", error)
        finally:
            self._fetching = None

    def _keep(self, token: str, lifetime_seconds: float) -> None:
        self._token, self._failure = token, None
        self._expires_at = time.time() + lifetime_seconds
        self._fetch_at = self._expires_at - self._refresh_ahead_seconds

    def _fetch_blocking(self) -> tuple[str, float]:
        """Ask the login endpoint; in a thread, as msal and its loading of certificates block."""
        try:
            with requests.Session() as session:
                # msal uses its timeout only for its own sessions, and it never closes those.
                request = functools.partial(session.request, timeout=self._timeout_seconds)
                session.request = request  # type: ignore[method-assign] # as msal does it itself
                session.verify = self._ca_file or True
                answer = self._ask(session)
            if "access_token" in answer:
                return str(answer["access_token"]), float(answer["expires_in"])
        except Exception as error:  # msal documents no set of errors
            raise CredentialError(f"the login endpoint failed: {type(error).__name__}") from error
        # The description may repeat the secret that was sent; its AADSTS number is safe.
        number = re.search(r"AADSTS\d+", str(answer.get("error_description")))
        raise CredentialError(
            f"the login endpoint refused: {str(answer.get('error'))[:100]!a}"
            f" {number.group() if number else ''}".rstrip()
        )

    def _ask(self, session: requests.Session) -> dict[str, Any]:
        answer: dict[str, Any]
        if self._app_type == "UserAssignedMSI":
            identity = UserAssignedManagedIdentity(client_id=self._app_id)
            client = ManagedIdentityClient(identity, http_client=session)
            answer = client.acquire_token_for_client(resource=self._scope)
        else:
            app = ConfidentialClientApplication(
                self._app_id,
                client_credential=self._credential,
                authority=self._authority,
                http_client=session,
                # The authority comes from our settings, so it needs no check against Microsoft.
                instance_discovery=False,
            )
            answer = app.acquire_token_for_client(scopes=[f"{self._scope}/.default"])
        return answer


class BlockingCredentials(Authentication):
    """The bot's token for the SDK's clients that send by themselves, and block (`TeamsInfo`).

    A request to a host that is no channel's is refused, and none takes longer than ten seconds.

    Args:
        tokens: the source of the token.
        hosts: who may have it.
    """

    def __init__(self, tokens: TokenSource, hosts: KnownHosts) -> None:
        super().__init__()
        self._tokens = tokens
        self._hosts = hosts

    def signed_session(self, session: requests.Session | None = None) -> requests.Session:
        """A session whose requests carry the token."""
        session = session or requests.Session()
        session.auth = self._sign
        request = session.request

        def bounded(*args: Any, **kwargs: Any) -> requests.Response:
            kwargs |= {"timeout": _BLOCKING_SECONDS, "allow_redirects": False}
            return request(*args, **kwargs)

        session.request = bounded  # type: ignore[method-assign] # msrest sets its own timeout
        return session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._tokens.token_blocking()
        if token:
            url = urlsplit(request.url or "")
            is_safe = url.scheme == "https" or is_loopback(str(url.hostname))
            if not is_safe or not self._hosts.has(str(url.hostname)):
                raise CredentialError(
                    f"{url.hostname!a} is no channel's host (AllowedServiceHosts): the bot's token"
                    " stays here"
                )
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def token_source(settings: IdentitySettings, cloud: Cloud, ca_file: str) -> TokenSource:
    """The source of the bot's tokens."""
    return TokenSource(
        app_id=settings.app_id,
        app_password=settings.app_password.get_secret_value(),
        certificate=settings.app_certificate(),
        app_type=settings.app_type,
        cloud=cloud,
        ca_file=ca_file,
    )


def sdk_credentials(settings: IdentitySettings) -> ServiceClientCredentialsFactory:
    """The bot's credentials for the one task that the SDK still does: sign-in (OAuthPrompt)."""
    app_id = settings.app_id
    if settings.app_type == "UserAssignedMSI":
        return ManagedIdentityServiceClientCredentialsFactory(app_id)
    certificate = settings.app_certificate()
    if certificate:
        return CertificateServiceClientCredentialsFactory(
            certificate_thumbprint="",  # msal makes it of the certificate
            certificate_private_key=certificate.private_key,
            app_id=app_id,
            tenant_id=settings.own_tenant,
            certificate_public=certificate.public,
        )
    return PasswordServiceClientCredentialFactory(
        app_id, settings.app_password.get_secret_value(), tenant_id=settings.own_tenant
    )
