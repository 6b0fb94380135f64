"""Pins the packages of requirements*.in, with hashes, for every Python and system.

`python -m scripts.lock` keeps the pins that still fit; `--upgrade` takes the newest versions.
"""

import sys

from scripts.processes import run

OLDEST_PYTHON = "3.11"
# In this order: each reads the pins of the one before.
FILES = ("requirements", "requirements-dev", "requirements-build", "benchmarks/peers/requirements")


def main() -> None:
    """Writes the .txt of each file.

    Raises:
        SystemExit: no versions fit together, or the package index cannot be reached.
    """
    uv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
    uv += ["--generate-hashes", "--python-version", OLDEST_PYTHON]
    # pip-audit needs pip, which is installed already: on Windows pip cannot replace itself.
    uv += ["--no-emit-package", "pip"]
    uv += ["--custom-compile-command", "make lock", *sys.argv[1:]]
    for name in FILES:
        run([*uv, f"{name}.in", "--output-file", f"{name}.txt"])


if __name__ == "__main__":
    main()
