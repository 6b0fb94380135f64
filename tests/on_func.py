"""The tests that speak HTTP, on Core Tools: `make test-func` runs `python -m tests.on_func`.

The arguments are pytest's.
"""

import os
import shlex
import subprocess
import sys

from scripts import run
from scripts.processes import ROOT

TESTS = ["tests/conformance", "tests/e2e"]


def main() -> None:
    """Runs the tests.

    Raises:
        SystemExit: with the exit code of pytest, or there is no func to run on.
    """
    func = run.find_func()
    if not func:
        wanted = ".".join(map(str, run.OLDEST_FUNC))
        sys.exit(
            f"There is no func of version 4, {wanted} or newer: npm could not download it."
            " `make test` runs the same tests on the project's local host."
        )
    command = f"{shlex.quote(func)} start --port {{port}}"
    pytest = [sys.executable, "-m", "pytest", *TESTS, *sys.argv[1:]]
    environment = {**os.environ, "FUNCTIONS_HOST": command}
    sys.exit(subprocess.run(pytest, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
