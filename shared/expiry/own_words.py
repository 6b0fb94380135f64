"""Asks the author's code for its words, with the conversation's state."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.domain.conversation import Conversation
from shared.domain.errors import ConflictError, StateUnreadableError
from shared.domain.store import SweepStore
from shared.expiry.workload import Workload

logger = logging.getLogger(__name__)

_Send = TypeVar("_Send")


async def own_words(
    hook: Callable[[Conversation], Awaitable[_Send | None]],
    conversation: Conversation,
    store: SweepStore,
    work: Workload,
) -> _Send | None:
    """What the hook returns, which gets the conversation with its state; one request.

    Other rows are worked on meanwhile. If the state is damaged, or gone from Cosmos DB, the hook is
    not asked: it must not take that for a conversation without state.

    Args:
        hook: an `OnExpired` or `OnWarned`.
        conversation: as this sweep has written or read it.
        store: where it is.
        work: the sweep's limits of work at once.

    Raises:
        ConflictError: it is another session by now, or was used since.
    """
    try:
        there = await store.load(conversation.address)
    except StateUnreadableError as error:
        logger.error("sweep: %s; no hook runs", error)  # noqa: TRY400 - it names the row
        return None
    if there is None or _moment(there) != _moment(conversation):
        raise ConflictError("its user is back")
    if conversation.bags and not there.bags:
        return None  # its document has outlived its time to live, as the log says
    async with work.idle():
        return await hook(there)


def _moment(conversation: Conversation) -> tuple[object, ...]:
    return conversation.session, conversation.status, conversation.last_accessed
