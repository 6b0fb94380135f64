"""Who is let in, who is not, and that checking never stops the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from botbuilder.schema import Activity
from botframework.connector.auth import AuthenticateRequestResult

from shared.connector.authentication import (
    InboundAuthentication,
    SigningKeys,
    SigningKeysUnavailableError,
    UnauthorizedError,
)
from shared.connector.cloud import US_GOVERNMENT
from tests.fake_channel import (
    CHANNEL_ISSUER,
    EMULATOR_ISSUER,
    Answer,
    FakeChannel,
    SigningKey,
    unsigned_token,
    until,
)

APP_ID = "00000000-0000-0000-0000-00000000b07a"
TENANT = "72F988BF-86f1-41af-91ab-2d7cd011db47"
OTHER_APP_ID = "00000000-0000-0000-0000-000000000bad"


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        yield channel


@pytest.fixture
def authentication(channel: FakeChannel) -> InboundAuthentication:
    return authentication_at(channel)


def authentication_at(channel: FakeChannel, app_id: str = APP_ID) -> InboundAuthentication:
    return InboundAuthentication(
        app_id=app_id,
        cloud=channel.cloud,
        takes_emulators=True,
        tenant=TENANT,
    )


def message(channel: FakeChannel, **fields: Any) -> Activity:
    given = {"channel_id": "msteams", "service_url": channel.service_url}
    return Activity(type="message", **(given | fields))


async def authenticate(
    authentication: InboundAuthentication, activity: Activity, header: str
) -> AuthenticateRequestResult:
    return await authentication.authenticate(header, activity.channel_id, activity.service_url)


async def test_a_channels_token_is_accepted(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    token = channel.token(app_id=APP_ID)
    result = await authenticate(authentication, message(channel), f"Bearer {token}")
    assert result.claims_identity.is_authenticated
    assert result.claims_identity.get_claim_value("aud") == APP_ID
    assert result.audience == "https://api.botframework.com"
    assert result.caller_id == "urn:botframework:azure"


async def test_the_emulators_token_is_accepted(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    token = channel.emulator_token(app_id=APP_ID)
    result = await authenticate(
        authentication, message(channel, channel_id="emulator"), f"Bearer {token}"
    )
    assert result.claims_identity.get_claim_value("appid") == APP_ID


async def test_another_clouds_channels_have_their_own_issuer(channel: FakeChannel) -> None:
    cloud = replace(
        US_GOVERNMENT,
        channel_keys_url=channel.channel_keys_url,
        emulator_keys_url=channel.emulator_keys_url,
    )
    authentication = InboundAuthentication(app_id=APP_ID, cloud=cloud)
    token = channel.token(app_id=APP_ID, claims={"iss": "https://api.botframework.us"})
    result = await authenticate(authentication, message(channel), f"Bearer {token}")
    assert result.audience == "https://api.botframework.us"
    assert result.caller_id == "urn:botframework:azureusgov"
    of_the_public_cloud = channel.token(app_id=APP_ID)
    with pytest.raises(UnauthorizedError):
        await authenticate(authentication, message(channel), f"Bearer {of_the_public_cloud}")
    the_bots_own = channel.emulator_token(
        app_id=APP_ID, claims={"aud": "https://api.botframework.us"}
    )
    with pytest.raises(UnauthorizedError):
        await authenticate(authentication, message(channel), f"Bearer {the_bots_own}")


async def test_keys_are_fetched_over_tls_from_who_is_trusted() -> None:
    async with FakeChannel(tls=True) as channel:
        token = channel.token(app_id=APP_ID)
        trusting = InboundAuthentication(
            app_id=APP_ID, cloud=channel.cloud, ssl_context=channel.ssl_context
        )
        await authenticate(trusting, message(channel), f"Bearer {token}")
        with pytest.raises(SigningKeysUnavailableError):
            await authenticate(authentication_at(channel), message(channel), f"Bearer {token}")


HEADERS_THAT_ARE_NO_TOKEN = [
    "",
    " ",
    "Bearer",
    "Bearer ",
    "Bearer garbage",
    "Bearer one.two",
    "Bearer one.two.three.four",
    "Bearer ..",
    "Bearer a.b.c d",
    "Bearer  a.b.c",
    "Bearer a.b.c\n",
    "bearer a.b.c",
    "Basic a.b.c",
    "Bearer é.b.c",
    "a.b.c",
]


@pytest.mark.parametrize("header", HEADERS_THAT_ARE_NO_TOKEN)
async def test_a_header_that_is_no_token_is_refused_without_asking_anyone(
    channel: FakeChannel, authentication: InboundAuthentication, header: str
) -> None:
    with pytest.raises(UnauthorizedError):
        await authenticate(authentication, message(channel), header)
    assert channel.keys_requests == 0


@pytest.mark.parametrize("around", ["Bearer {}\n", "Bearer {}=", "Bearer {} ", "bearer {}", "{}"])
async def test_a_good_token_in_a_bad_header_is_refused(
    channel: FakeChannel, authentication: InboundAuthentication, around: str
) -> None:
    header = around.format(channel.token(app_id=APP_ID))
    with pytest.raises(UnauthorizedError):
        await authenticate(authentication, message(channel), header)


def _bad_tokens() -> dict[str, Callable[[FakeChannel], str]]:
    def claims(**changed: Any) -> Callable[[FakeChannel], str]:
        return lambda channel: channel.token(app_id=APP_ID, claims=changed)

    def emulator(**changed: Any) -> Callable[[FakeChannel], str]:
        return lambda channel: channel.emulator_token(app_id=APP_ID, claims=changed)

    def hand_made(channel: FakeChannel, claims: Any = None, **header: Any) -> str:
        """A token that PyJWT would not make, with a signature that is none."""
        good = {"iss": CHANNEL_ISSUER, "aud": APP_ID, "serviceurl": channel.service_url}
        changed = good | claims if isinstance(claims, dict) else claims or good
        return unsigned_token({"alg": "RS256", "kid": "first-key"} | header, changed)

    return {
        "not base64": lambda _: "a.b.c",
        "wrong issuer": claims(iss="https://login.example"),
        "issuer is a list": lambda channel: hand_made(channel, {"iss": [CHANNEL_ISSUER]}),
        "no issuer": claims(iss=None),
        "issuer is empty": claims(iss=""),
        "wrong audience": claims(aud=OTHER_APP_ID),
        "audience is a list": claims(aud=[APP_ID]),
        "no audience": claims(aud=None),
        "no service url": claims(serviceurl=None),
        "another service url": claims(serviceurl="https://smba.example/"),
        "no expiry": claims(exp=None),
        "expiry is a list": lambda channel: hand_made(channel, {"exp": [1]}),
        "emulator without expiry": emulator(exp=None),
        "emulator of another tenant": emulator(iss=f"https://sts.windows.net/{OTHER_APP_ID}/"),
        "emulator for the app with another audience": emulator(aud=OTHER_APP_ID),
        "emulator of version 2 with the claim of version 1": emulator(ver="2.0"),
        "channel's token by an emulator's issuer": claims(iss=EMULATOR_ISSUER),
        "unknown critical header": lambda channel: channel.token(
            app_id=APP_ID, headers={"crit": ["exp"]}
        ),
        "longer than any": lambda channel: channel.token(app_id=APP_ID, claims={"x": "x" * 20_000}),
        "expired": lambda channel: channel.token(app_id=APP_ID, expires_in_seconds=-3600),
        "expiry is text": claims(exp="soon"),
        "expiry is infinite": claims(exp=float("inf")),
        "not yet valid": claims(nbf=99_999_999_999),
        "skill": claims(ver="1.0", appid=OTHER_APP_ID),
        "anonymous skill": claims(appid="AnonymousSkill"),
        "skill by an accepted issuer": emulator(appid=OTHER_APP_ID),
        "emulator for another app": emulator(appid=OTHER_APP_ID, aud=OTHER_APP_ID),
        "emulator without version": emulator(ver=None),
        "emulator of unknown version": emulator(ver="9"),
        "emulator without app id": emulator(appid=None, aud=None),
        "the bot's own token for channels": emulator(aud="https://api.botframework.com"),
        "bad signature": hand_made,
        "bad signature of the emulator": lambda channel: hand_made(
            channel, {"iss": EMULATOR_ISSUER, "ver": "1.0", "appid": APP_ID}
        ),
        "signed by another key": lambda channel: channel.token(
            app_id=APP_ID, key=SigningKey("first-key")
        ),
        "unknown key": lambda channel: channel.token(app_id=APP_ID, headers={"kid": "unknown"}),
        "no key id": lambda channel: channel.token(app_id=APP_ID, headers={"kid": None}),
        "key id is a number": lambda channel: hand_made(channel, kid=7),
        "algorithm none": lambda channel: hand_made(channel, alg="none"),
        "algorithm HS256": lambda channel: hand_made(channel, alg="HS256"),
        "algorithm PS256": lambda channel: channel.token(app_id=APP_ID, algorithm="PS256"),
        "claims are a list": lambda channel: hand_made(channel, ["no", "claims"]),
        "claims are nested deep": lambda _: f"{'e30'}.{'W1tb' * 20_000}.c2ln",
    }


BAD_TOKENS = _bad_tokens()


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_every_bad_token_is_unauthorized(
    channel: FakeChannel, authentication: InboundAuthentication, name: str
) -> None:
    token = BAD_TOKENS[name](channel)
    with pytest.raises(UnauthorizedError) as caught:
        await authenticate(authentication, message(channel), f"Bearer {token}")
    assert token not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_key_is_good_only_for_the_channels_that_endorse_it(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    token = channel.token(app_id=APP_ID)
    with pytest.raises(UnauthorizedError, match="endorsement"):
        await authenticate(authentication, message(channel, channel_id="slack"), f"Bearer {token}")


@pytest.mark.parametrize("field", ["service_url", "channel_id"])
@pytest.mark.parametrize("value", [None, ""])
async def test_an_activity_without_what_the_claims_are_compared_with_is_refused(
    channel: FakeChannel, authentication: InboundAuthentication, field: str, value: str | None
) -> None:
    token = channel.token(app_id=APP_ID)
    with pytest.raises(UnauthorizedError):
        await authenticate(authentication, message(channel, **{field: value}), f"Bearer {token}")


@pytest.mark.parametrize("header", ["", "Bearer garbage", "Bearer a.b.c"])
async def test_without_an_app_id_everyone_is_anonymous(channel: FakeChannel, header: str) -> None:
    result = await authenticate(
        authentication_at(channel, app_id=""), message(channel, channel_id="emulator"), header
    )
    assert result.claims_identity.authentication_type == "anonymous"
    assert result.claims_identity.claims == {}
    assert result.caller_id is None
    assert channel.keys_requests == 0


async def test_keys_are_fetched_once(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    await asyncio.gather(
        *(authenticate(authentication, message(channel), header) for _ in range(20))
    )
    assert channel.keys_requests == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(200, b"<html></html>", {"Content-Type": "text/html"}),
        Answer(200, {}),
        Answer(200, []),
        Answer(302, headers={"Location": "/nowhere"}),
        Answer(drop=True),
    ],
    ids=["500", "html", "no keys url", "a list", "redirect", "dropped"],
)
async def test_keys_that_cannot_be_fetched_are_not_the_callers_fault(
    channel: FakeChannel, authentication: InboundAuthentication, answer: Answer
) -> None:
    channel.keys_answers = [answer]
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    with pytest.raises(SigningKeysUnavailableError):
        await authenticate(authentication, message(channel), header)


async def test_an_empty_set_of_keys_is_not_the_callers_fault(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    channel.keys = []
    with pytest.raises(SigningKeysUnavailableError):
        await authenticate(authentication, message(channel), header)


async def test_the_loop_goes_on_while_the_keys_hang(channel: FakeChannel) -> None:
    channel.keys_answers = [Answer(hang=True)]
    keys = SigningKeys(channel.channel_keys_url, timeout_seconds=0.5)
    waiting = asyncio.create_task(keys.get("first-key"))
    # The fake lives on this loop: it can only be reached if the loop is free.
    await until(lambda: channel.keys_requests == 1)
    assert not waiting.done()
    with pytest.raises(SigningKeysUnavailableError, match="TimeoutError"):
        await waiting


async def test_callers_that_waited_for_a_failed_fetch_do_not_fetch_one_after_another(
    channel: FakeChannel,
) -> None:
    channel.keys_answers = [Answer(hang=True)]
    keys = SigningKeys(channel.channel_keys_url, timeout_seconds=0.2)
    results = await asyncio.gather(
        *(keys.get("first-key") for _ in range(10)), return_exceptions=True
    )
    assert {type(result) for result in results} == {SigningKeysUnavailableError}
    assert channel.keys_requests == 1


async def test_a_new_signing_key_is_picked_up(channel: FakeChannel) -> None:
    keys = SigningKeys(channel.channel_keys_url, pause_seconds=0)
    await keys.get("first-key")
    channel.keys = [SigningKey("second-key")]
    await keys.get("second-key")
    assert channel.keys_requests == 2


async def test_a_key_that_was_withdrawn_is_refused(channel: FakeChannel) -> None:
    keys = SigningKeys(channel.channel_keys_url, max_age_seconds=0, pause_seconds=0)
    await keys.get("first-key")
    channel.keys = [SigningKey("second-key")]
    with pytest.raises(UnauthorizedError):
        await keys.get("first-key")


async def test_a_token_of_a_new_key_is_accepted_without_a_restart(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    # With the usual pause the test would take five minutes.
    authentication._channel_keys = SigningKeys(channel.channel_keys_url, pause_seconds=0)
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    await authenticate(authentication, message(channel), header)
    channel.keys = [SigningKey("second-key"), *channel.keys]
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    result = await authenticate(authentication, message(channel), header)
    assert result.claims_identity.is_authenticated


async def test_made_up_key_ids_fetch_the_keys_once(channel: FakeChannel) -> None:
    keys = SigningKeys(channel.channel_keys_url)
    results = await asyncio.gather(
        *(keys.get(f"made-up-{number}") for number in range(50)), return_exceptions=True
    )
    assert {type(result) for result in results} == {UnauthorizedError}
    assert channel.keys_requests == 1


async def test_a_known_key_does_not_wait_for_a_fetch_under_way(
    channel: FakeChannel,
) -> None:
    keys = SigningKeys(channel.channel_keys_url, max_age_seconds=0, pause_seconds=0)
    await keys.get("first-key")
    channel.keys_answers = [Answer(hang=True)]
    first = asyncio.create_task(keys.get("first-key"))
    await until(lambda: channel.keys_requests == 2)
    assert (await keys.get("first-key")).endorsements
    assert not first.done()
    first.cancel()


async def test_old_keys_serve_while_new_ones_cannot_be_fetched(channel: FakeChannel) -> None:
    keys = SigningKeys(channel.channel_keys_url, max_age_seconds=0, pause_seconds=0)
    await keys.get("first-key")
    channel.keys_answers = [Answer(500)]
    assert await keys.get("first-key")
    assert channel.keys_requests == 2
    with pytest.raises(SigningKeysUnavailableError):
        await keys.get("perhaps-a-new-key")


@pytest.mark.parametrize("endorsements", [None, (), ("slack",)])
@pytest.mark.parametrize("channel_id", ["msteams", "test", "made-up"])
async def test_a_key_that_endorses_no_channel_is_good_for_none(
    channel: FakeChannel,
    authentication: InboundAuthentication,
    endorsements: tuple[str, ...] | None,
    channel_id: str,
) -> None:
    channel.keys = [SigningKey("first-key", endorsements)]
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    with pytest.raises(UnauthorizedError, match="endorsement"):
        await authenticate(authentication, message(channel, channel_id=channel_id), header)


@pytest.mark.parametrize(
    ("issuer", "version", "claim"),
    [
        ("https://sts.windows.net/{}/", "1.0", "appid"),
        ("https://login.microsoftonline.com/{}/v2.0", "2.0", "azp"),
    ],
)
async def test_the_emulators_token_may_be_of_the_bots_own_tenant(
    channel: FakeChannel, issuer: str, version: str, claim: str
) -> None:
    claims = {"appid": None, "iss": issuer.format(TENANT.lower()), "ver": version, claim: APP_ID}
    header = f"Bearer {channel.emulator_token(app_id=APP_ID, claims=claims)}"
    await authenticate(authentication_at(channel), message(channel), header)
    elsewhere = InboundAuthentication(app_id=APP_ID, cloud=channel.cloud, takes_emulators=True)
    with pytest.raises(UnauthorizedError):
        await authenticate(elsewhere, message(channel), header)


@pytest.mark.parametrize("channel_id", ["emulator", "msteams"])
async def test_outside_of_development_the_emulators_token_is_refused(
    channel: FakeChannel, channel_id: str
) -> None:
    production = InboundAuthentication(app_id=APP_ID, cloud=channel.cloud, tenant=TENANT)
    header = f"Bearer {channel.emulator_token(app_id=APP_ID)}"
    with pytest.raises(UnauthorizedError, match="development"):
        await authenticate(production, message(channel, channel_id=channel_id), header)
    assert channel.keys_requests == 0


async def test_a_remembered_token_is_compared_with_each_activity(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    first = await authentication.verify(header)
    assert await authentication.verify(header) is first
    for other in ({"channel_id": "slack"}, {"service_url": "https://smba.example/"}):
        with pytest.raises(UnauthorizedError):
            await authenticate(authentication, message(channel, **other), header)


async def test_a_remembered_token_is_good_no_longer_than_its_key(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    url = channel.channel_keys_url
    authentication._channel_keys = SigningKeys(url, max_age_seconds=0, pause_seconds=0)
    header = f"Bearer {channel.token(app_id=APP_ID)}"
    await authentication.verify(header)
    channel.keys = [SigningKey("first-key")]  # the same name, another key
    with pytest.raises(UnauthorizedError):
        await authentication.verify(header)


async def test_a_remembered_token_is_checked_again_when_it_expires(
    channel: FakeChannel, authentication: InboundAuthentication
) -> None:
    header = f"Bearer {channel.token(app_id=APP_ID, expires_in_seconds=-10)}"  # within the skew
    assert await authentication.verify(header) is not await authentication.verify(header)


async def test_so_many_tokens_are_remembered_and_no_more(
    channel: FakeChannel,
    authentication: InboundAuthentication,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.connector.authentication._REMEMBERED_TOKENS", 3)
    for number in range(5):
        token = channel.token(app_id=APP_ID, claims={"number": number})
        await authentication.verify(f"Bearer {token}")
    assert len(authentication._verified) == 3


@pytest.mark.parametrize("url", ["http://login.example/keys", "ftp://127.0.0.1/keys", "keys", 5])
async def test_keys_come_over_https_only(channel: FakeChannel, url: object) -> None:
    channel.keys_answers = [Answer(200, {"jwks_uri": url})]
    with pytest.raises(SigningKeysUnavailableError):
        await SigningKeys(channel.channel_keys_url).get("first-key")


async def test_an_endless_document_of_keys_is_not_read(channel: FakeChannel) -> None:
    channel.keys_answers = [Answer(200, {"jwks_uri": f"{channel.url}/keys", "x": "x" * 2**20})]
    with pytest.raises(SigningKeysUnavailableError, match="TooLargeError"):
        await SigningKeys(channel.channel_keys_url).get("first-key")


async def test_keys_too_old_are_used_no_more(channel: FakeChannel) -> None:
    keys = SigningKeys(
        channel.channel_keys_url, max_age_seconds=0, max_stale_seconds=0, pause_seconds=0
    )
    channel.keys_answers = [Answer(200, {"jwks_uri": f"{channel.url}/keys"}), Answer(500)]
    await keys._fetch()
    with pytest.raises(SigningKeysUnavailableError):
        await keys.get("first-key")
