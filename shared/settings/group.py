"""The base of every group of settings: how a field is read, checked and described."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo

# Ten years: far beyond any sensible timeout, and due times still fit their ten digits.
MAX_SECONDS = 315_360_000

ANOTHER_CLOUD = "an address of another cloud"


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it, what it was and what it must be.

    Attributes:
        without_values: the same for callers whom nobody knows: no value is part of it, because a
            secret may stand in the wrong setting.
    """

    def __init__(self, message: str, *, without_values: str = "") -> None:
        super().__init__(message)
        self.without_values = (
            without_values or f"{message.split(maxsplit=1)[0].strip(':')} is wrong"
        )


class ExplainedError(ValueError):
    """A value is wrong; its message ends the message about the setting."""


class MistakesError(ExplainedError):
    """A value has mistakes of its own; each is the end of one message about the setting."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def _whole_number(value: object) -> object:
    """Refuse values that int() or pydantic would accept: '30.0', '3_0', ' 30', True."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]+", value):
        raise ValueError("not a whole number")
    return value


def _file(value: str) -> str:
    if value and not Path(value).is_file():
        raise ValueError("not a file")
    return value


HttpsUrl = Annotated[str, Field(pattern=r"^(https://\S+)?$")]
FilePath = Annotated[str, AfterValidator(_file)]
WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
WholeSeconds = Annotated[WholeNumber, Field(ge=1, le=MAX_SECONDS)]


def setting(
    name: str,
    must_be: str,
    *,
    parameter: str = "",
    no_parameter: str = "",
    not_set: str = "",
    **options: Any,
) -> Any:
    """A field of a group.

    App Service on Linux replaces a period in a variable's name by an underscore. Source:
    learn.microsoft.com, "Configure an App Service app".

    Args:
        name: the variable that the field is read from.
        must_be: the end of the message about a bad value.
        parameter: the parameter of infra/main.bicep that the value comes from; or
        no_parameter: why infra/main.bicep sets a value without a parameter; or
        not_set: why infra/main.bicep does not set it.
        options: of pydantic's `Field`. A setting without a default is required.
    """
    alias = AliasChoices(name, name.replace(".", "_")) if "." in name else name
    return Field(
        validation_alias=alias,
        description=must_be,
        json_schema_extra={
            "parameter": parameter,
            "no_parameter": no_parameter,
            "not_set": not_set,
        },
        **options,
    )


def names_of(field: FieldInfo) -> Sequence[str]:
    """The variables that a field is read from; the first is the documented one."""
    alias = field.validation_alias
    return (
        [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
    )


class SettingsGroup(BaseModel):
    """The settings of one part of the app.

    Every field's alias is the name of its environment variable (an app setting in Azure, a
    value in local.settings.json on your own machine).
    """

    # Pydantic builds one validator, that of `Settings`. One for each group adds 15 ms to a start.
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    def misfits(self) -> Iterable[str]:
        """The contradictions within the group, one message for each mistake."""
        return ()

    @classmethod
    def describe(cls, error: ValidationError, *, with_values: bool = True) -> Iterator[str]:
        """The mistakes of an error, each in one line without a secret."""
        for mistake in error.errors():
            name = str(mistake["loc"][0])
            field = next(f for f in cls.model_fields.values() if name in names_of(f))
            if mistake["type"] == "missing":
                yield f"{name} is missing; it must be {field.description}"
            elif not with_values:
                yield f"{name} is wrong; it must be {field.description}"
            elif isinstance(cause := mistake.get("ctx", {}).get("error"), MistakesError):
                yield from (f"{name}: {each}" for each in cause.mistakes)
            else:
                was = "a secret" if field.annotation is SecretStr else repr(mistake["input"])
                why = f" ({cause})" if isinstance(cause, ExplainedError) else ""
                yield f"{name} is {was}; it must be {field.description}{why}"
