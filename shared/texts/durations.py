"""A duration in words, in any language."""

from datetime import timedelta

_UNITS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}

# From so many seconds on, a time is rounded down to a multiple of so many.
_ROUNDED_TO = ((2 * 86_400, 86_400), (2 * 3600, 3600), (120, 60), (0, 5))


def rounded_down(left: timedelta) -> int:
    """Seconds, rounded down to what people say: nobody is told that there is more time."""
    seconds = int(left.total_seconds())
    size = next(each for at_least, each in _ROUNDED_TO if seconds >= at_least)
    return seconds - seconds % size


def in_words(seconds: int, language: str) -> str:
    """The duration in the largest unit that divides it evenly: "2 hours", but "90 minutes".

    Such a unit needs no rounding, which would make 90 seconds "2 minutes".

    Args:
        seconds: whole seconds, 0 or more.
        language: a language tag of ours, never one from outside. In a language that Babel does not
            know, the words are English.
    """
    # Babel and its data take 30 ms, and most processes never say a duration.
    from babel.core import Locale, UnknownLocaleError  # noqa: PLC0415
    from babel.units import format_unit  # noqa: PLC0415

    try:
        locale = Locale.parse(language, sep="-")
    except UnknownLocaleError:
        locale = Locale("en")
    unit, size = next(
        (unit, size)
        for unit, size in _UNITS.items()
        if size == 1 or (seconds and seconds % size == 0)
    )
    return str(format_unit(seconds // size, f"duration-{unit}", "long", locale=locale))
