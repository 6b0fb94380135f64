"""References as rows and dead letters keep them."""

import json
from dataclasses import replace

import pytest

from shared.domain.reference import Account, Reference

# As rows have it, byte for byte.
IN_TEAMS = (
    '{"channelId":"msteams","serviceUrl":"https://smba.trafficmanager.net/amer/",'
    '"user":{"id":"29:ann","aadObjectId":"0-1","role":"user"},"bot":{"id":"28:bot","role":"bot"},'
    '"conversation":{"id":"a:talk","isGroup":false,"conversationType":"personal","tenantId":"t"}}'
)
IN_A_GROUP = (
    '{"channelId":"directline","serviceUrl":"https://d/",'
    '"conversation":{"id":"talk","isGroup":true}}'
)
OF_ANOTHER_VERSION = (
    '{"channelId":"c","serviceUrl":"https://c/","user":{"id":"ann","name":"Ann"},'
    '"bot":{"id":"bot","tags":["a",null]},"conversation":{"id":"talk","name":null,"topic":"cars"},'
    '"locale":"it-IT","nothing":null}'
)


def read(text: str) -> Reference:
    return Reference.from_json(json.loads(text))


def written(reference: Reference) -> str:
    return json.dumps(reference.to_json(), separators=(",", ":"))


def test_what_a_row_says_can_be_read() -> None:
    assert read(IN_TEAMS) == Reference(
        channel="msteams",
        service_url="https://smba.trafficmanager.net/amer/",
        conversation_id="a:talk",
        is_group=False,
        conversation_type="personal",
        tenant="t",
        user=Account("29:ann", aad_object_id="0-1", role="user"),
        bot=Account("28:bot", role="bot"),
    )


@pytest.mark.parametrize("stored", [IN_TEAMS, IN_A_GROUP, OF_ANOTHER_VERSION])
def test_what_was_read_is_written_byte_for_byte(stored: str) -> None:
    assert written(read(stored)) == stored


def test_a_change_leaves_the_fields_that_nobody_here_knows() -> None:
    changed = replace(read(OF_ANOTHER_VERSION), service_url="https://moved/", user=None)
    expected = {**json.loads(OF_ANOTHER_VERSION), "serviceUrl": "https://moved/"}
    del expected["user"]
    assert changed.to_json() == expected


@pytest.mark.parametrize("path", ["channelId", "serviceUrl", "conversation.id", "user.id"])
def test_a_reference_without_what_a_notice_needs_cannot_be_read(path: str) -> None:
    stored = json.loads(IN_TEAMS)
    *outer, last = path.split(".")
    del (stored[outer[0]] if outer else stored)[last]
    with pytest.raises(KeyError):
        Reference.from_json(stored)


def test_only_a_reference_that_names_a_user_has_a_users_hash() -> None:
    assert read(IN_TEAMS).user_hash != read(OF_ANOTHER_VERSION).user_hash != ""
    assert read(IN_A_GROUP).user_hash == ""
