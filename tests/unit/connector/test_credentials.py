"""The bot's own token: where it comes from, how long it is kept, what a failure does."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.certificate import read_certificate
from shared.connector.client import Connector
from shared.connector.cloud import PUBLIC, US_GOVERNMENT
from shared.connector.credentials import CredentialError, TokenSource
from tests.certificates import a_certificate
from tests.connect_proxy import ConnectProxy
from tests.fake_channel import Answer, FakeChannel, until

APP_ID = "00000000-0000-0000-0000-00000000b07a"
SECRET = "a-secret-nobody-may-see"
SHORT_LIFETIME_SECONDS = 200  # less than the five minutes ahead of which a token is replaced


@pytest.fixture
async def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeChannel]:
    async with FakeChannel(tls=True) as channel:
        assert channel.authority is not None
        certificate = tmp_path / "authority.pem"
        channel.authority.cert_pem.write_to_path(certificate)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        yield channel


def source_at(channel: FakeChannel, **options: Any) -> TokenSource:
    return TokenSource(app_id=APP_ID, app_password=SECRET, cloud=channel.cloud, **options)


async def test_a_bot_without_an_app_id_sends_no_token(login: FakeChannel) -> None:
    source = TokenSource(app_id="", cloud=login.cloud)
    assert await source.token() is None
    assert not source.has_identity
    assert login.login_requests == []


async def test_a_multi_tenant_bot_asks_the_tenant_of_the_bot_framework(login: FakeChannel) -> None:
    assert await source_at(login).token() == "bot-token-1"
    asked = login.login_requests[0]
    assert asked["tenant"] == "botframework.com"
    assert asked["client_id"] == APP_ID
    assert asked["client_secret"] == SECRET
    assert asked["scope"] == "https://api.botframework.com/.default"


async def test_a_single_tenant_bot_asks_its_own_tenant(login: FakeChannel) -> None:
    cloud = replace(login.cloud, login_tenant="contoso.example")
    source = TokenSource(app_id=APP_ID, app_password=SECRET, app_type="SingleTenant", cloud=cloud)
    assert await source.token() == "bot-token-1"
    assert login.login_requests[0]["tenant"] == "contoso.example"


async def test_a_managed_identity_asks_the_platform_for_the_identity_of_the_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeChannel() as platform:
        monkeypatch.setenv("IDENTITY_ENDPOINT", platform.managed_identity_url)
        monkeypatch.setenv("IDENTITY_HEADER", "platform-header")
        source = TokenSource(app_id=APP_ID, app_type="UserAssignedMSI")
        assert [await source.token() for _ in range(3)] == ["bot-token-1"] * 3
        assert len(platform.login_requests) == 1
        asked = platform.login_requests[0]
        assert asked["client_id"] == APP_ID
        assert asked["resource"] == "https://api.botframework.com"


async def test_a_token_is_fetched_once_and_kept(login: FakeChannel) -> None:
    source = source_at(login)
    assert [await source.token() for _ in range(5)] == ["bot-token-1"] * 5
    assert len(login.login_requests) == 1


async def test_callers_at_the_same_time_share_one_fetch(login: FakeChannel) -> None:
    source = source_at(login)
    tokens = await asyncio.gather(*(source.token() for _ in range(50)))
    assert tokens == ["bot-token-1"] * 50
    assert len(login.login_requests) == 1


async def test_a_cancelled_caller_does_not_spoil_the_fetch_for_others(login: FakeChannel) -> None:
    login.login_answers = [Answer(200, {"access_token": "t", "expires_in": 3600}, delay_seconds=1)]
    source = source_at(login)
    first, second = (asyncio.create_task(source.token()) for _ in range(2))
    await until(lambda: len(login.login_requests) == 1)
    first.cancel()
    assert await second == "t"
    assert first.cancelled()
    assert len(login.login_requests) == 1


async def test_the_loop_goes_on_while_the_login_service_hangs(login: FakeChannel) -> None:
    login.login_answers = [Answer(hang=True)]
    source = source_at(login, timeout_seconds=1)
    waiting = asyncio.create_task(source.token())
    # The fake lives on this loop: it can only be reached if the loop is free.
    await until(lambda: len(login.login_requests) == 1)
    assert not waiting.done()
    with pytest.raises(CredentialError):
        await asyncio.wait_for(waiting, 30)


async def test_nobody_waits_for_a_new_token_while_the_old_one_is_valid(login: FakeChannel) -> None:
    login.token_lifetime_seconds = SHORT_LIFETIME_SECONDS
    source = source_at(login)
    assert await source.token() == "bot-token-1"
    login.login_answers = [Answer(hang=True)]
    assert await source.token() == "bot-token-1"
    assert source._fetching is not None
    await until(lambda: len(login.login_requests) == 2)
    assert await source.token() == "bot-token-1"


async def test_a_token_is_replaced_before_its_end(login: FakeChannel) -> None:
    login.token_lifetime_seconds = SHORT_LIFETIME_SECONDS
    source = source_at(login)
    await source.token()
    login.token_lifetime_seconds = 3600
    await source.token()
    await until(lambda: source._token == "bot-token-2")
    assert await source.token() == "bot-token-2"
    assert len(login.login_requests) == 2


async def test_a_failed_refresh_keeps_the_old_token_and_says_so(
    login: FakeChannel, caplog: pytest.LogCaptureFixture
) -> None:
    login.token_lifetime_seconds = SHORT_LIFETIME_SECONDS
    source = source_at(login)
    await source.token()
    login.login_answers = [Answer(503, b"<html>try later</html>")]
    with caplog.at_level(logging.WARNING, logger="shared.connector.credentials"):
        await source.token()
        await until(lambda: source._fetching is None)
    assert await source.token() == "bot-token-1"
    assert len(caplog.records) == 1


async def test_an_expired_token_is_never_sent(login: FakeChannel) -> None:
    login.token_lifetime_seconds = 0
    with pytest.raises(CredentialError):
        await source_at(login).token()


async def test_a_failure_is_not_repeated_at_once(login: FakeChannel) -> None:
    login.login_answers = [Answer(401, {"error": "invalid_client"})]
    source = source_at(login)
    for _ in range(3):
        with pytest.raises(CredentialError, match="invalid_client"):
            await source.token()
    assert len(login.login_requests) == 1


async def test_a_token_comes_after_a_failure_has_passed(login: FakeChannel) -> None:
    login.login_answers = [Answer(503), Answer(200, {"access_token": "t", "expires_in": 3600})]
    source = source_at(login, failure_pause_seconds=0)
    with pytest.raises(CredentialError):
        await source.token()
    assert await source.token() == "t"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(
            401,
            {"error": "invalid_client", "error_description": f"AADSTS7000215: wrong: {SECRET}"},
        ),
        Answer(200, b"<html>a proxy's page</html>", {"Content-Type": "text/html"}),
        Answer(200, {"access_token": "no lifetime"}),
        Answer(500),
        Answer(drop=True),
    ],
    ids=["refused", "html", "odd", "empty", "dropped"],
)
async def test_every_failure_is_one_error_that_holds_no_secret(
    login: FakeChannel, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    login.login_answers = [answer]
    with pytest.raises(CredentialError) as caught:
        await source_at(login).token()
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"


async def test_a_refusal_names_its_number_in_the_login_services_documentation(
    login: FakeChannel,
) -> None:
    description = "AADSTS7000215: Invalid client secret provided."
    login.login_answers = [
        Answer(401, {"error": "invalid_client", "error_description": description})
    ]
    with pytest.raises(CredentialError, match=r"invalid_client.*AADSTS7000215"):
        await source_at(login).token()


async def test_a_login_service_that_is_not_there_is_a_credential_error() -> None:
    async with FakeChannel() as gone:
        pass
    source = TokenSource(
        app_id=APP_ID,
        app_password=SECRET,
        cloud=replace(PUBLIC, login_url=gone.url.replace("http:", "https:")),
    )
    with pytest.raises(CredentialError):
        await source.token()


async def test_closing_the_connector_waits_for_no_token(login: FakeChannel) -> None:
    login.login_answers = [Answer(hang=True)]
    source = source_at(login, timeout_seconds=1)
    waiting = asyncio.create_task(source.token())
    await until(lambda: len(login.login_requests) == 1)
    await Connector(source).close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert source._fetching is None


async def test_a_file_of_authorities_can_be_named(
    login: FakeChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    ca_file = str(tmp_path / "authority.pem")
    assert await source_at(login, ca_file=ca_file).token() == "bot-token-1"
    with pytest.raises(CredentialError, match="SSLError"):
        await source_at(login).token()


async def test_tokens_are_fetched_through_a_proxy_of_the_environment(
    login: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy(login.url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        cloud = replace(login.cloud, login_url="https://login.example")
        # The metadata that msal asks for first names the fake's own address for the token.
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        source = TokenSource(app_id=APP_ID, app_password=SECRET, cloud=cloud)
        assert await source.token() == "bot-token-1"
        assert proxy.asked == ["login.example:443"]


async def test_a_certificate_proves_who_the_bot_is(login: FakeChannel) -> None:
    certificate = read_certificate(a_certificate())
    login.app_certificate = certificate.public
    source = TokenSource(app_id=APP_ID, certificate=certificate, cloud=login.cloud)
    assert await source.token() == "bot-token-1"
    assert "client_secret" not in login.login_requests[0]


async def test_the_key_of_another_certificate_proves_nothing(
    login: FakeChannel, caplog: pytest.LogCaptureFixture
) -> None:
    registered, other = (read_certificate(a_certificate()) for _ in range(2))
    login.app_certificate = registered.public
    for wrong in (other, replace(other, public=registered.public)):
        source = TokenSource(app_id=APP_ID, certificate=wrong, cloud=login.cloud)
        with pytest.raises(CredentialError, match="AADSTS700027") as caught:
            await source.token()
        key_line = wrong.private_key.splitlines()[1]
        assert key_line not in f"{caught.value!r} {wrong!r} {caplog.text}"


async def test_another_clouds_login_service_is_asked_for_its_scope(login: FakeChannel) -> None:
    cloud = replace(US_GOVERNMENT, login_url=login.url)
    await TokenSource(app_id=APP_ID, app_password=SECRET, cloud=cloud).token()
    asked = login.login_requests[0]
    assert asked["tenant"] == "MicrosoftServices.onmicrosoft.us"
    assert asked["scope"] == "https://api.botframework.us/.default"
