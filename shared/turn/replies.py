"""Replies as data: they travel with a turn's commit, so that a retried activity finds them."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ConversationReference

from shared.connector.outbound import HeldReply, wire_form

# Larger ones are not kept: they would slow every later turn's read, for a crash in milliseconds.
MAX_PACKED_BYTES = 32 * 1024


@dataclass(frozen=True)
class Replies:
    """What a turn sends and answers, and when it was committed."""

    committed_at: datetime
    held: Sequence[HeldReply]
    response: InvokeResponse | None


def pack(replies: Replies) -> bytes:
    """The replies as compressed JSON; nothing if there are none, or they cannot be kept."""
    if not replies.held and replies.response is None:
        return b""
    answer = replies.response
    try:
        text = json.dumps(
            {
                "at": replies.committed_at.isoformat(),
                "held": [(each.kind, wire_form(each.what)) for each in replies.held],
                "response": [int(answer.status), answer.body] if answer else None,
            },
            separators=(",", ":"),
        )
    except (TypeError, ValueError):
        return b""  # the bot's own objects in a card, say: sent they can be, kept they cannot
    packed = zlib.compress(text.encode(), 1)
    return packed if len(packed) <= MAX_PACKED_BYTES else b""


def unpack(packed: bytes) -> Replies | None:
    """What `pack` was given; None if it is damaged or nothing."""
    try:
        data = json.loads(zlib.decompress(packed)) if packed else None
    except (ValueError, zlib.error):
        return None
    if data is None:
        return None
    answer = data["response"]
    return Replies(
        committed_at=datetime.fromisoformat(data["at"]),
        held=[HeldReply(kind, _read(kind, wire)) for kind, wire in data["held"]],
        response=InvokeResponse(status=answer[0], body=answer[1]) if answer else None,
    )


def _read(kind: str, wire: dict[str, Any]) -> Activity | ConversationReference:
    model = ConversationReference if kind == "delete" else Activity
    read: Activity | ConversationReference = model.deserialize(wire)  # type: ignore[no-untyped-call] # msrest
    return read
