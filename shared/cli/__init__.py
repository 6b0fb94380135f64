"""Commands for the operator: python -m shared.cli."""
