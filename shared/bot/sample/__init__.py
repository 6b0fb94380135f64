"""The sample: when you do not need it, delete this folder and tests/sample together."""
