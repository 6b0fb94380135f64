"""The bots of the tests. `running_bot` runs one of these modules in place of shared/bot."""
