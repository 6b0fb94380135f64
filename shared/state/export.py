"""Exporting a user: everything that is stored about one user, as JSON, for a request to see it.

It reads the rows that an erasure deletes. Shared conversation data are the group's, and not in it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from shared.domain.conversation import Conversation
from shared.domain.errors import ConflictError, StateUnreadableError, StorageUnavailableError
from shared.domain.identity import user_hash
from shared.domain.reference import Reference
from shared.domain.store import StateStore
from shared.domain.users import Membership
from shared.domain.work import DeadLetter
from shared.state.state_data import as_json

logger = logging.getLogger(__name__)


class Exports:
    """Exports users.

    Args:
        store: the store of the rows.
        now: the clock, in aware UTC.
        replies: reads the packed replies of a conversation's row. It raises ValueError for what it
            cannot read.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        now: Callable[[], datetime],
        replies: Callable[[bytes], Any],
    ) -> None:
        self._store = store
        self._now = now
        self._replies = replies

    async def of_user(self, channel_id: str, user_id: str) -> AsyncIterator[str]:
        """The pieces of one JSON document; each conversation is a piece, so memory holds one.

        Damaged rows are named in the document (`unreadable`), and in the log.

        Raises:
            StorageUnavailableError: the document is not complete.
        """
        user = user_hash(channel_id, user_id)
        unreadable: list[str] = []
        head = {
            "channelId": channel_id,
            "userId": user_id,
            "userHash": user,
            "exportedAt": _written(self._now()),
            "userData": await self._user(user, unreadable),
        }
        yield f'{_text(head)[:-2]},\n  "conversations": ['
        letters: list[dict[str, Any]] = []
        count = 0
        for entry in await self._store.joined(user):
            try:
                if not entry.address.key:
                    unreadable.append(f"users: row {user}/{entry.stored_key}")
                elif entry.session:
                    letter = await self._store.load_listed(entry)
                    letters += [_letter(letter)] if letter else []
                elif piece := await self._conversation(user, entry, unreadable):
                    yield f"{',' if count else ''}\n{piece}"
                    count += 1
            except StateUnreadableError as error:
                unreadable.append(str(error))
        tail = {"deadLetters": letters, "unreadable": unreadable}
        for what in unreadable:
            logger.error("export: user %s: %s", user, what)
        logger.info("export: user %s: conversations %d, dead letters %d", user, count, len(letters))
        yield f"],{_text(tail)[1:]}\n"

    async def _user(self, user: str, unreadable: list[str]) -> list[Any]:
        """The versions in the user's row, the newest first."""
        try:
            row = await self._store.load_user(user)
        except StateUnreadableError as error:
            unreadable.append(str(error))
            return []
        if row is None:
            return []
        found = [
            await _read(as_json, packed, f"user {user}", unreadable)
            for packed in (row.state, row.before)
        ]
        return [each for each in found if each is not None]

    async def _conversation(
        self, user: str, entry: Membership, unreadable: list[str]
    ) -> str | None:
        """One conversation's piece; None if nothing of the user is left there."""
        conversation, name = None, f"conversation {entry.address.shard}/{entry.address.key}"
        try:
            conversation = await self._store.load(entry.address)
        except StateUnreadableError as error:
            unreadable.append(str(error))
        except ConflictError as error:
            raise StorageUnavailableError(f"{name} changes all the time") from error
        place = conversation or Conversation(entry.address, session="", last_accessed=self._now())
        private = await self._private(user, place, name, unreadable)
        before = await self._before(user, place, name, unreadable)
        if conversation is None and private is None and before is None:
            return None
        found: dict[str, Any] = {"privateData": private}
        if before:
            found["before"] = before
        if conversation is not None:
            found |= {
                "conversation": conversation.readable_key,
                "status": str(conversation.status),
                "lastAccessed": _written(conversation.last_accessed),
                "isPersonal": conversation.is_personal(user),
                "resumableUntil": _written_or_none(conversation.resume_until),
            }
            if conversation.reference and conversation.reference.user_hash == user:
                found["reference"] = conversation.reference.to_json()
        if conversation is not None and conversation.is_personal(user):
            found |= {
                "locale": conversation.locale,
                "conversationData": await _read(
                    as_json, conversation.state or b"", name, unreadable
                ),
                "lastReplies": await _read(
                    self._replies, conversation.replies, f"{name}: replies", unreadable
                ),
            }
        return await asyncio.to_thread(_text, found)

    async def _private(
        self, user: str, place: Conversation, name: str, unreadable: list[str]
    ) -> Any:
        try:
            bag = await self._store.load_private(place, user, of_any_session=True)
        except StateUnreadableError as error:
            unreadable.append(str(error))
            return None
        return await _read(as_json, bag.state, f"{name}, user {user}", unreadable)

    async def _before(
        self, user: str, place: Conversation, name: str, unreadable: list[str]
    ) -> dict[str, Any] | None:
        """What is left of a session before; None: nothing of the user."""
        try:
            kept = await self._store.load_kept(place)
        except StateUnreadableError as error:
            unreadable.append(str(error))
            kept = None
        before = place.resumed(kept, self._now()) if kept else place.at_other_place()
        private = await self._private(user, before, name, unreadable)
        found = {
            "resumableUntil": _written_or_none(kept.until if kept else None),
            "privateData": private,
        }
        if kept and place.is_personal(user):
            found["conversationData"] = await _read(
                as_json, kept.state or b"", f"{name}: kept", unreadable
            )
        return found if any(value is not None for value in found.values()) else None


async def _read(
    read: Callable[[bytes], Any], packed: bytes, name: str, unreadable: list[str]
) -> Any:
    """The JSON data in packed bytes; None for nothing, and for what cannot be read."""
    try:
        return await asyncio.to_thread(read, packed)
    except ValueError as error:
        unreadable.append(f"{name}: {error}")
        return None


def _letter(letter: DeadLetter) -> dict[str, Any]:
    reference: Reference | None = letter.reference
    return {
        "conversation": letter.readable_key,
        "expiredAt": _written(letter.expired_at),
        "deadAt": _written(letter.dead_at),
        "attempts": letter.attempts,
        "reason": letter.reason,
        "locale": letter.locale,
        "reference": reference.to_json() if reference else None,
    }


def _written(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _written_or_none(at: datetime | None) -> str | None:
    return _written(at) if at else None


def _text(value: object) -> str:
    """JSON in ASCII: whatever a row holds, a terminal can show it."""
    return json.dumps(value, indent=2)
