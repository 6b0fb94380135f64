"""Replies as data: they travel with a turn's commit, so that a retried activity finds them."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ConversationReference

from shared.connector.outbound import HeldReply, wire_form
from shared.domain.bounded_json import read_json
from shared.state.kept_ids import KeptIds

# Larger replies are not kept: they would slow down the read of every later turn, only for the case
# of a crash within milliseconds.
MAX_PACKED_BYTES = 32 * 1024

# Thirty times that: another program may have written the row.
MAX_UNPACKED_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Replies:
    """The replies and the response of a turn, the time of its commit, and the ids it has kept."""

    committed_at: datetime
    held: Sequence[HeldReply]
    response: InvokeResponse | None
    kept: KeptIds | None = None


def pack(replies: Replies) -> bytes:
    """The replies as compressed JSON; empty if there are none, or if they cannot be kept."""
    if not replies.held and replies.response is None:
        return b""
    answer = replies.response
    try:
        text = json.dumps(
            {
                "at": replies.committed_at.isoformat(),
                "held": [(each.kind, wire_form(each.what)) for each in replies.held],
                "response": [int(answer.status), answer.body] if answer else None,
                **({"kept": astuple(replies.kept)} if replies.kept else {}),
            },
            separators=(",", ":"),
        )
    except (TypeError, ValueError):
        return b""  # the bot's own objects, in a card for example, can be sent but not stored
    content = text.encode()
    if len(content) > MAX_UNPACKED_BYTES:
        return b""
    packed = zlib.compress(content, 1)
    return packed if len(packed) <= MAX_PACKED_BYTES else b""


def unpacked_json(packed: bytes) -> Any:
    """What `pack` wrote, as JSON data; None if there is nothing.

    Raises:
        ValueError: the bytes are damaged or too large.
    """
    if not packed:
        return None
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise ValueError(f"zlib.error: {error}") from error
    if not inflater.eof:
        raise ValueError("the replies are cut short or too large")
    return read_json(text)


def unpack(packed: bytes) -> Replies | None:
    """The replies that `pack` was given; None if the bytes are damaged, too large or empty."""
    try:
        data = unpacked_json(packed)
        if data is None:
            return None
        answer = data["response"]
        committed_at = datetime.fromisoformat(data["at"])
        if committed_at.tzinfo is None:
            return None
        return Replies(
            committed_at=committed_at,
            held=[HeldReply(kind, _read(kind, wire)) for kind, wire in data["held"]],
            response=InvokeResponse(status=int(answer[0]), body=answer[1]) if answer else None,
            kept=_kept(data.get("kept")),
        )
    except (
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ):
        return None


def _kept(data: Any) -> KeptIds | None:
    if data is None:
        return None
    bags, session, user = data
    if not all(isinstance(text, str) for text in (*bags, session, user)):
        raise TypeError("it is no text")
    return KeptIds(bags, session, user)


def _read(kind: str, wire: dict[str, Any]) -> Activity | ConversationReference:
    model = ConversationReference if kind == "delete" else Activity
    read: Activity | ConversationReference = model.deserialize(wire)  # type: ignore[no-untyped-call] # msrest
    return read
