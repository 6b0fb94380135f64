from copy import deepcopy
from datetime import UTC, datetime

from botbuilder.schema import Activity, Attachment, ChannelAccount, ConversationAccount

from shared.connector import model_copies


def test_a_copy_has_the_same_fields_and_shares_nothing_that_can_change() -> None:
    model_copies.install()
    original = Activity(
        text="hello",
        timestamp=datetime(2026, 11, 30, tzinfo=UTC),
        from_property=ChannelAccount(id="user"),
        attachments=[Attachment(content={"a": [1]})],
        channel_data={"tenant": {"id": "t"}},
    )
    original.additional_properties = {"more": {"b": 2}}

    copy = deepcopy(original)
    assert copy == original
    assert type(copy) is Activity

    copy.text = "changed"
    copy.from_property.id = "changed"
    copy.attachments[0].content["a"].append(2)
    copy.channel_data["tenant"]["id"] = "changed"
    copy.additional_properties["more"]["b"] = 3
    assert original.text == "hello"
    assert original.from_property.id == "user"
    assert original.attachments[0].content == {"a": [1]}
    assert original.channel_data == {"tenant": {"id": "t"}}
    assert original.additional_properties == {"more": {"b": 2}}


def test_what_is_there_twice_is_there_twice_in_the_copy() -> None:
    model_copies.install()
    bot = ChannelAccount(id="bot")
    copy = deepcopy(Activity(from_property=bot, recipient=bot))
    assert copy.from_property is copy.recipient
    assert copy.from_property is not bot


def test_a_model_that_holds_itself_is_copied_once() -> None:
    model_copies.install()
    original = ConversationAccount(id="conversation", properties={})
    original.properties["self"] = original
    copy = deepcopy(original)
    assert copy.properties["self"] is copy
