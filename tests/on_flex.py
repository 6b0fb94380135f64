"""Tests on a host whose functions share no process: `make test-like-flex`.

On Flex Consumption all HTTP functions are one group with instances of its own, and the timer and
each queue function are others. The arguments are pytest's.
"""

import os
import subprocess
import sys

from scripts.processes import ROOT

TESTS = [
    f"tests/e2e/test_{name}.py"
    for name in (
        "expiry",
        "fan_out",
        "like_flex",
        "long_turns",
        "one_budget",
        "outcomes",
        "run_dry",
        "sending",
    )
]


def main() -> None:
    """Runs the tests.

    Raises:
        SystemExit: with the exit code of pytest.
    """
    pytest = [sys.executable, "-m", "pytest", *TESTS, *sys.argv[1:]]
    environment = {**os.environ, "LIKE_FLEX": "1"}
    sys.exit(subprocess.run(pytest, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
