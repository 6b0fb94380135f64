"""The bots of the tests.

`running_bot` runs one of these modules in place of shared/bot, and `sdk_bot` on the SDK's adapters.
"""
