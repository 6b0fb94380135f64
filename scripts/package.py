"""Makes the deployment package in build/app: `python -m scripts.package`. azd calls it, too.

It holds the app without its development files (.funcignore lists them), the packages of
requirements.txt for Azure Functions' platform (not this machine's), and the bytecode of all of it.
Why not on the server: docs/decisions.md, "Deployment".
"""

import os
import shutil
import sys
from pathlib import Path

from scripts.processes import ROOT, run, succeeds

Command = list[str | Path]

BUILD = ROOT / "build"
PYTHON = "3.13"  # as runtime.version in infra/main.bicep
PLATFORM = "x86_64-manylinux_2_28"
UV = "uv==0.13.9"  # pip cannot build source distributions for another Python
PACKAGES = ".python_packages/lib/site-packages"  # where the host looks
WEB_ROOT = "/home/site/wwwroot"  # where the app will be


def main() -> None:
    """Builds the package anew.

    Raises:
        SystemExit: a package could not be installed, in one line.
    """
    app = BUILD / "app"
    shutil.rmtree(app, ignore_errors=True)
    copy_app(ROOT, app)
    uv = packager(BUILD / "tools")
    print("Installing the packages that are deployed: a minute.", flush=True)
    target: Command = [
        "--target",
        app / PACKAGES,
        "--python-version",
        PYTHON,
        "--python-platform",
        PLATFORM,
    ]
    install: Command = [uv, "pip", "install", "--quiet", "--link-mode", "copy", *target]
    run([*install, "-r", ROOT / "requirements.txt"])
    python: Command = [uv, "run", "--quiet", "--no-project", "--python", PYTHON, "python"]
    if succeeds([*python, "-c", ""], within_seconds=300):
        compile_app(python, app)
    else:
        print(
            f"Python {PYTHON} is neither here nor can it be fetched: the package has no bytecode,"
            " and each cold start will take some seconds longer.",
            file=sys.stderr,
        )
    print(f"Ready: {app.relative_to(ROOT)}")


def copy_app(source: Path, target: Path) -> None:
    """Copies the app without the files that .funcignore names, at any depth.

    The copy gets an empty .funcignore of its own: without one, azd leaves bytecode out.
    """
    lines = (source / ".funcignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*patterns))
    (target / ".funcignore").write_text("# Nothing more to leave out.\n", encoding="utf-8")


def packager(venv: Path) -> Path:
    """Installs uv into a virtual environment of its own, if it is not there; returns its path.

    Raises:
        SystemExit: it failed, in one line.
    """
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    uv = scripts / ("uv.exe" if os.name == "nt" else "uv")
    if not succeeds([uv, "--version"]):
        run([sys.executable, "-m", "venv", "--clear", venv])
    pip: Command = [scripts / ("python.exe" if os.name == "nt" else "python"), "-m", "pip"]
    run([*pip, "--disable-pip-version-check", "install", "--quiet", UV])
    return uv


def compile_app(python: Command, app: Path) -> None:
    """Compiles every module to bytecode that is used without a look at the files' times.

    Deployment does not keep these times, so the usual bytecode would not be used.

    Raises:
        SystemExit: a module has an error, which is shown.
    """
    quietly = ["-W", "ignore"]  # some packages' sources cause warnings
    how = ["-m", "compileall", "-q", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    run([*python, *quietly, *how, "-s", app, "-p", WEB_ROOT, app])


if __name__ == "__main__":
    main()
