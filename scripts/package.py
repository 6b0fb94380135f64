"""Makes the deployment package in build/app: `python -m scripts.package`. azd calls it, too.

It holds what git tracks without what is for development (`DEVELOPMENT` lists it), the packages of
requirements.txt for Azure Functions' platform (not this machine's), and the bytecode of all of it.
It is not ready if a module imports what it does not hold. Why not on the server: docs/decisions.md,
"Deployment".
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from scripts.processes import ROOT, run, succeeds

Command = list[str | Path]

# What git tracks and the app does not need: names in the project's folder. The one list; another
# one, as .funcignore, must leave out as much.
DEVELOPMENT = (
    ".*",
    "*.md",
    "LICENSE",
    "Makefile",
    "accepted_findings.toml",
    "appPackage",
    "azure.yaml",
    "benchmarks",
    "docs",
    "infra",
    "local.settings.example.json",
    "package.json",
    "package-lock.json",
    "pyproject.toml",
    "requirements*.in",
    "requirements-build.txt",
    "requirements-dev.txt",
    "scripts",
    "tests",
)

BUILD = ROOT / "build"
PYTHON = "3.13"  # as runtime.version in infra/main.bicep
PLATFORM = "x86_64-manylinux_2_28"
PACKAGES = ".python_packages/lib/site-packages"  # where the host looks
WEB_ROOT = "/home/site/wwwroot"  # where the app will be

# These come as sources only, and run code of theirs when they are built; all others as wheels.
SOURCES = ("aiounittest", "emoji", "grapheme")

# The least that the app starts with; it asks nobody.
SETTINGS = {
    "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "ExpireAfterSeconds": "1800",
    "ExpirySchedule": "0 * * * * *",
}

# Says whether a Python can load what was installed for `PLATFORM`.
IS_OF_THE_PLATFORM = """
import platform, sys
here = sys.platform, platform.machine(), platform.libc_ver()[0]
sys.exit(here != ("linux", "x86_64", "glibc"))
"""

# Runs without any site-packages: what it imports comes from the folders that it is given.
IMPORT_ALL = """
import importlib, sys
folder, packages, *modules = sys.argv[1:]
sys.path[:0] = [folder, packages]
for module in modules:
    importlib.import_module(module)
"""


def main() -> None:
    """Builds the package anew.

    Raises:
        SystemExit: a package could not be installed, or the app imports what the package lacks.
    """
    app = BUILD / "app"
    shutil.rmtree(app, ignore_errors=True)
    copy_app(ROOT, app)
    uv = packager(BUILD / "tools")
    print("Installing the packages that are deployed: a minute.", flush=True)
    run(install_command(uv, app / PACKAGES))
    missing = missing_imports(app, ROOT)
    if missing:
        sys.exit("\n".join(missing))
    python: Command = [uv, "run", "--quiet", "--no-project", "--python", PYTHON, "python"]
    if succeeds([*python, "-c", ""], within_seconds=300):
        if succeeds([*python, "-c", IS_OF_THE_PLATFORM]):
            import_app(python, app)
        compile_app(python, app)
    else:
        print(
            f"Python {PYTHON} is neither here nor can it be fetched: the package has no bytecode,"
            " and each cold start will take some seconds longer.",
            file=sys.stderr,
        )
    print(f"Ready: {app.relative_to(ROOT)}")


def copy_app(source: Path, target: Path) -> None:
    """Copies what git tracks in the source, as it is there now, without `DEVELOPMENT`.

    The copy gets a .funcignore of its own that leaves nothing out: without one, azd leaves bytecode
    out.

    Raises:
        SystemExit: the source is no git repository, or has a link, which may lead anywhere.
    """
    for name in git_files(source, "--cached"):
        file = source / name
        if file.is_symlink():
            sys.exit(f"{name} is a link. Put the file itself there: links are not deployed.")
        if file.is_file():  # or it was deleted, and that is not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target / name)
    left_out = list(git_files(source, "--others", "--exclude-standard"))
    if left_out:
        print(f"Not deployed, as git does not track it: {', '.join(left_out)}", file=sys.stderr)
    (target / ".funcignore").write_text("# Nothing more to leave out.\n", encoding="utf-8")


def git_files(source: Path, *which: str) -> Iterator[str]:
    """The files of git's listing that are not for development, by their paths from the source on.

    Raises:
        SystemExit: the source is no git repository, or there is no git.
    """
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", *which], cwd=source, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        sys.exit(
            "The package holds what git tracks, and here git answers nothing: make a clone, or run"
            " `git init` and `git add` the app's files."
        )
    for name in filter(None, listing.decode().split("\0")):
        top = name.partition("/")[0]
        if not any(fnmatchcase(top, pattern) for pattern in DEVELOPMENT):
            yield name


def install_command(uv: Path, target: Path) -> Command:
    """The command that installs requirements.txt for Azure, everything by its hash."""
    platform = ["--python-version", PYTHON, "--python-platform", PLATFORM]
    kinds = ["--only-binary", ":all:"]
    for name in SOURCES:
        kinds += ["--no-binary", name]
    by_hash = ["--require-hashes", "--build-constraints", str(ROOT / "requirements-build.txt")]
    install: Command = [uv, "pip", "install", "--quiet", "--link-mode", "copy", "--target", target]
    return [*install, *platform, *kinds, *by_hash, "-r", ROOT / "requirements.txt"]


def packager(venv: Path) -> Path:
    """Installs uv by its hash into a virtual environment of its own; returns its path.

    Raises:
        SystemExit: it failed, in one line.
    """
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    uv = scripts / ("uv.exe" if os.name == "nt" else "uv")
    if not succeeds([uv, "--version"]):
        run([sys.executable, "-m", "venv", "--clear", venv])
    pip: Command = [scripts / ("python.exe" if os.name == "nt" else "python"), "-m", "pip"]
    by_hash = ["--require-hashes", "--only-binary", ":all:"]
    install: Command = [*pip, "--disable-pip-version-check", "install", "--quiet", *by_hash]
    run([*install, "-r", ROOT / "requirements-build.txt"])
    return uv


def missing_imports(app: Path, source: Path) -> list[str]:
    """Names each import of the app's own modules that nothing in the package answers to.

    Imports within functions count too, as they would fail only when a user comes.

    Args:
        app: the package.
        source: the project, which tells a module that was left out from a name in a module.
    """
    roots = (app, app / PACKAGES)
    missing = []
    for file in own_modules(app):
        for line, name, is_certain in imports_of(file, app):
            path = name.replace(".", "/")
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or any(has_module(root, path) for root in roots):
                continue
            if is_certain or has_module(source, path):
                missing.append(
                    f"{file.relative_to(app)}:{line} imports {name}, which the package lacks."
                )
    return missing


def imports_of(file: Path, app: Path) -> Iterator[tuple[int, str, bool]]:
    """The line, the module and whether it must be a module (or may be a name) of each import."""
    package = list(file.relative_to(app).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, True
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module:
                yield node.lineno, module, True
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}".lstrip("."), False


def has_module(root: Path, path: str) -> bool:
    """Says whether a folder has a module: a file, an extension or a folder."""
    if (root / path).is_dir() or (root / f"{path}.py").is_file():
        return True
    return any((root / path).parent.glob(f"{Path(path).name}.*.so"))


def own_modules(app: Path) -> list[Path]:
    """The Python files of the app itself."""
    return [
        file
        for file in sorted(app.rglob("*.py"))
        if file.relative_to(app).parts[0] != ".python_packages"
    ]


def import_app(python: Command, app: Path) -> None:
    """Imports every module of the app from the package, and from nowhere else.

    Raises:
        SystemExit: one cannot be imported; the error is shown.
    """
    names = []
    for file in own_modules(app):
        parts = file.relative_to(app).with_suffix("").parts
        if parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    # Without bytecode, whose form compile_app chooses; without variables of this machine.
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    isolated = ["-I", "-S", "-B", "-c", IMPORT_ALL]
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [*python, *isolated, app, app / PACKAGES, *names],
            cwd=elsewhere,
            env={**clean, **SETTINGS},
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode:
        sys.exit("The app cannot be imported from the package: see above.")


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
