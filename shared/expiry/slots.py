"""Waiting for the slot of a notice or a warning, while the sweep goes on with other rows."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from shared.domain.conversation import Conversation
from shared.expiry.notice import Pace, Slot
from shared.expiry.report import SweepReport
from shared.expiry.workload import Workload

# A user who comes back while a claimed notice waits is told all the same.
CLAIMED_WAITS_SECONDS = 5.0


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

    async def wait_for(self, conversation: Conversation) -> tuple[Slot, bool] | None:
        """Wait for the slot of a message.

        Returns:
            The slot, and whether that took a while, so that the conversation may have changed;
            None: the sweep was stopped meanwhile.
        """
        slot, waited = self.pace.reserve(conversation, self.work.seconds_left), False
        while slot.granted and slot.seconds > 0:
            waited = True
            async with self.work.idle(), self.work.waiting:
                await self._pause(slot)
            if self.report.stopped:
                return None
            slot = self.pace.confirm(conversation, slot, self.work.seconds_left)
            if not slot.granted:
                slot = self.pace.reserve(conversation, self.work.seconds_left)
        return slot, waited

    async def begin(self, conversation: Conversation, slot: Slot) -> Slot | None:
        """Look at a slot again before the message goes, and wait for some moments if need be.

        Returns:
            The slot, which may not be granted any more; None: the sweep was stopped meanwhile.
        """
        until = self.work.seconds + CLAIMED_WAITS_SECONDS
        slot = self.pace.begin(conversation, slot, CLAIMED_WAITS_SECONDS)
        while slot.granted and slot.seconds > 0:
            async with self.work.idle():
                await self._pause(slot)
            if self.report.stopped:
                return None
            slot = self.pace.begin(conversation, slot, max(until - self.work.seconds, 0))
        return slot

    async def _pause(self, slot: Slot) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.work.stopped.wait(), slot.seconds)
