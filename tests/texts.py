"""What the project says in English: most tests' users have no locale."""

from shared.texts.texts_file import read_texts

_TEXTS = read_texts()

EXPIRED = _TEXTS.say("expired", "en").text
WELCOME_BACK = _TEXTS.say("welcome_back", "en").text
SOMETHING_WENT_WRONG = _TEXTS.say("something_went_wrong", "en").text
TOO_MANY_AT_ONCE = _TEXTS.say("too_many_at_once", "en").text
