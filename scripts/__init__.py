"""Commands for a developer's machine; nothing here is deployed."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - newer syntax would fail later, with a less clear message
    sys.exit("Python 3.11 or newer is needed. Name one that you have: make PYTHON=python3.12 ...")
