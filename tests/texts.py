"""What the project says in English: most tests' users have no locale."""

from shared.texts.texts_file import read_texts

_TEXTS = read_texts()

EXPIRED = _TEXTS.say("expired", "en").text
WELCOME_BACK = _TEXTS.say("welcome_back", "en").text
WELCOME_BACK_RESUMABLE = _TEXTS.say("welcome_back_resumable", "en").text
RESUMED = _TEXTS.say("resumed", "en").text
RESUME_GONE = _TEXTS.say("resume_gone", "en").text
STAYED = _TEXTS.say("stayed", "en").text
SOMETHING_WENT_WRONG = _TEXTS.say("something_went_wrong", "en").text
TOO_MANY_AT_ONCE = _TEXTS.say("too_many_at_once", "en").text
