"""What a changed ExpireAfterSeconds means for due rows that are filed already.

A longer timeout needs nothing: the due rows come up early, and are re-filed. A shorter one would
have no effect until they come up, at the old time. So while there may be such rows, each sweep also
looks ahead by the difference, at every due row once. It expires the conversation, or re-files the
row at its new time.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from shared.domain.errors import ConflictError
from shared.domain.policy import Policy
from shared.domain.store import ControlStore
from shared.expiry.report import SweepReport


async def sweep_with_timeout(
    store: ControlStore,
    policy: Policy,
    now: datetime,
    run: Callable[[tuple[datetime, datetime] | None], Awaitable[SweepReport]],
) -> SweepReport:
    """Run a sweep that takes a change of the timeout into account.

    Args:
        store: where the control row is.
        policy: what is in force.
        now: the present, in aware UTC.
        run: runs the sweep; its argument is the range to look ahead, if any.

    Raises:
        StorageUnavailableError: the control row could not be read or written.
    """
    stored = await store.control()
    control = stored.with_policy(policy, now)
    if control != stored:
        with suppress(ConflictError):  # another instance wrote the same; the next sweep makes sure
            control = await store.save_control(control)
    ahead = control.range_ahead(now)
    report = await run(ahead)
    if ahead and report.complete and not report.failed:
        with suppress(ConflictError):
            await store.save_control(replace(control, looked_until=ahead[1]))
    return report
