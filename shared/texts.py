"""Every sentence that this project says of its own accord; dialogs have their own words."""

# Everything this project says of its own accord is here; a bot's dialogs have their own words.
WELCOME_BACK = "Welcome back!  Let's start over from the beginning."
EXPIRED = "This conversation has expired because I did not hear from you. Write to start over."
SOMETHING_WENT_WRONG = "Sorry, something went wrong on my side. Please try that again."
TOO_MANY_AT_ONCE = "Sorry, too much happened at once here. Please send that again."
