"""What comes in: one status and reason for each mistake, in the documented order."""

import json
from typing import Any

import pytest

from shared.connector.inbound import MAX_BODY_BYTES, BadRequestError, read_activity

MESSAGE: dict[str, Any] = {
    "type": "message",
    "id": "1",
    "timestamp": "2026-11-22T12:00:00.1234567Z",
    "localTimestamp": "2026-11-22T13:00:00+01:00",
    "channelId": "directline",
    "serviceUrl": "https://channel.example/",
    "conversation": {"id": "talk"},
    "from": {"id": "ann", "name": "Ann"},
    "recipient": {"id": "bot"},
    "text": "hi",
}


def refusal(
    body: bytes | dict[str, Any], content_type: str = "application/json"
) -> tuple[int, str]:
    with pytest.raises(BadRequestError) as error:
        read_activity(content_type, body if isinstance(body, bytes) else json.dumps(body).encode())
    return error.value.status, str(error.value)


def changed(path: str, value: object) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(MESSAGE))
    *parents, name = path.split(".")
    place = copy
    for parent in parents:
        place = place[parent]
    if value is ...:
        place.pop(name)
    else:
        place[name] = value
    return copy


def test_a_message_is_read() -> None:
    activity = read_activity("application/json; charset=utf-8", json.dumps(MESSAGE).encode())
    assert (activity.text, activity.from_property.id, activity.conversation.id) == (
        "hi",
        "ann",
        "talk",
    )


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_comes_first(content_type: str) -> None:
    assert refusal(b"x" * (MAX_BODY_BYTES + 1), content_type)[0] == 415


def test_size_comes_before_syntax() -> None:
    assert refusal(b"x" * (MAX_BODY_BYTES + 1))[0] == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"null", b"[]", b'"text"', b"5", b"[" * 100_000, b'{"text": "\\ud800"}'],
)
def test_what_is_no_json_object_of_text_is_400(body: bytes) -> None:
    assert refusal(body)[0] == 400


@pytest.mark.parametrize("path", ["type", "channelId", "serviceUrl", "conversation.id", "from.id"])
@pytest.mark.parametrize("value", [..., None, ""], ids=["absent", "null", "empty"])
def test_a_missing_field_is_named(path: str, value: object) -> None:
    assert refusal(changed(path, value)) == (400, f"the activity has no {path}")


@pytest.mark.parametrize("path", ["conversation", "from"])
def test_a_missing_object_is_named_by_the_field_it_should_have(path: str) -> None:
    assert refusal(changed(path, ...)) == (400, f"the activity has no {path}.id")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", 5),
        ("text", {"a": 1}),
        ("conversation", "abc"),
        ("conversation.isGroup", "yes"),
        ("from", 5),
        ("from.name", 5),
        ("recipient", []),
        ("attachments", {}),
        ("attachments", ["x"]),
        ("attachments", [{"contentType": 5}]),
        ("membersAdded", [5]),
        ("suggestedActions", "x"),
        ("suggestedActions", {"actions": "x"}),
        ("relatesTo", [1]),
        ("entities", [{"type": 5}]),
        ("historyDisclosed", "maybe"),
        ("timestamp", 5),
        ("channelId", 5),
        ("conversation.tenantId", {}),
    ],
)
def test_a_field_of_another_json_type_is_named(path: str, value: object) -> None:
    status, reason = refusal(changed(path, value))
    assert status == 400
    assert reason.startswith(path)
    assert " must be " in reason


@pytest.mark.parametrize("field", ["timestamp", "localTimestamp", "expiration"])
@pytest.mark.parametrize("value", ["yesterday", "2026-99-99T00:00:00Z", "2026-11-22", ""])
def test_an_unreadable_timestamp_is_named(field: str, value: str) -> None:
    assert refusal(changed(field, value)) == (400, f"{field} is no ISO 8601 timestamp")


@pytest.mark.parametrize("path", ["conversation.id", "from.id", "recipient.id", "locale"])
def test_a_field_too_long_to_keep_is_named(path: str) -> None:
    status, reason = refusal(changed(path, "x" * 2_049))
    assert status == 400
    assert reason.startswith(f"{path} is longer than ")


def test_ids_of_2000_characters_of_any_kind_are_taken() -> None:
    for character in "😀/\\#?%\0\x7f ":
        body = json.dumps(changed("conversation.id", character * 2000)).encode()
        assert len(read_activity("application/json", body).conversation.id) == 2000


def test_a_separator_in_the_channel_id_is_refused() -> None:
    assert refusal(changed("channelId", "a|b"))[0] == 400


@pytest.mark.parametrize("value", [..., None, {}])
def test_the_recipient_may_be_absent(value: object) -> None:
    read_activity("application/json", json.dumps(changed("recipient", value)).encode())


def test_channel_data_and_value_may_be_anything() -> None:
    values: list[Any] = [5, "x", [[]], {"a": None}, True]
    for value in values:
        body = json.dumps({**MESSAGE, "channelData": value, "value": value}).encode()
        assert read_activity("application/json", body).channel_data == value
