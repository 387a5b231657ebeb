"""Starting Keras: the garbage collector and what it is not to look at."""

import contextlib
import gc
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import on_another_backend, run_on_jax

from core.support import backend

ROOT = Path(__file__).parent.parent
START = """
import gc
found = []
gc.callbacks.append(lambda phase, info: phase == "start" and found.append(info["generation"]))
from core.support import backend
backend.start()
import keras
print(found.count(2), gc.get_freeze_count() > len(gc.get_objects()), gc.isenabled())
class Ring: pass
ring = Ring(); ring.ring = ring
del ring
print(gc.collect() >= 1, found.count(2) > 1)
"""


def test_what_is_imported_is_no_garbage():
    """One collection comes before; what comes later is collected as ever."""
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["1 True True", "True True", ""]


def test_what_was_there_before_keras_is_collected_as_ever():
    """In a notebook, where Keras is imported already, what is there may become garbage."""
    frozen = gc.get_freeze_count()
    backend.start()
    assert gc.get_freeze_count() == frozen and gc.isenabled()


@pytest.mark.parametrize("fails", [False, True])
def test_a_collector_that_is_off_stays_off(fails, monkeypatch):
    monkeypatch.setattr(gc, "freeze", lambda: None)
    for collects in (True, False):
        (gc.enable if collects else gc.disable)()
        with contextlib.suppress(ImportError), backend._garbage_held_back("unknown"):
            assert not gc.isenabled()
            if fails:
                raise ImportError
        assert gc.isenabled() == collects
    gc.enable()


@pytest.mark.slow
@on_another_backend
def test_losses_and_figures_are_the_same_on_jax():
    run_on_jax(*(Path(__file__).with_name(f"test_{name}.py") for name in ("losses", "figures")))
