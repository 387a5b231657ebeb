"""Starting Keras: the garbage collector and what it is not to look at."""

import gc
import subprocess
import sys
from pathlib import Path

from core.support import backend

ROOT = Path(__file__).parent.parent
START = """
import gc
found = []
gc.callbacks.append(lambda phase, info: found.append(info["generation"]))
from core.support import backend
backend.start()
import keras
print(found.count(2), gc.get_freeze_count() > len(gc.get_objects()), gc.isenabled())
class Ring: pass
ring = Ring(); ring.ring = ring
del ring
print(gc.collect() >= 1, found.count(2) > 0)
"""


def test_what_is_imported_is_no_garbage():
    """All of it is collected never, what comes later as ever."""
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["0 True True", "True True", ""]


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        backend.start()
        assert not gc.isenabled()
    finally:
        gc.enable()
