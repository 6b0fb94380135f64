"""What a turn does to its conversation: held back until the turn is saved, or shown at once."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, cast

from botbuilder.core import BotAdapter, TurnContext
from botbuilder.schema import Activity, ActivityTypes, ConversationReference

from shared.connector.client import ConnectorError
from shared.connector.credentials import CredentialError
from shared.connector.limits import SendingLimits
from shared.connector.operations import ConnectorClient
from shared.connector.outbound import HeldReply
from shared.connector.references import reference_of
from shared.connector.retry import Retries, TurnRetries
from shared.domain.placeholders import is_placeholder, placeholder_for

logger = logging.getLogger(__name__)


class TurnMessages:
    """The messages of one attempt of a turn, with the updates and deletions, in order.

    A message that is updated once changes what is held back. With its second update it is a stream,
    and shown: what is held up to there goes out at once, and so does each later update of it. If
    the turn runs again, its messages take the places of those that the attempt before has shown.

    Args:
        context: the turn's.
        turn: names the turn; each of its attempts and copies has the same name.
        retries: sends again what the channel did not take, once the turn is saved.
        limits: how fast the channels take messages; None: no limits.
        notices_within_seconds: how long each may wait for its slot, if they answer nobody and so
            count as notices; None: they are replies.
        shown: the ids of what earlier attempts have shown, in order.
    """

    def __init__(
        self,
        context: TurnContext,
        turn: str,
        retries: Retries,
        limits: SendingLimits | None,
        *,
        notices_within_seconds: float | None = None,
        shown: Sequence[str] = (),
    ) -> None:
        self._context = context
        self._turn = turn
        self._retries = retries
        self._limits = limits
        self._notices_within_seconds = notices_within_seconds
        self._held: list[HeldReply] = []
        self._ids: dict[str, str] = {}
        self._made: Counter[str] = Counter()
        self._to_replace = list(shown)
        self._sent: list[str] = []  # ids, in order
        self._live: set[str] = set()  # ids whose updates go out at once
        self._is_showing = False
        self.is_over = False

    @property
    def held(self) -> Sequence[HeldReply]:
        """What is held back."""
        return tuple(self._held)

    @property
    def ids(self) -> Mapping[str, str]:
        """The ids that the channel gave so far, by placeholder."""
        return self._ids

    @property
    def placeholders(self) -> frozenset[str]:
        """What the bot has got in the place of ids."""
        sends = [item.what for item in self._held if item.kind == "send"]
        return frozenset(str(cast("Activity", what).id) for what in sends) | self._ids.keys()

    @property
    def shown(self) -> Sequence[str]:
        """The ids of the messages that this attempt and those before it have shown, in order."""
        return (*self._sent, *self._to_replace)

    def forget(self) -> None:
        """Drop what is held back; what was shown stays as it is."""
        self._held.clear()
        self._to_replace.clear()

    def hold_all(self, items: Sequence[HeldReply]) -> None:
        """Hold back these instead of what is held back so far."""
        self._held = list(items)

    def hold(self, activity: Activity) -> str:
        """Hold a message back; returns its placeholder, the same one in each attempt that sends it.

        Copies of one activity may write the user's row both, and only one of them sends.
        """
        text = activity.text or ""
        self._made[text] += 1
        activity.id = placeholder_for(self._turn, text, self._made[text])
        self._held.append(HeldReply("send", activity))
        return activity.id

    def known_id(self, id_: str | None) -> str:
        """The channel's id of a message of this turn, if it was given; other ids as they are.

        Raises:
            ValueError: there is none.
        """
        if not id_:
            raise ValueError("an activity is updated or deleted by its id, and this one has none")
        return self._ids.get(id_, id_)

    async def update(self, activity: Activity) -> None:
        """Update what is held back or shown, or hold the update of another activity back.

        A placeholder that the channel gave no id for stands for a message that has not come: it is
        sent.

        Raises:
            ValueError: the activity has no id.
        """
        activity = deepcopy(activity)
        activity.id = self.known_id(activity.id)
        position = self._position(activity.id)
        if position is not None:
            before = self._held[position]
            self._held[position] = replace(before, what=activity, is_updated=True)
            if before.is_updated:
                await self._show(position)
        elif is_placeholder(activity.id):
            self._held.append(HeldReply("send", activity))
        elif activity.id in self._live:
            self._held.insert(0, HeldReply("update", activity, is_updated=True))
            await self._show(0)
        else:
            self._held.append(HeldReply("update", activity, is_updated=True))

    def delete(self, reference: ConversationReference) -> None:
        """Take back what is held back, or hold the deletion of another activity back.

        A placeholder that the channel gave no id for stands for nothing that could be deleted.

        Raises:
            ValueError: the reference has no activity's id.
        """
        reference = copy(reference)
        reference.activity_id = self.known_id(reference.activity_id)
        position = self._position(reference.activity_id)
        if position is not None and self._held.pop(position).kind == "send":
            return
        if is_placeholder(reference.activity_id):
            logger.info("turn: a message that has not come cannot be deleted")
        else:
            self._held.append(HeldReply("delete", reference))

    def _position(self, id_: str) -> int | None:
        """Where the message of that id, or an update of it, is held back; None: nowhere."""
        for position, item in enumerate(self._held):
            if item.kind != "delete" and cast("Activity", item.what).id == id_:
                return position
        return None

    async def _show(self, position: int) -> None:
        """Send what is held back up to there, once each; what fails stays held back."""
        items = self._held[: position + 1]
        # What ends the conversation counts with the turn's commit only.
        if self._is_showing or any(_is_end(item) for item in items):
            return
        self._is_showing = True
        retries = self._retries.begin()
        try:
            for item in items:
                id_ = await self._do(item, retries)
                self._shown(item, id_)
        except (ConnectorError, CredentialError) as error:
            logger.info("turn: a stream could not be shown, it goes out later: %s", error)
        finally:
            self._is_showing = False

    def _shown(self, item: HeldReply, id_: str) -> None:
        """Take an item out that was shown. If the bot has changed it meanwhile, more is to do."""
        if id_:
            self._live.add(id_)
        for position, held in enumerate(self._held):
            if held is item:
                del self._held[position]
                return
        what: Any = item.what
        position_now = self._position(what.id)
        if position_now is None:
            self._held.append(HeldReply("delete", self._reference(id_)))
        else:
            changed: Any = copy(self._held[position_now].what)
            changed.id = id_
            self._held[position_now] = HeldReply("update", changed, is_updated=True)

    def _reference(self, id_: str) -> ConversationReference:
        """What to delete a message of this conversation by."""
        reference: Any = TurnContext.get_conversation_reference(self._context.activity)
        reference.activity_id = id_
        return cast("ConversationReference", reference)

    async def deliver(self) -> Exception | None:
        """Send what is held back, in order; each again while that may help (`Retries`).

        After a failed send, the rest is not sent: answers out of context confuse more than silence.
        The failure is logged and returned; the turn is saved already, and stays so. What earlier
        attempts have shown, and this one has not, is deleted.
        """
        self.is_over = True
        sends = sum(item.kind == "send" for item in self._held)
        left = self._to_replace[sends:]
        self._held += [HeldReply("delete", self._reference(id_)) for id_ in left]
        retries = self._retries.begin()
        for position, item in enumerate(self._held):
            try:
                await retries.call(partial(self._do, item, retries))
            except Exception as error:
                # After any error: the turn is saved, and the channel must not send it again.
                logger.warning(
                    "turn: saved, but %d of %d replies could not be delivered: %s",
                    len(self._held) - position,
                    len(self._held),
                    error,
                    exc_info=not isinstance(error, ConnectorError | CredentialError),
                )
                return error
        return None

    async def _do(self, item: HeldReply, retries: TurnRetries) -> str:
        """Do one item, once, within the limits; returns the id of its activity."""
        what: Any = item.what
        if item.kind == "send" and what.type == "delay":  # the SDK would wait whole seconds only
            await retries.pause((what.value or 1000) / 1000)
            return ""
        done = ""

        async def do() -> None:
            nonlocal done
            done = await self._request(item)

        if self._limits is None:
            await do()
        else:
            await _limited(self._context, self._limits, do, self._notices_within_seconds)
        return done

    async def _request(self, item: HeldReply) -> str:
        client = cast(
            "ConnectorClient", self._context.turn_state[BotAdapter.BOT_CONNECTOR_CLIENT_KEY]
        )
        if item.kind == "delete":
            reference = cast("ConversationReference", item.what)
            await client.conversations.delete_activity(
                reference.conversation.id, reference.activity_id
            )
            return ""
        activity: Any = copy(item.what)
        if item.kind == "update":
            await client.conversations.update_activity(
                activity.conversation.id, activity.id, activity
            )
            return str(activity.id)
        placeholder, activity.id = activity.id, None
        if self._to_replace:
            activity.id = id_ = self._to_replace[0]
            await client.conversations.update_activity(activity.conversation.id, id_, activity)
            self._to_replace.pop(0)
        else:
            replies_to = self._ids.get(activity.reply_to_id, activity.reply_to_id)
            activity.reply_to_id = None if is_placeholder(replies_to) else replies_to
            id_ = (await client.send(activity)).id or ""
        if id_:
            self._ids[placeholder] = id_
            self._sent.append(id_)
        return id_


def _is_end(item: HeldReply) -> bool:
    is_send = item.kind == "send"
    return is_send and cast("Activity", item.what).type == ActivityTypes.end_of_conversation


async def _limited(
    context: TurnContext,
    limits: SendingLimits,
    send: Callable[[], Awaitable[None]],
    notices_within_seconds: float | None,
) -> None:
    """Send within the limits; they also learn from the result."""
    reference = reference_of(context.activity)
    is_reply = notices_within_seconds is None
    if notices_within_seconds is None:
        await limits.before_reply(reference)
    else:
        await limits.before_notice(reference, notices_within_seconds)
    sent_at = limits.clock()
    try:
        await send()
    except ConnectorError as error:
        limits.answered(reference, sent_at, error, is_reply=is_reply)
        raise
    limits.answered(reference, sent_at)
