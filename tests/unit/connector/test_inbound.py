"""What comes in: one status and reason for each mistake, in the documented order."""

import json
from copy import deepcopy
from datetime import UTC
from typing import Any

import pytest
from botbuilder.schema import Activity

from shared.connector.inbound import (
    MAX_BODY_BYTES,
    MAX_DEPTH,
    MAX_ITEMS,
    BadRequestError,
    read_activity,
)
from shared.connector.references import reference_of

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
        ("recipient", []),
        ("attachments", {}),
        ("attachments", ["x"]),
        ("attachments", [{"contentType": 5}]),
        ("membersAdded", [5]),
        ("name", 5),
        ("replyToId", 5),
        ("deliveryMode", []),
        ("id", 5),
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


@pytest.mark.parametrize("value", ["yesterday", "2026-99-99T00:00:00Z", "2026-11-22"])
def test_an_unreadable_timestamp_is_named(value: str) -> None:
    assert refusal(changed("timestamp", value)) == (400, "timestamp is no ISO 8601 timestamp")


def taken(body: bytes | dict[str, Any]) -> Activity:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_activity("application/json", content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("localTimestamp", "2018-04-03T15:04:34 09:00"),
        ("localTimestamp", "2026-13-45T00:00:00Z"),
        ("localTimestamp", 1700000000),
        ("expiration", "never"),
        ("expiration", "2026-11-22"),
        ("from.name", 5),
        ("conversation.name", ["x"]),
        ("historyDisclosed", "maybe"),
        ("suggestedActions", "x"),
        ("relatesTo", [1]),
        ("entities", "x"),
        ("semanticAction", {"id": 5, "entities": []}),
        ("textFormat", 7),
        ("callerId", {"a": 1}),
        ("textHighlights", [{"text": "hi", "occurrence": "first"}]),
        ("reactionsAdded", {}),
    ],
)
def test_a_field_that_nobody_reads_never_costs_the_message(path: str, value: object) -> None:
    activity = taken(changed(path, value))
    assert (activity.text, activity.from_property.id) == ("hi", "ann")


@pytest.mark.parametrize("field", ["timestamp", "localTimestamp", "expiration"])
def test_an_empty_date_is_none(field: str) -> None:
    assert taken(changed(field, "")).serialize().get(field) is None


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2025-12-31T24:00:00Z", "2026-01-01T00:00:00"),
        ("2025-12-31T24:00:00.000+01:00", "23:00:00"),
    ],
)
@pytest.mark.parametrize("field", ["timestamp", "local_timestamp"])
def test_midnight_may_be_24_00(field: str, written: str, hour: str) -> None:
    name = "localTimestamp" if field == "local_timestamp" else field
    moment = getattr(taken(changed(name, written)), field)
    assert hour in moment.astimezone(UTC).isoformat()


@pytest.mark.parametrize(
    ("written", "flag"),
    [("true", True), ("True", True), ("FALSE", False), ("false", False), (True, True)],
)
def test_flags_may_be_strings(written: object, flag: object) -> None:
    assert taken(changed("conversation.isGroup", written)).conversation.is_group is flag


def test_in_a_list_only_the_item_that_cannot_be_read_is_left_out() -> None:
    mention = {"type": "mention", "text": "@bot", "mentioned": {"id": "bot"}}
    activity = taken(changed("entities", [5, mention, {"type": ["x"], "a": 1}]))
    assert [each.type for each in activity.entities] == ["mention", None]
    assert activity.entities[0].additional_properties["mentioned"] == {"id": "bot"}


@pytest.mark.parametrize("escaped", ["\\ud83d", "a\\udc00b", "\\ude00\\ud83d"])
def test_lone_surrogates_are_replaced_where_no_id_is_made_of_them(escaped: str) -> None:
    name, key = f'"{escaped}"', f'{{"{escaped}": ["{escaped}"]}}'
    body = json.dumps(
        {**MESSAGE, "text": "TEXT", "from": {"id": "ann", "name": "NAME"}, "value": 1}
    )
    body = (
        body.replace('"TEXT"', name)
        .replace('"NAME"', name)
        .replace('"value": 1', f'"channelData": {key}')
    )
    activity = taken(body.encode())
    assert "\ufffd" in activity.text
    assert "\ufffd" in activity.from_property.name
    assert json.dumps(activity.serialize(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "path", ["conversation.id", "from.id", "channelId", "conversation.tenantId"]
)
def test_a_lone_surrogate_in_an_id_is_refused_as_it_might_become_that_of_somebody_else(
    path: str,
) -> None:
    status, reason = refusal(changed(path, "a\ud800"))
    assert (status, reason) == (400, f"{path} must be text, without lone surrogates")


@pytest.mark.parametrize(
    ("conversation", "data", "tenant"),
    [
        ({}, {"tenant": {"id": "contoso"}}, "contoso"),
        ({"tenantId": ""}, {"tenant": {"id": "contoso"}}, "contoso"),
        ({"tenantId": None}, {"tenant": {"id": "contoso"}, "team": {"id": "t"}}, "contoso"),
        ({"tenantId": "fabrikam"}, {"tenant": {"id": "contoso"}}, "fabrikam"),
        ({}, {"tenant": "contoso"}, None),
        ({}, {"tenant": {"id": 5}}, None),
        ({}, {"tenant": {"id": ""}}, None),
        ({}, {"tenant": {"id": "x" * 300}}, None),
        ({}, "tenant", None),
        ({}, None, None),
    ],
)
def test_the_tenant_is_that_of_channel_data_where_the_conversation_has_none(
    conversation: dict[str, Any], data: object, tenant: str | None
) -> None:
    body = {**MESSAGE, "conversation": {"id": "talk"} | conversation, "channelData": data}
    assert reference_of(taken(body)).tenant == tenant
    assert taken(body).conversation.tenant_id == tenant  # as the SDK's older adapter shows it


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


# What channels send, and what the SDK's reader can read of the schema.
SAMPLES: dict[str, dict[str, Any]] = {
    "message": MESSAGE,
    "teams": {
        **MESSAGE,
        "textFormat": "plain",
        "localTimezone": "Europe/Berlin",
        "conversation": {"id": "a:1", "conversationType": "personal", "tenantId": "t", "x": [1]},
        "from": {"id": "29:x", "aadObjectId": "a", "givenName": "Ada", "properties": {"a": [{}]}},
        "entities": [
            {"type": "clientInfo", "country": "DE", "platform": "Web"},
            {"type": "mention", "mentioned": {"id": "28:b", "name": "Bot"}, "text": "<at>Bot</at>"},
        ],
        "channelData": {"tenant": {"id": "t"}, "team": {"id": "19:x", "n": [1, 1.5, None, True]}},
        "attachments": [
            {"contentType": "text/html", "content": "<p>hi</p>"},
            {"contentType": "application/json", "content": {"a": [{"b": None}]}, "extra": 1},
        ],
    },
    "members": {
        **MESSAGE,
        "type": "conversationUpdate",
        "membersAdded": [{"id": "a", "name": "Ann", "role": "user"}, {"id": "b"}],
        "membersRemoved": [],
        "historyDisclosed": False,
        "topicName": "news",
    },
    "reaction": {**MESSAGE, "reactionsAdded": [{"type": "like", "user": {"id": "x"}}]},
    "invoke": {**MESSAGE, "type": "invoke", "name": "task/submit", "value": {"data": [{"a": "b"}]}},
    "scalar value": {
        **MESSAGE,
        "value": 5,
        "channelData": "text",
        "label": "",
        "unknown": {"a": 1},
    },
    "card": {
        **MESSAGE,
        "suggestedActions": {
            "to": ["ann"],
            "actions": [{"type": "imBack", "title": "Yes", "value": {"a": 1}, "displayText": "y"}],
        },
        "listenFor": ["a", "b"],
        "textHighlights": [{"text": "hi", "occurrence": 2}],
        "semanticAction": {"id": "book", "entities": {"city": {"type": "place", "name": "Rome"}}},
        "relatesTo": {
            "activityId": "0",
            "user": {"id": "u"},
            "bot": {"id": "b"},
            "conversation": {"id": "c", "isGroup": True},
            "channelId": "test",
            "serviceUrl": "https://x/",
        },
    },
    **{
        f"at {written}": {**MESSAGE, "timestamp": written, "localTimestamp": written}
        for written in (
            "2026-11-22T12:00:00",
            "2026-11-22T12:00:00Z",
            "2026-11-22t12:00:00z",
            "2026-11-22T12:00:00.1Z",
            "2026-11-22T12:00:00.123456789Z",
            "2026-11-22T12:00:00+05:30",
            "2026-11-22T12:00:00.5-0800",
            "2026-11-22T12:00:00+05",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        )
    },
}


@pytest.mark.parametrize("name", SAMPLES)
def test_an_activity_is_what_the_sdks_own_reader_makes_of_it(name: str) -> None:
    activity = taken(SAMPLES[name])
    theirs = Activity.deserialize(json.loads(json.dumps(SAMPLES[name])))
    # The SDK's reader takes no tenant: its schema has another name for it.
    theirs.conversation.tenant_id = SAMPLES[name]["conversation"].get("tenantId")
    assert activity == theirs
    assert deepcopy(activity) == activity


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-22T12:00Z",
        "2026-11-22 12:00:00Z",
        "20261122T120000Z",
        "2026-11-22T12:00:00+99:00",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T24:00:00Z",
        "2026-11-22T12:00:00." + "1" * 100_000,
        "٢٠٢٦-11-22T12:00:00Z",
        "2026-02-30T12:00:00Z",
    ],
)
def test_other_forms_are_no_timestamps(written: str) -> None:
    assert refusal(changed("timestamp", written)) == (400, "timestamp is no ISO 8601 timestamp")
    assert taken(changed("localTimestamp", written)).local_timestamp is None


def test_two_activities_share_nothing() -> None:
    first, second = taken(MESSAGE), taken(MESSAGE)
    first.additional_properties["seen"] = True
    assert second.additional_properties == {}
    assert Activity().additional_properties == {}


def nested(depth: int, inner: Any = 1) -> Any:
    value = inner
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


@pytest.mark.parametrize("field", ["value", "channelData", "unknown", "attachments"])
def test_nesting_has_a_ceiling(field: str) -> None:
    def body(depth: int) -> dict[str, Any]:
        inner = nested(depth)
        return {**MESSAGE, field: [{"content": inner}] if field == "attachments" else inner}

    around = 3 if field == "attachments" else 1
    deepcopy(taken(body(MAX_DEPTH - around)))
    for depth in (MAX_DEPTH - around + 1, 500):
        status, reason = refusal(body(depth))
        assert (status, "nested" in reason) == (400, True)


def test_brackets_in_text_are_not_nesting() -> None:
    assert taken({**MESSAGE, "text": "[{" * 1_000}).text == "[{" * 1_000


@pytest.mark.parametrize(
    "fields",
    [
        {"attachments": [{}] * (MAX_ITEMS + 1)},
        {"entities": [5] * (MAX_ITEMS + 1)},
        {"membersAdded": [{}] * MAX_ITEMS, "textHighlights": [{}]},
        {"suggestedActions": {"actions": [{}] * (MAX_ITEMS + 1)}},
        {"semanticAction": {"entities": {str(number): {} for number in range(MAX_ITEMS + 1)}}},
    ],
)
def test_items_that_become_objects_have_a_ceiling(fields: dict[str, Any]) -> None:
    assert refusal({**MESSAGE, **fields}) == (400, f"the lists have more than {MAX_ITEMS} items")


@pytest.mark.parametrize("field", ["value", "channelData", "listenFor", "unknown"])
def test_lists_of_free_json_have_none(field: str) -> None:
    assert taken({**MESSAGE, field: ["x"] * (MAX_ITEMS + 1)}).text == "hi"


def test_as_many_items_as_the_ceiling_are_read() -> None:
    assert len(taken({**MESSAGE, "attachments": [{}] * MAX_ITEMS}).attachments) == MAX_ITEMS
