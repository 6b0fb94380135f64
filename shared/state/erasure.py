"""Erasing a user: deletes everything about one user, in every conversation, with a receipt.

Shared conversation data stays, as in the Bot State service ("Manage state data", Delete user data):
the bot's author must not put anything about a user there.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from botbuilder.schema import Activity, ActivityTypes

from shared.domain.conversation import Conversation, Status
from shared.domain.errors import ConflictError, StateUnreadableError
from shared.domain.identity import Address, new_session_id, user_hash
from shared.domain.store import Check, StateStore
from shared.domain.times import due_seconds
from shared.domain.users import Membership
from shared.domain.work import ERASURE, DueRow

logger = logging.getLogger(__name__)

# The user may be writing at this moment. Each round has only the new data left to erase.
_MAX_ROUNDS = 10


@dataclass
class Receipt:
    """The numbers of what was removed, by kind, and of what a second look found."""

    user_data: int = 0
    private_conversation_data: int = 0
    personal_conversations: int = 0
    due_rows: int = 0
    dead_letters: int = 0
    left: int = 0

    def __str__(self) -> str:
        """One line for the log."""
        return ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in asdict(self).items())


# Clients of these channels choose the type and the ids of what they send. Direct Line and Web Chat
# bind the user's id to the client's token only with enhanced authentication.
# Source: learn.microsoft.com, "Direct Line enhanced authentication".
CLIENTS_CHOOSE_IDS = frozenset({"directline", "directlinespeech", "emulator", "webchat"})


def asks_for_erasure(activity: Activity, *, are_ids_bound: bool) -> bool:
    """Whether this activity means that its user's data must go.

    Who takes the bot out of a team or a group chat still has it in the personal conversation, so
    only an uninstallation there counts. Source: "Manage state data", Delete user data; for
    installationUpdate the Teams documentation: "remove-upgrade" is an update of the app, after
    which its users are still there.

    Args:
        activity: of an authenticated caller.
        are_ids_bound: whether Direct Line and Web Chat use enhanced authentication. The bot never
            sees the client's token, so it cannot tell.
    """
    if activity.channel_id.lower() in CLIENTS_CHOOSE_IDS and not are_ids_bound:
        return False
    if activity.type == ActivityTypes.delete_user_data:
        return True
    return _is_uninstallation(activity) and _is_personal(activity)


def leaves_a_group(activity: Activity) -> bool:
    """Whether the bot was taken out of a team or a group chat: that conversation is over."""
    return _is_uninstallation(activity) and not _is_personal(activity)


def _is_uninstallation(activity: Activity) -> bool:
    kinds = (ActivityTypes.contact_relation_update, ActivityTypes.installation_update)
    return activity.type in kinds and activity.action == "remove"


def _is_personal(activity: Activity) -> bool:
    where, data = activity.conversation, activity.channel_data
    if where.is_group or (isinstance(data, Mapping) and data.get("team")):
        return False
    if "@thread." in where.id:  # Teams' ids of channels and group chats
        return False
    return (where.conversation_type or "personal").lower() == "personal"


class _FinishedError(Exception):
    """Another process has finished the erasure. What is there by now, its user wrote later."""


class Erasure:
    """Erases users.

    Args:
        store: the store of the rows.
        now: the clock, in aware UTC.
    """

    def __init__(self, store: StateStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def erase(self, channel_id: str, user_id: str) -> Receipt:
        """Erase everything about a user of a channel; a second call finds nothing.

        Raises:
            StorageUnavailableError: it is not complete; a sweep finishes it.
        """
        user = user_hash(channel_id, user_id)
        # If this process dies, a sweep finishes the erasure.
        work = DueRow(self._store.address(user), ERASURE, due_seconds(self._now()))
        await self._store.mark_erasure(user)
        await self._store.file(work)
        receipt = await self._erase_user(user)
        if not receipt.left:
            await self._store.unmark_erasure(user)
            await self._store.remove(work)
        return receipt

    async def finish(self, user: str) -> bool:
        """Continue a filed erasure of a user, named by their hash; returns if it is complete.

        One that only the conversations' table knows of is over: whoever can write in that table
        alone must not erase a user. It was complete already, or nobody asked for it here.
        """

        async def is_wanted() -> None:
            if not await self._store.is_erasure_marked(user):
                raise _FinishedError

        if await self._store.is_erasure_marked(user):
            try:
                receipt = await self._erase_user(user, is_wanted)
            except _FinishedError:
                return True
            if not receipt.left:
                await self._store.unmark_erasure(user)
            return not receipt.left
        if await self._store.has_user(user) or await self._store.joined(user):
            logger.warning(
                "erasure: user %s: the users' table knows of no erasure, so nothing is erased."
                " Earlier versions did not say it there: if the user asked for it, erase the user"
                " again",
                user,
            )
        return True

    async def _erase_user(self, user: str, make_sure: Check | None = None) -> Receipt:
        """Erase; `make_sure` is asked between each read and the deletion of what was read."""
        receipt = Receipt()
        for _ in range(_MAX_ROUNDS):
            with suppress(ConflictError):  # the user is writing: the next round deletes that
                receipt.user_data += await self._store.delete_user(user, make_sure)
            for entry in await self._store.joined(user):
                await self._erase_from(user, entry, receipt, make_sure)
            receipt.left = len(await self._store.joined(user))
            receipt.left += await self._store.has_user(user)
            if not receipt.left:
                break
        logger.info("erasure: user %s: %s", user, receipt)
        return receipt

    async def _erase_from(
        self, user: str, entry: Membership, receipt: Receipt, make_sure: Check | None
    ) -> None:
        for _ in range(_MAX_ROUNDS):
            try:
                await self._erase_conversation(user, entry, receipt, make_sure)
                await self._store.leave(user, entry)
            except ConflictError:
                continue  # a turn or a sweep was first: look again
            return

    async def _erase_conversation(
        self, user: str, entry: Membership, receipt: Receipt, make_sure: Check | None
    ) -> None:
        if not entry.address.key:
            return  # a damaged entry leads nowhere; it goes
        conversation = await self._load(entry)
        is_over = conversation is None or conversation.session != entry.session
        if entry.session and is_over:
            # Not earlier: a sweep might still write the letter until the conversation is changed.
            receipt.dead_letters += await self._store.drop_listed(entry)
            return
        # Before the conversation: if its version is still the one read, nobody wrote this again.
        receipt.private_conversation_data += await self._store.delete_private(
            entry.address, user, make_sure
        )
        kept = conversation.kept if conversation else None
        if conversation and kept:
            conversation = await self._store.save(replace(conversation, kept=None), forgetting=kept)
        if conversation is None:
            await self._stop_first_turn(entry.address)
        elif conversation.is_personal(user):
            # Of one that can be resumed no more there may be a rest.
            await self._store.delete_kept(entry.address, None)
            await self._store.discard(conversation.address, conversation.etag)
            receipt.personal_conversations += 1
            over = [conversation.session, *([kept.session] if kept else [])]
            for row in await self._store.due_rows_of(conversation.address):
                if row.session not in over:
                    continue  # of one that has begun since: without it that would never expire
                await self._store.remove(row)
                receipt.due_rows += 1
        else:
            await self._store.save(_without(conversation, user))
        if entry.session:
            # The sweep that was to write the letter may have done so, and deleted the conversation.
            receipt.dead_letters += await self._store.drop_listed(entry)

    async def _stop_first_turn(self, address: Address) -> None:
        """Make the commit of a turn fail that has listed the conversation but not yet saved it.

        It would keep data that no list names. The row that blocks it says that a session is over;
        the next sweep settles it without a notice.
        """
        now = self._now()
        over = Conversation(address, new_session_id(), now, Status.EXPIRED, state=b"")
        await self._store.save(over, due=due_seconds(now))

    async def _load(self, entry: Membership) -> Conversation | None:
        try:
            return await self._store.load(entry.address)
        except StateUnreadableError as error:
            # Its user cannot be read any more. The sweep would remove it, so it goes now.
            await self._store.delete_kept(entry.address, None)
            await self._store.discard(entry.address, error.etag)
            return None


def _without(conversation: Conversation, user: str) -> Conversation:
    """The shared conversation without the user in its own data."""
    reference = conversation.reference
    if reference and reference.user_hash == user:
        reference = replace(reference, user=None)
    others = {other: each for other, each in conversation.users.items() if other != user}
    return replace(
        conversation,
        # Made over REST it may be a personal one, and channels may name that after its user.
        readable_key=conversation.readable_key if conversation.reference else "",
        users=others,
        reference=reference,
        replies=b"",  # they name their recipient, and may say anything about the user
    )
