"""What a developer's machine runs: nothing here is deployed."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said here, before newer syntax fails less clearly
    sys.exit("Python 3.11 or newer is needed. Name one that you have: make PYTHON=python3.12 ...")
