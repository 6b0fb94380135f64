"""A worker without any framework: `benchmarks.turn.floor`."""

from benchmarks.peers.work import work
from benchmarks.turn.floor import floor_app

if __name__ == "__main__":
    work(floor_app)
