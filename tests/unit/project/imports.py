"""What a module imports."""

import ast
from pathlib import Path


def packages_imported(file: Path) -> set[str]:
    """The top packages that a module imports, anywhere in it."""
    packages = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            packages.add((node.module or "").partition(".")[0])
    return packages
