"""The clock, and how long things may take."""

import math
from datetime import UTC, datetime, timedelta

# A message this close to the expiry saves its time of receipt before the dialog runs, so that a
# sweep cannot expire the session under it. A dialog that is still running at the next guard saves
# the time again.
MAX_GUARD = timedelta(seconds=30)

# Clocks of two instances may differ by this much; the sweep leaves younger due rows alone.
CLOCK_SKEW = timedelta(seconds=2)

# The two writes of a commit are milliseconds apart. A turn that has not done the second one after
# this time has crashed.
COMMIT_TAKES_AT_MOST = timedelta(seconds=30)

# How long a claim keeps other sweeps away from an expired conversation.
LEASE = timedelta(seconds=60)


# The state of an expired session stays so much longer than its user may resume it: a turn that came
# in time may still be under way.
STAYS_LONGER = timedelta(seconds=60)


def due_seconds(moment: datetime) -> int:
    """Unix time of `moment`, rounded up so that nothing is due early."""
    return math.ceil(moment.timestamp())


def utc_now() -> datetime:
    """The clock of everything but tests."""
    return datetime.now(UTC)
