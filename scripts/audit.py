"""Checks whether a package has a known vulnerability: `python -m scripts.audit`.

For what is deployed, pip-audit asks the OSV database about the pins of requirements.txt that hold
for this Python. For what runs on developers' machines, npm asks its registry about
package-lock.json. Findings in accepted_findings.toml, each with a reason, are left out. Arguments
go on to pip-audit.
"""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from scripts.processes import ROOT

ACCEPTED = ROOT / "accepted_findings.toml"


def main() -> None:
    """Runs both audits; the exit code is 1 if anything was found that is not accepted.

    Raises:
        SystemExit: at the end, and if an accepted finding has no reason.
    """
    findings = accepted(ACCEPTED)
    for finding, reason in findings.items():
        print(f"Accepted: {finding}: {reason}", flush=True)
    found_in_python = audit_python(findings)
    mistakes = audit_node(findings)
    print("\n".join(mistakes), file=sys.stderr)
    sys.exit(1 if found_in_python or mistakes else 0)


def audit_python(findings: dict[str, str]) -> int:
    """Runs pip-audit; returns its exit code."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", "requirements.txt"]
    # It installs nothing, and fails if it cannot look a package up.
    command += ["--disable-pip", "--require-hashes", "--strict", "--vulnerability-service", "osv"]
    for finding in findings:
        command += ["--ignore-vuln", finding]
    return subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, check=False).returncode


def audit_node(findings: dict[str, str]) -> list[str]:
    """Runs `npm audit`; returns a line for each finding that is not accepted."""
    npm = shutil.which("npm")
    if not npm:
        return ["npm is needed to audit package-lock.json."]
    command = [npm, "audit", "--json", "--package-lock-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        vulnerabilities = json.loads(done.stdout)["vulnerabilities"]
    except (ValueError, KeyError):
        return [f"npm audit got no answer: {done.stderr.strip() or done.stdout.strip()}"]
    found = {}
    for vulnerability in vulnerabilities.values():
        for cause in vulnerability["via"]:
            if isinstance(cause, dict):  # or it is the name of another package that is listed
                finding = cause["url"].rpartition("/")[2]
                found[finding] = f"{cause['name']}: {finding}: {cause['title']}"
    return [line for finding, line in sorted(found.items()) if finding not in findings]


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
