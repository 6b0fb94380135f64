"""Runs a command with the repository's variables: `python3 -m scripts.with_variables COMMAND...`.

For deploy.yml, which gives them as JSON in VARIABLES. Only what infra/main.parameters.json reads
gets through, and only as variables of this one command: a file such as GITHUB_ENV would take a line
break in a value for the next variable. Uses the standard library only.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping

from scripts.processes import ROOT

# What azd reads beside the parameters.
OF_AZD = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}


def main() -> None:
    """Runs the command and ends with its exit code.

    Raises:
        SystemExit: at the end, or a value cannot be a variable.
    """
    variables = taken_over(json.loads(os.environ["VARIABLES"]))
    kept = {name: value for name, value in os.environ.items() if name != "VARIABLES"}
    sys.exit(subprocess.run(sys.argv[1:], env={**kept, **variables}, check=False).returncode)


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
