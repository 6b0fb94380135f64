"""Waiting for the slot of a notice or a warning, while the sweep goes on with other rows."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from shared.domain.conversation import Conversation
from shared.expiry.notice import Pace
from shared.expiry.report import SweepReport
from shared.expiry.workload import Workload


@dataclass(frozen=True, slots=True)
class Waited:
    """The end of a wait.

    Attributes:
        granted: whether the message may go now.
        seconds: if not, until it may ask again.
        waited: whether it took a while, so that the conversation may have changed.
    """

    granted: bool
    seconds: float
    waited: bool


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one sweep.

    Args:
        pace: how fast the channels take messages.
        work: the limits of work at once.
        report: of the sweep.
    """

    pace: Pace
    work: Workload
    report: SweepReport

    async def wait_for(self, conversation: Conversation) -> Waited | None:
        """Wait for the slot of a message; None: the sweep was stopped meanwhile."""
        slot, waited = self.pace.reserve(conversation, self.work.seconds_left), False
        while slot.granted and slot.seconds > 0:
            waited = True
            async with self.work.idle(), self.work.waiting:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.work.stopped.wait(), slot.seconds)
            if self.report.stopped:
                return None
            slot = self.pace.confirm(conversation, slot, self.work.seconds_left)
            if not slot.granted:
                slot = self.pace.reserve(conversation, self.work.seconds_left)
        return Waited(slot.granted, slot.seconds, waited)
