"""Replay one seed, run many, or explore the small scenarios: `python -m tests.simulation -h`."""

# ruff: noqa: T201 - a command that prints
import argparse
import logging
import sys
import time
from multiprocessing import Pool

from tests.garbage import settle_garbage
from tests.simulation.explore import PROGRESS_SECONDS, explore, run_seed, simulation
from tests.simulation.in_cosmos import cosmos_simulation, run_seed_in_cosmos
from tests.simulation.scenario import LARGER, SMALL
from tests.simulation.world import Violation


def _prepare() -> None:
    """Of each process: what need not be done in each run."""
    settle_garbage()
    logging.getLogger("shared").setLevel(logging.ERROR)


def _replay(seed: int, *, cosmos: bool) -> int:
    run = cosmos_simulation(seed) if cosmos else simulation(seed)
    print(run.scenario)
    try:
        run.run()
    except Violation:
        return 1
    finally:
        print("\n".join(run.world.trace))
    print("no violation", dict(run.promises.outcomes))
    return 0


def _run_many(first: int, count: int, jobs: int, *, cosmos: bool) -> int:
    seeds = range(first, first + count)
    schedules: set[bytes] = set()
    violations = 0
    told = time.monotonic()

    def tell(seeds_run: int) -> None:
        distinct = f"{len(schedules):,} distinct schedules"
        print(f"{seeds_run:,} of {count:,} seeds, {distinct}, {violations} violations", flush=True)

    run = run_seed_in_cosmos if cosmos else run_seed
    with Pool(jobs, _prepare) as pool:
        # Not an executor's map: that would queue all the seeds before the first one has run.
        for number, ran in enumerate(pool.imap(run, seeds, chunksize=100)):
            schedules.add(ran.schedule)
            if ran.failure:
                violations += 1
                print(f"seed {ran.failure.seed}: {ran.failure.what}", flush=True)
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                tell(number + 1)
    tell(count)
    return bool(violations)


def _explore() -> int:
    total = 0
    for name, scenario in (SMALL | LARGER).items():
        explored = explore(scenario, lambda how_far: print(f"    {how_far}", flush=True))
        total += explored.schedules
        print(f"{name}: {explored}", flush=True)
    print(f"{total:,} distinct schedules, no violation")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="run this one and print its trace")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--exhaustive", action="store_true", help="every choice, small scenarios")
    parser.add_argument("--cosmos", action="store_true", help="seeds with state in Cosmos DB")
    parser.add_argument("--jobs", type=int, default=2, help="in so many processes")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _replay(arguments.seed, cosmos=arguments.cosmos)
    if arguments.exhaustive:
        return _explore()
    return _run_many(arguments.first, arguments.seeds, arguments.jobs, cosmos=arguments.cosmos)


if __name__ == "__main__":
    sys.exit(main())
