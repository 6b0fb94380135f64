"""Checks whether a deployed package has a known vulnerability: `python -m scripts.audit`.

pip-audit asks the OSV database about the pins of requirements.txt that hold for this Python. It
leaves out the findings in accepted_findings.toml, each with a reason. Arguments go on to pip-audit.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from scripts.processes import ROOT

ACCEPTED = ROOT / "accepted_findings.toml"


def main() -> None:
    """Runs pip-audit and ends with its exit code: 1 if it found anything that is not accepted.

    Raises:
        SystemExit: at the end, and if an accepted finding has no reason.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", "requirements.txt"]
    # It installs nothing, and fails if it cannot look a package up.
    command += ["--disable-pip", "--require-hashes", "--strict", "--vulnerability-service", "osv"]
    for finding, reason in accepted(ACCEPTED).items():
        print(f"Accepted: {finding}: {reason}", flush=True)
        command += ["--ignore-vuln", finding]
    sys.exit(subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, check=False).returncode)


def accepted(file: Path) -> dict[str, str]:
    """Reads the accepted findings, each with its reason.

    Raises:
        SystemExit: a finding has no reason.
    """
    findings: dict[str, str] = tomllib.loads(file.read_text("utf-8"))["accepted"]
    for finding, reason in findings.items():
        if not isinstance(reason, str) or not reason.strip():
            sys.exit(f"{file.name}: {finding} has no reason.")
    return findings


if __name__ == "__main__":
    main()
