"""One budget for all processes, beside a limit that is divided by a number of processes.

In virtual time, with the real limits and rows (`tests.simulation.sending`): one Teams tenant takes
50 requests a second and refuses what is above; each worker has more notices than it may send.
"""

from collections.abc import Callable

from benchmarks.report import note, progress, table
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import Limits
from tests.simulation.sending import LIMIT, Scenario, World

_STEP = ((40.0, 90.0, 30.0, 30.0),)


def _divided_by(processes: int) -> type[SendingLimits]:
    """Limits as they were, with an operator's guess of the number of processes."""

    class Divided(SendingLimits):
        def __post_init__(self) -> None:
            super().__post_init__()
            one = {"service_url": [LIMIT, processes]}
            self.limits = Limits({"msteams": {"tenant": [LIMIT, processes]}, "other": one})
            self.budget = None

    return Divided


def _row(name: str, scenario: Scenario, limits: type[SendingLimits]) -> list[object]:
    progress(f"  {scenario.workers} workers, {name}")
    outcome = World(scenario, 0, limits=limits).run()
    return [
        f"{name}, {scenario.workers}",
        outcome.worst_ever,
        outcome.notices,
        outcome.refused,
        outcome.lost,
        round(outcome.requests),
    ]


def _measure() -> None:
    ways: list[tuple[str, Callable[[], type[SendingLimits]]]] = [
        ("* one budget", lambda: SendingLimits),
        ("divided by 65", lambda: _divided_by(65)),
        ("divided by 4", lambda: _divided_by(4)),
        ("each for itself", lambda: _divided_by(1)),
    ]
    columns = ("", "worst second", "notices/s", "429s", "replies lost", "requests/min")
    for title, replies in (("no replies", ()), ("30 replies a second from 40 s on", _STEP)):
        rows = [
            _row(name, Scenario(workers, seconds=90, replies=replies), limits())
            for workers in (1, 4, 64)
            for name, limits in ways
        ]
        table(
            f"Workers that send to one tenant, {LIMIT} a second permitted, {title}", columns, rows
        )
    note("Worst second: requests that came, replies among them. Requests: to storage.")


if __name__ == "__main__":
    _measure()
