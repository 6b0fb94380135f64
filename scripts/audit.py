"""Asks whether anything that is deployed has a known vulnerability: `python -m scripts.audit`.

pip-audit asks the OSV database about the pins of requirements.txt that hold for this Python. What
accepted_findings.toml accepts, each with a reason, is left out. Arguments go on to pip-audit.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from scripts.processes import ROOT

ACCEPTED = ROOT / "accepted_findings.toml"


def main() -> None:
    """Runs pip-audit; its exit code is ours: 1 if it found anything that is not accepted.

    Raises:
        SystemExit: at the end, and if an accepted finding has no reason.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", "requirements.txt"]
    # Nothing is installed for it, and a package that cannot be looked up is a failure.
    command += ["--disable-pip", "--require-hashes", "--strict", "--vulnerability-service", "osv"]
    for finding, reason in accepted(ACCEPTED).items():
        print(f"Accepted: {finding}: {reason}", flush=True)
        command += ["--ignore-vuln", finding]
    sys.exit(subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, check=False).returncode)


def accepted(file: Path) -> dict[str, str]:
    """Reads the findings that are accepted, and why.

    Raises:
        SystemExit: one has no reason.
    """
    findings: dict[str, str] = tomllib.loads(file.read_text("utf-8"))["accepted"]
    for finding, reason in findings.items():
        if not isinstance(reason, str) or not reason.strip():
            sys.exit(f"{file.name}: {finding} has no reason.")
    return findings


if __name__ == "__main__":
    main()
