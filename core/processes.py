"""Several processes that train together, on one machine or on several; a matter of JAX."""

import atexit
import os

import numpy as np

from core.errors import UserError

HEARTBEAT = 30  # seconds after which a process that says nothing is taken for dead
DEAD = (
    "Another process of this training has ended or cannot be reached, so this one ends, too. Start "
    "all of them again: they go on after the last whole epoch."
)


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
