"""Installs what the project needs into its own folder: `python -m scripts.install [VENV]`.

If the requirements have not changed since the last time, it installs nothing.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from scripts.processes import ROOT, run, succeeds

PYTHON_IS_USABLE = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
NODE_IS_USABLE = "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"


def python_packages(venv: Path) -> Path:
    """Makes a virtual environment with everything for development; returns its interpreter.

    Raises:
        SystemExit: It failed, in one line.
    """
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = venv / ".installed"
    names = ("requirements.txt", "requirements-dev.txt", "requirements-build.txt")
    wanted = fingerprint(*(ROOT / name for name in names))
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing Python packages into {venv.name}: a minute or two, once.", flush=True)
    if not succeeds([python, "-c", PYTHON_IS_USABLE]):
        run([sys.executable, "-m", "venv", "--clear", venv])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # What comes as sources is built by what is installed here, so that this has a hash too.
    run([*pip, "--require-hashes", "-r", "requirements-build.txt"])
    run([*pip, "--require-hashes", "--no-build-isolation", "-r", "requirements-dev.txt"])
    stamp.write_text(wanted)
    return python


def node_packages() -> None:
    """Installs Azurite, the Agents Playground and, where its download works, Core Tools.

    Raises:
        SystemExit: Node 20 or newer is missing, or npm failed.
    """
    npm = shutil.which("npm")
    if not npm or not succeeds(["node", "-e", NODE_IS_USABLE]):
        sys.exit("Node 20 or newer with npm is needed: https://nodejs.org")
    stamp = ROOT / "node_modules" / ".installed"
    wanted = fingerprint(ROOT / "package-lock.json")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Installing Node packages into node_modules: a minute, once.", flush=True)
    run([npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"])
    stamp.write_text(wanted)


def fingerprint(*files: Path) -> str:
    """A hash of the files' contents."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


if __name__ == "__main__":
    python_packages(ROOT / (sys.argv[1] if sys.argv[1:] else ".venv"))
    node_packages()
