"""What a user wrote to the bot, without the bot's own name.

In a group or a channel, users must mention the bot to reach it, and channels leave that mention in
the text: Teams writes `<at>Bot</at>&nbsp;Bus`, Slack `@bot Bus` or `<@U024BE7LH> Bus`. The SDK's
`TurnContext.remove_recipient_mention` knows the first form only, and keeps the space after it.
"""

import re
from collections.abc import Iterator
from typing import Any

from botbuilder.schema import Activity

_LONGEST_ATTRIBUTES = 200  # characters; without an end, a long text would be searched many times


def text_to_bot(activity: Activity) -> str | None:
    """The text without mentions of the bot; those of others stay. None where there is no text."""
    text: str | None = activity.text
    forms = "|".join(_forms(activity))
    if not text or not forms:
        return text
    pieces = re.split(forms, text, flags=re.IGNORECASE)
    if len(pieces) == 1:
        return text
    # Teams writes the space beside a mention as an entity of HTML.
    first, *rest = (piece.replace("&nbsp;", " ").strip() for piece in pieces)
    if not first:
        rest[0] = rest[0].lstrip(":,").lstrip()  # of "@bot: Bus"
    return " ".join(piece for piece in (first, *rest) if piece)


def _forms(activity: Activity) -> Iterator[str]:
    """Patterns of how the channel may write the bot's name."""
    bot = activity.recipient
    if bot is None or not bot.id:
        return
    names = {bot.name} if bot.name else set()
    for entity in activity.entities or []:
        more: dict[str, Any] = entity.additional_properties or {}
        mentioned = more.get("mentioned") if (entity.type or "").lower() == "mention" else None
        if not isinstance(mentioned, dict) or mentioned.get("id") != bot.id:
            continue
        written, name = more.get("text"), mentioned.get("name")
        if isinstance(written, str) and written.strip():
            yield re.escape(written.strip())
        if isinstance(name, str) and name:
            names.add(name)
            yield rf"@{re.escape(name)}(?!\w)"
    for name in names:
        yield rf"<at(?:\s[^<>]{{0,{_LONGEST_ATTRIBUTES}}})?>{re.escape(name)}</at>"
    # Slack's account ids are "user:team"; the mention has the first part, and may have a label.
    yield rf"<@{re.escape(bot.id.partition(':')[0])}(?:\|[^<>]{{0,{_LONGEST_ATTRIBUTES}}})?>"
