"""A bot of attachments: cards of several kinds, a carousel, pictures and suggested actions."""

import base64
from typing import Any

from botbuilder.core import ActivityHandler, CardFactory, MessageFactory, TurnContext
from botbuilder.schema import (
    ActionTypes,
    Attachment,
    AttachmentLayoutTypes,
    CardAction,
    CardImage,
    HeroCard,
    ReceiptCard,
    ReceiptItem,
    SuggestedActions,
    ThumbnailCard,
)

STATE_TYPES = ()

PICTURE = "https://pictures.example/one.png"
HERO = HeroCard(
    title="One",
    images=[CardImage(url=PICTURE)],
    buttons=[CardAction(type=ActionTypes.im_back, title="Two", value="two")],
)
RECEIPT = ReceiptCard(title="Paid", items=[ReceiptItem(title="A ticket", price="8")], total="8")
ADAPTIVE = {
    "type": "AdaptiveCard",
    "version": "1.3",
    "body": [{"type": "Input.Text", "id": "name"}],
    "actions": [{"type": "Action.Submit", "title": "Send", "data": {"choice": 1}}],
}


class CardsBot(ActivityHandler):
    """Shows what it is asked for; says what a card sent, and which files came."""

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        sent = turn_context.activity
        if sent.value or sent.attachments:
            files = [(each.content_type, each.name) for each in sent.attachments or ()]
            await turn_context.send_activity(f"{sent.value} {files}")
        else:
            await turn_context.send_activity(self._shown(sent.text))

    def _shown(self, name: str) -> Any:
        match name:
            case "hero":
                return MessageFactory.attachment(CardFactory.hero_card(HERO), "A card")
            case "adaptive":
                return MessageFactory.attachment(CardFactory.adaptive_card(ADAPTIVE))
            case "all":
                thumbnail = CardFactory.thumbnail_card(ThumbnailCard(text="Small"))
                reply = MessageFactory.list([thumbnail, CardFactory.receipt_card(RECEIPT)])
                reply.attachment_layout = AttachmentLayoutTypes.carousel
                return reply
            case "picture":
                data = base64.b64encode(b"a picture").decode()
                url = f"data:image/png;base64,{data}"
                inline = Attachment(name="one.png", content_type="image/png", content_url=url)
                return MessageFactory.attachment(inline)
            case _:
                reply = MessageFactory.text("Which?")
                actions = [CardAction(title=each, type="imBack", value=each) for each in "ab"]
                reply.suggested_actions = SuggestedActions(actions=actions)
                return reply


def create_bot(*_: object) -> CardsBot:
    return CardsBot()
