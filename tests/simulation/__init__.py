"""A deterministic simulation of the bot: the real turn and sweep, every interleaving chosen.

What is real: `shared.turn.Turns`, `shared.sweep.Sweep`, the notice sender, the sending limits, the
adapter, the store and the codec. What is not: time, randomness, the table's network, the channel.

* **Park and choose** (`world.py`). Every storage request and every send to the channel parks the
  task that made it. When nothing can run any more, the world lists what may happen next, and a
  chooser picks one: let a request take effect and answer it; answer it later; make it fail, before
  or after its effect, at once or late; crash a process; start a turn or a sweep; let time pass.
* **Time** is the event loop's own clock (`loop.py`), which moves only when that is chosen. Each
  process sees it with its own skew. Nothing sleeps, so a day takes no time.
* **Choosers** (`explore.py`). A seed picks at random, and picks the scenario too: the same seed
  is the same run to the last step. Or depth first: every choice of a small scenario is taken.
  Two orders that differ only in which reads went between the same writes, to no task's notice,
  lead to one state, and what follows it is followed once. The suite covers more than 100,000
  schedules so, each another sequence of choices; most of them in `make test-deep`.
* **Scenarios** (`scenario.py`): who writes where and when, which activities the channel sends
  again, how many sweeps, of all shards or of one, their budgets, which faults; a bot that thinks
  for minutes, a timeout that changes, a channel that takes few notices or refuses some, dead
  letters that are made due again. At the end everything is healthy: time passes and sweeps run
  until nothing is left to do.
* **Invariants** (`invariants.py`) watch every write and every send as it takes effect, and what is
  left at the end. They know the rows only as `ConversationStore` reads them. The bot helps: it
  keeps the names of the turns it took in its state, so what a row says can be held against what
  was committed.
* **Mutants** (`mutants.py`) prove that the invariants can fail: each breaks one rule of the
  product, mostly by rewriting requests on their way to the table, and must be caught.

A violation prints the trace that leads to it. `python -m tests.simulation --seed N` prints it
again; `--seeds N` runs many, `--exhaustive` every interleaving of the small scenarios. `--cosmos`
is with the state in Cosmos DB (`in_cosmos.py`).
"""
