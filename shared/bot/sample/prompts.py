"""Prompts that stand any answer: in any locale, of any length, with no text at all.

The SDK's own do not. A ConfirmPrompt takes "not sure" for yes, and to a German user's "ja" it says
yes or no by chance (it numbers a set). A NumberPrompt raises on a locale it does not know, and
takes 1e100 for 10. The recognisers behind them take time in the square of the answer's length:
up to half a minute for 20,000 characters. So yes or no is a choice here, and a number our own.
"""

from botbuilder.core import TurnContext
from botbuilder.dialogs.choices import Choice, ChoiceFactoryOptions, FoundChoice, ListStyle
from botbuilder.dialogs.prompts import (
    AttachmentPrompt,
    ChoicePrompt,
    PromptOptions,
    PromptRecognizerResult,
    TextPrompt,
)
from recognizers_text import Culture

LONGEST_ANSWER = 200  # characters; a longer text is neither a choice nor a number
PICTURE_TYPES = {"image/jpeg", "image/png"}
LONGEST_PICTURE = 200  # characters of a name or an address

YES = Choice("Yes", synonyms=["y", "yep", "yeah", "sure", "ok"])
NO = Choice("No", synonyms=["n", "nope", "not"])


class EnglishChoicePrompt(ChoicePrompt):
    """Asks for one of `PromptOptions.choices`; its result is the value of that choice.

    The questions are in English, so the answers are read as English, whatever the user's locale.
    """

    def __init__(self, dialog_id: str) -> None:
        # The SDK falls back on English for a locale that is not in `choice_defaults`.
        super().__init__(dialog_id, choice_defaults={Culture.English: ChoiceFactoryOptions()})
        # Buttons where the channel has them. On Teams the SDK would put the question into a card,
        # and the message would have no text for a notification or a screen reader.
        self.style = ListStyle.suggested_action

    async def on_recognize(
        self, turn_context: TurnContext, state: dict[str, object], options: PromptOptions
    ) -> PromptRecognizerResult:
        """Returns the choice that the message names, by its value, synonym or number."""
        if len(turn_context.activity.text or "") > LONGEST_ANSWER:
            return _not_understood()
        recognized = await super().on_recognize(turn_context, state, options)
        choice = recognized.value
        return _understood(choice.value) if isinstance(choice, FoundChoice) else _not_understood()


class LinePrompt(TextPrompt):
    """Asks for a line of text of 1 to `longest` characters; its result is a str."""

    def __init__(self, dialog_id: str, *, longest: int) -> None:
        super().__init__(dialog_id)
        self._longest = longest

    async def on_recognize(
        self, turn_context: TurnContext, state: dict[str, object], options: PromptOptions
    ) -> PromptRecognizerResult:
        """Returns the message's text as one line."""
        line = " ".join((turn_context.activity.text or "").split())
        return _understood(line) if 1 <= len(line) <= self._longest else _not_understood()


class WholeNumberPrompt(TextPrompt):
    """Asks for a whole number from `lowest` (0 or more) to `highest`; its result is an int.

    Reads "31", "I am 31" and "thirty-one"; not "3.7", nor a text with two numbers in it.
    """

    def __init__(self, dialog_id: str, *, lowest: int, highest: int) -> None:
        super().__init__(dialog_id)
        self._allowed = range(lowest, highest + 1)

    async def on_recognize(
        self, turn_context: TurnContext, state: dict[str, object], options: PromptOptions
    ) -> PromptRecognizerResult:
        """Returns the number that the message names."""
        text = turn_context.activity.text or ""
        if len(text) > LONGEST_ANSWER:
            return _not_understood()
        from recognizers_number import recognize_number  # noqa: PLC0415 - 60 ms of the cold start

        numbers = [
            str(found.resolution["value"]) for found in recognize_number(text, Culture.English)
        ]
        # 1e100 is recognised as "1.E+1", which is 10: only plain digits can be trusted.
        if len(numbers) != 1 or not numbers[0].isdecimal() or int(numbers[0]) not in self._allowed:
            return _not_understood()
        return _understood(int(numbers[0]))


class PicturePrompt(AttachmentPrompt):
    """Asks for a JPEG or PNG picture; any text instead of one skips the question.

    Its result is the picture's name or, where it has none, its address; None if skipped.
    """

    async def on_recognize(
        self, turn_context: TurnContext, state: dict[str, object], options: PromptOptions
    ) -> PromptRecognizerResult:
        """Returns the first picture attached to the message, or that there is to be none."""
        activity = turn_context.activity
        for attachment in activity.attachments or []:
            if attachment and (attachment.content_type or "").lower() in PICTURE_TYPES:
                address = attachment.content_url or ""
                if address.startswith("data:"):  # the whole picture: too large for the state
                    address = ""
                return _understood((attachment.name or address or "a picture")[:LONGEST_PICTURE])
        return _understood(None) if (activity.text or "").strip() else _not_understood()


def _understood(value: object) -> PromptRecognizerResult:
    return PromptRecognizerResult(succeeded=True, value=value)


def _not_understood() -> PromptRecognizerResult:
    return PromptRecognizerResult(succeeded=False)
