"""Several processes that train together, on one machine or on several; a matter of JAX."""

import atexit
import os
import signal
import sys
import threading

import numpy as np

from core.errors import UserError

HEARTBEAT = 30  # seconds after which a process that says nothing is taken for dead
DEAD = (
    "Another process of this training has ended or cannot be reached, so this one ends, too. Start "
    "all of them again: they go on after the last whole epoch."
)


def watch():
    """Goes on in a child process, and ends this one as that one does.

    Where JAX loses the process that keeps all of them together, it aborts. Somebody must be left to
    say what happened. To be called before JAX is loaded.
    """
    if not hasattr(os, "fork"):  # as on Windows, where JAX's own message must do
        return
    life, parent = os.pipe()
    child = os.fork()
    if child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the child, too
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == -signal.SIGABRT:
            print(f"{sys.argv[0]}: {DEAD}", file=sys.stderr, flush=True)
            status = 2
        os._exit(status if status >= 0 else 128 - status)
    os.close(parent)

    def follow():
        os.read(life, 1)  # comes to an end with the parent
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def join(coordinator, processes, index):
    """Makes this process one of several that train together; to be called before anything else.

    Args:
        coordinator: `HOST:PORT` of process 0.
        processes: how many there are.
        index: the number of this one.

    Raises:
        UserError: if they do not find each other.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise UserError(
            "--coordinator: several machines train together on JAX alone. Set KERAS_BACKEND=jax."
        )
    import jax

    try:
        jax.distributed.initialize(
            coordinator, processes, index, heartbeat_timeout_seconds=HEARTBEAT
        )
    except Exception as error:  # gRPC's are of many kinds
        raise UserError(
            f"--coordinator {coordinator}: the {processes} processes did not come together "
            f"({str(error).splitlines()[0]}). Start all of them, each with its own --process-id."
        ) from error


def process():
    """Returns the number of this process and how many there are."""
    import keras

    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def agree(number, what):
    """Makes sure that all processes have the same number.

    Raises:
        UserError: if not.
    """
    if process()[1] == 1:
        return
    from jax.experimental import multihost_utils

    numbers = multihost_utils.process_allgather(np.array(number)).tolist()
    if len(set(numbers)) > 1:
        raise UserError(f"The processes see {what}: {', '.join(map(str, numbers))}.")


def lost(error):
    """Explains an error of JAX, if there are other processes, by the loss of one of them.

    Raises:
        UserError: if there are others.
    """
    if process()[1] > 1:
        # At its exit, JAX would wait for the dead. What is registered last is called first.
        atexit.register(os._exit, 2)
        raise UserError(DEAD) from error
