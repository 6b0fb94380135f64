"""The commands about the policy: what holds for which conversations, and the file's schema."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from shared.domain.policy import Rules
from shared.domain.reference import ConversationType
from shared.domain.timing import Timing
from shared.settings import read_settings
from shared.settings.expiry import read_policy
from shared.settings.group import MistakesError
from shared.settings.policy_file import PolicyFile, hours_in_words, in_units

Say = Callable[[str], None]

ANY_OTHER = "any other"  # no channel's id
_VALUES = (
    "expire_after",
    "warn_before",
    "notify",
    "notify_within",
    "max_age",
    "resume_within",
    "quiet_hours",
)


async def check(file: str, say: Say) -> None:
    """Say what holds for each channel and type that the policy names, or what is wrong with it.

    Where the policy names no timeout, `ExpireAfterSeconds` holds.

    Args:
        file: a file to read instead of the app's policy; then no setting is read.
        say: writes one line.

    Raises:
        SystemExit: the file is wrong; each mistake was said in one line.
        SettingsError: the app's policy, or another setting, is wrong.
    """
    policy = rules_or_end(file, say).over(Timing(timedelta(0)))
    say(_line("channel", "type", *_VALUES))
    for channel in *policy.channels, ANY_OTHER:
        for type_ in ConversationType:
            say(_line(channel, type_, *_said(policy.of_type(channel, type_))))


def _said(timing: Timing) -> Iterator[str]:
    """What people read of each of the `_VALUES`."""
    yield in_units(timing.expire_after) if timing.expire_after else "ExpireAfterSeconds"
    yield ", ".join(map(in_units, timing.warn_before if timing.notify else ())) or "never"
    yield "yes" if timing.notify else "no"
    yield in_units(timing.notify_within) if timing.notify_within else "at any time"
    yield in_units(timing.max_age) if timing.max_age else "none"
    yield in_units(timing.resume_within) if timing.resume_within else "no"
    yield hours_in_words(timing.quiet_hours)


def _line(*values: str) -> str:
    return "{:15}  {:9}  {:18}  {:13}  {:6}  {:13}  {:7}  {:13}  {}".format(*values)


def rules_or_end(file: str, say: Say) -> Rules:
    """What a file says, or the app's policy if none is named.

    Raises:
        SystemExit: the file is wrong; each mistake was said in one line.
        SettingsError: the app's policy, or another setting, is wrong.
    """
    if not file:
        return read_settings().expiry.rules
    try:
        return read_policy(str(Path(file).absolute()))
    except MistakesError as error:
        for each in error.mistakes:
            say(each)
        sys.exit(1)


async def print_schema(say: Say) -> None:
    """Print the JSON schema of a policy file."""
    say(json.dumps(PolicyFile.model_json_schema(), indent=2))
