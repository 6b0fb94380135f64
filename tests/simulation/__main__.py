"""Replay one seed, run many, or explore the small scenarios: `python -m tests.simulation -h`."""

# ruff: noqa: T201 - a command that prints
import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.explore import Failure, explore, run_seed, simulation
from tests.simulation.scenario import LARGER, SMALL
from tests.simulation.world import Violation


def _replay(seed: int) -> int:
    run = simulation(seed)
    print(run.scenario)
    try:
        run.run()
    except Violation:
        return 1
    finally:
        print("\n".join(run.world.trace))
    print("no violation", dict(run.promises.outcomes))
    return 0


def _run_many(first: int, count: int, jobs: int) -> int:
    seeds = range(first, first + count)
    failures: list[Failure] = []
    with ProcessPoolExecutor(jobs) as pool:
        for failure in pool.map(run_seed, seeds, chunksize=100):
            if failure:
                failures.append(failure)
                print(f"seed {failure.seed}: {failure.what}", flush=True)
    print(f"{count} seeds, {len(failures)} violations")
    return bool(failures)


def _explore() -> int:
    for name, scenario in (SMALL | LARGER).items():
        print(f"{name}: {explore(scenario)}", flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="run this one and print its trace")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--exhaustive", action="store_true", help="every choice, small scenarios")
    parser.add_argument("--jobs", type=int, default=2, help="in so many processes")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _replay(arguments.seed)
    if arguments.exhaustive:
        return _explore()
    return _run_many(arguments.first, arguments.seeds, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
