"""Runs all parts, each in a process of its own: `python -m benchmarks`, or `make bench`.

One part alone: `python -m benchmarks.expiry.sweep_requests`.
"""

import platform
import subprocess
import sys
from os import cpu_count

from benchmarks.report import progress

PARTS = (
    "turn.requests",
    "turn.stores",
    "turn.cpu",
    "connector.hostile_requests",
    "connector.proactive_sends",
    "connector.sending_at_limit",
    "connector.one_budget",
    "expiry.sweep_requests",
    "expiry.sweep_memory",
    "expiry.day",
    "start.import_time",
    "start.cold_start",
)

print(f"Python {platform.python_version()}, {cpu_count()} cores. Lines with * are this project's.")
print("ratio: how many times worse the alternative is (below 1: it is better).")
for number, part in enumerate(PARTS, 1):
    progress(f"{number} of {len(PARTS)}: {part}")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=True)
