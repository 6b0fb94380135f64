"""How long users pause, as a metric: it says which timeout they would have wanted.

Azure's exporter sends the count, the sum, the least and the most of a histogram, and none of its
buckets. So the bucket is an attribute.
"""

from bisect import bisect_left
from datetime import datetime

from shared.domain.conversation import Conversation
from shared.domain.policy import Policy
from shared.telemetry import _meter

# In seconds. What is shorter than any timeout is one bucket.
UP_TO = (
    30,
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 20, 30, 45, 60, 90)),
    *(3600 * hours for hours in (2, 3, 4, 8, 12)),
    *(86400 * days for days in (1, 2, 3, 7, 14, 30)),
)

# Anybody's token may come with any channel's id. Source: `botframework.connector.Channels`.
_CHANNELS = frozenset(
    (
        *("console", "cortana", "directline", "directlinespeech", "email", "emulator", "facebook"),
        *("groupme", "kik", "line", "msteams", "skype", "skypeforbusiness", "slack", "sms"),
        *("telegram", "test", "webchat"),
    )
)
_OTHER = "other"

_pauses = _meter.create_histogram(
    "expiry.turn.idle_seconds",
    "s",
    "How long conversations were idle, by what ended that: an act of a user, or the expiry",
    explicit_bucket_boundaries_advisory=UP_TO,
)


def ended_by_user(before: Conversation, at: datetime, policy: Policy) -> None:
    """Count the pause that an act of a user ended; `before` is the row as the act found it."""
    _count("user", before, at, policy)


def ended_by_expiry(expired: Conversation, at: datetime, policy: Policy) -> None:
    """Count the pause after which a session is over, because nobody came back until then.

    Who writes in the moment in which the notice is sent is counted twice.
    """
    _count("expiry", expired, at, policy)


def _count(ended: str, conversation: Conversation, at: datetime, policy: Policy) -> None:
    where = conversation.reference
    seconds = (at - conversation.last_accessed).total_seconds()
    # A row without a reference or a word of a user tells of no user. What was made of a dead letter
    # was counted before. And this very turn may have saved its time of receipt.
    if where is None or conversation.quiet or conversation.is_replayed or seconds <= 0:
        return
    is_known = where.channel in _CHANNELS or where.channel in policy.channels
    bucket = bisect_left(UP_TO, seconds)
    _pauses.record(
        seconds,
        {
            "channel": where.channel if is_known else _OTHER,
            "type": where.type.value,
            "ended": ended,
            "up_to": str(UP_TO[bucket]) if bucket < len(UP_TO) else "more",
        },
    )
