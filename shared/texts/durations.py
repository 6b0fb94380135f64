"""A duration in words, in any language."""

_UNITS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def in_words(seconds: int, language: str) -> str:
    """The duration in the largest unit that divides it evenly: "2 hours", but "90 minutes".

    Such a unit needs no rounding, which would make 90 seconds "2 minutes".

    Args:
        seconds: whole seconds, 0 or more.
        language: a language tag of ours, never one from outside. In a language that Babel does not
            know, the words are English.
    """
    # Babel takes 15 ms or more, and most processes never say a duration.
    from babel.core import Locale, UnknownLocaleError  # noqa: PLC0415
    from babel.units import format_unit  # noqa: PLC0415

    try:
        locale = Locale.parse(language, sep="-")
    except UnknownLocaleError:
        locale = Locale("en")
    unit = next((name for name, size in _UNITS.items() if seconds % size == 0), "second")
    unit = unit if seconds else "second"
    return str(format_unit(seconds // _UNITS[unit], f"duration-{unit}", "long", locale=locale))
