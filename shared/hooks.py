"""Your code for the end of a conversation; this file is yours, as shared/bot is.

The timer finds two functions here by their names, and needs neither the bot nor its dialogs for
them. Both may be left out; as long as they are, an expiry makes no request more. If you need
neither, leave the file as it is: the check of imports names it.

    async def on_warned(conversation: EndingConversation) -> Activity | str | None
    async def on_expired(conversation: EndingConversation) -> Activity | str | None

Their result is what the users read instead of the built-in words: None is the built-in ones, "" is
nothing. docs/policy.md, "Hooks", has examples: keep a summary for the user, sign the user out.
"""
