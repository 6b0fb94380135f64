"""Runs a command with the repository's variables.

    python3 -m scripts.with_variables [--attempts COUNT] COMMAND...

For deploy.yml, which gives the variables as JSON in VARIABLES. Only what infra/main.parameters.json
reads gets through, and only as variables of this one command: a file such as GITHUB_ENV would take
a line break in a value for the next variable. With `--attempts` a command that fails is run again,
a minute later: the first upload to a new storage is refused until a role has spread. Uses the
standard library only.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from scripts.processes import ROOT

AGAIN_AFTER_SECONDS = 60

# What azd reads beside the parameters.
OF_AZD = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}


def main() -> None:
    """Runs the command and ends with its exit code.

    Raises:
        SystemExit: at the end, or a value cannot be a variable.
    """
    variables = taken_over(json.loads(os.environ["VARIABLES"]))
    kept = {name: value for name, value in os.environ.items() if name != "VARIABLES"}
    attempts, command = 1, sys.argv[1:]
    if command[0] == "--attempts":
        attempts, command = int(command[1]), command[2:]
    sys.exit(run(command, {**kept, **variables}, attempts, time.sleep))


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    attempts: int,
    sleep: Callable[[float], None],
) -> int:
    """Runs a command until it succeeds, so many times at most; returns its last exit code."""
    while True:
        code = subprocess.run(command, env=environment, check=False).returncode
        attempts -= 1
        if not code or not attempts:
            return code
        print(f"It failed; again in {AGAIN_AFTER_SECONDS} s.", flush=True)
        sleep(AGAIN_AFTER_SECONDS)


def taken_over(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that the infrastructure knows, without those that are empty.

    azd would take an empty one for a value, and not for the default.

    Raises:
        SystemExit: a value has a character that is neither printed nor a space, or a line break.
    """
    parameters = (ROOT / "infra" / "main.parameters.json").read_text(encoding="utf-8")
    known = OF_AZD | set(re.findall(r"\$\{(\w+)\}", parameters))
    taken = {name: value for name, value in variables.items() if name in known and value}
    for name, value in taken.items():
        if not value.isprintable():
            sys.exit(f"The variable {name} has a line break or another control character.")
    return taken


if __name__ == "__main__":
    main()
