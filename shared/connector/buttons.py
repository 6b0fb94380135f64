"""A message with one button, in the form that its channel shows. Its text says all without it."""

from typing import Any

from botbuilder.core import CardFactory
from botbuilder.schema import ActionTypes, Activity, CardAction, SuggestedActions

from shared.domain.buttons import resume_value
from shared.texts.languages import Texts


def add_resume_button(
    message: Activity, channel: str, session: str, texts: Texts, locale: str | None
) -> None:
    """Add the button that resumes this session, in the language of the locale."""
    add_button(message, channel, texts.say("resume", locale).text, resume_value(session))


def add_button(message: Activity, channel: str, title: str, value: dict[str, Any]) -> None:
    """Add the button; a press brings the value back, as that of a message."""
    if channel == "msteams":  # it shows suggested actions in personal chats only
        # Not a hero card: the Playground does not send who presses there.
        button = {"type": "Action.Submit", "title": title, "data": value}
        card = {"type": "AdaptiveCard", "version": "1.0", "body": [], "actions": [button]}
        message.attachments = [CardFactory.adaptive_card(card)]
        return
    action = CardAction(
        type=ActionTypes.message_back, title=title, text=title, display_text=title, value=value
    )
    message.suggested_actions = SuggestedActions(actions=[action])
