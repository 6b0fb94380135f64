"""For whoever runs the bot: python -m shared.cli."""
