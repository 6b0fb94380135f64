"""The timer: one sweep on %ExpirySchedule%, its report in the log."""

import asyncio
import logging

import azure.functions as func

from shared.app import get_app

logger = logging.getLogger(__name__)

blueprint = func.Blueprint()


@blueprint.function_name("expiry_timer")
@blueprint.timer_trigger(arg_name="timer", schedule="%ExpirySchedule%", use_monitor=True)
async def expiry_timer(timer: func.TimerRequest) -> None:
    """Expire idle conversations. The next run does what this one leaves over."""
    if timer.past_due:
        logger.warning("sweep: running late; catching up")
    app = await get_app()
    waking = asyncio.create_task(app.wake_waiting())
    try:
        logger.info("sweep: %s", await app.sweeps.run())
    finally:
        await waking
