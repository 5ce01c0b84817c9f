"""Settings of a whole process. Only a program may set them, not a library."""

from __future__ import annotations

import gc


def tune_collector() -> None:
    """Run Python's cyclic garbage collector less often. A step makes hundreds of objects and hardly a cycle; at the default, every
    700 objects, the collector takes a twentieth of the time of a load run."""
    gc.freeze()  # objects of the imports live until the end
    gc.set_threshold(20_000, 10, 10)
    gc.enable()
