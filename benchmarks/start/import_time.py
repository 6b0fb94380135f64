"""Import time: `import function_app` in a fresh process beside its third-party packages alone.

What the app adds is the difference. The packages are those that its modules import, read from their
source, so the list cannot go stale.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks.report import progress, ratio, table

ROOT = Path(__file__).parents[2]
RUNS = 5
SETTINGS = {
    "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "ExpireAfterSeconds": "1800",
    "ExpirySchedule": "0 * * * * *",
}
APP = "import function_app"

# What follows runs in a fresh process, which must not load more than what is measured.
_TIMED = """
import sys, time
cpu, wall = time.process_time(), time.perf_counter()
{statements}
print([1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall), len(sys.modules)])
"""
_THIRD_PARTY = """
import function_app, ast, json, pathlib, sys
ours = {
    name: pathlib.Path(module.__file__) for name, module in list(sys.modules.items())
    if (getattr(module, "__file__", None) or "").startswith(str(pathlib.Path.cwd()))
    and "site-packages" not in module.__file__
}
named = {}
for path in ours.values():
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named.update((alias.name, 1) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            named.update((f"{node.module}.{alias.name}", 1) for alias in node.names)
            named[node.module] = 1
print(json.dumps([
    name for name in named
    if name in sys.modules and name not in ours
    and name.partition(".")[0] not in sys.stdlib_module_names
]))
"""


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | SETTINGS,
        capture_output=True,
        text=True,
        check=True,
    )


def _timed(statements: str) -> list[float]:
    """CPU ms, wall ms and loaded modules of running the statements in a fresh process."""
    figures: list[float] = json.loads(_python("-c", _TIMED.format(statements=statements)).stdout)
    return figures


def _own_time_by_package() -> dict[str, list[int]]:
    """Microseconds each module of the app took without what it imported, by package."""
    modules = defaultdict(list)
    for line in _python("-X", "importtime", "-c", APP).stderr.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            modules[_package(name.strip())].append(int(own))
    return modules


def _package(module: str) -> str:
    first, *rest = module.split(".")
    if first in ("function_app", "shared") or first.endswith("_function"):
        return "* this project"
    if first.startswith("recognizers_"):
        return "recognizers_*"
    if first in sys.stdlib_module_names:
        return "the standard library"
    namespaces = ("azure", "botbuilder", "botframework")
    return f"{first}.{rest[0]}" if first in namespaces and rest else first


def _measure() -> None:
    packages: list[str] = json.loads(_python("-c", _THIRD_PARTY).stdout)
    bare = "\n".join(f"import {name}" for name in packages)
    for statements in (APP, bare):  # compiles what has never been imported
        _timed(statements)
    ours, alone = [], []
    for number in range(RUNS):
        progress(f"  run {number + 1} of {RUNS}")
        ours.append(_timed(APP))
        alone.append(_timed(bare))
    our_cpu, our_wall, our_modules = (median(figures) for figures in zip(*ours, strict=True))
    cpu, wall, modules = (median(figures) for figures in zip(*alone, strict=True))
    table(
        f"Import (fresh process, compiled files present; median of {RUNS} runs)",
        ("", "CPU ms", "ratio", "wall ms", "ratio", "modules"),
        [
            ["* function_app", our_cpu, "", our_wall, "", int(our_modules)],
            [
                f"  its {len(packages)} third-party imports alone",
                cpu,
                ratio(cpu, our_cpu),
                wall,
                ratio(wall, our_wall),
                int(modules),
            ],
        ],
    )
    by_package = _own_time_by_package().items()
    largest = sorted(by_package, key=lambda item: sum(item[1]), reverse=True)[:10]
    table(
        "The ten largest parts of it (one run with -X importtime, which slows everything down)",
        ("", "ms", "modules"),
        [[name, sum(own) / 1000, len(own)] for name, own in largest],
    )


if __name__ == "__main__":
    _measure()
