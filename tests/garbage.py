"""How often Python looks for garbage while tests run."""

import gc


def settle_garbage() -> None:
    """Collect garbage less often, and never look at the modules again.

    A test process holds some million objects of modules and collected tests, and a full collection
    walks through them all. With this call the whole suite took 237 s, without it 512 s. Runs of the
    simulation leave cycles, of tasks and their contexts; 20,000 objects are a few megabytes.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
