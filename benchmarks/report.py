"""Progress on stderr, tables on stdout."""

import sys
from collections.abc import Sequence


def progress(what: str) -> None:
    print(f"benchmarks: {what}", file=sys.stderr, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column is text, the others are figures, aligned right."""
    cells = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    print(f"\n{title}\n")
    for number, row in enumerate(cells):
        first, *figures = zip(row, widths, strict=True)
        aligned = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in figures)]
        print("  " + "   ".join(aligned).rstrip())
        if number == 0:
            print("  " + "   ".join("-" * width for width in widths))
    sys.stdout.flush()


def note(text: str) -> None:
    print(f"  {text}", flush=True)


def ratio(alternative: float, ours: float) -> str:
    """How many times worse the alternative's figure is, if lower figures are better."""
    return f"{alternative / ours:.2f}x" if ours else "-"


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.2f}" if cell < 100 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
