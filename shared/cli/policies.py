"""The commands about the policy: what holds for which conversations, and the file's schema."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from shared.domain.policy import Rules
from shared.domain.reference import ConversationType
from shared.domain.timing import Timing
from shared.settings import read_settings
from shared.settings.expiry import read_policy
from shared.settings.group import MistakesError
from shared.settings.policy_file import PolicyFile, in_units

Say = Callable[[str], None]

_ANY_OTHER = "any other"  # no channel's id


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
    try:
        rules = _rules(file)
    except MistakesError as error:
        for each in error.mistakes:
            say(each)
        sys.exit(1)
    policy = rules.over(Timing(timedelta(0)))
    say(_line("channel", "type", "expire_after", "warn_before", "notify", "notify_within"))
    for channel in *policy.channels, _ANY_OTHER:
        for type_ in ConversationType:
            timing = policy.of_type(channel, type_)
            after = in_units(timing.expire_after) if timing.expire_after else "ExpireAfterSeconds"
            warnings = ", ".join(map(in_units, timing.warnings)) or "never"
            notify = "yes" if timing.notify else "no"
            within = in_units(timing.notify_within) if timing.notify_within else "at any time"
            say(_line(channel, type_, after, warnings, notify, within))


def _line(*values: str) -> str:
    return "{:15}  {:9}  {:18}  {:13}  {:6}  {}".format(*values)


def _rules(file: str) -> Rules:
    return read_policy(str(Path(file).absolute())) if file else read_settings().expiry.rules


async def print_schema(say: Say) -> None:
    """Print the JSON schema of a policy file."""
    say(json.dumps(PolicyFile.model_json_schema(), indent=2))
