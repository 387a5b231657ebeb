"""Several processes that train together, on one machine or on several; a matter of JAX."""

import atexit
import os

import numpy as np

from core.errors import UserError

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
        jax.distributed.initialize(coordinator, processes, index)
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
        raise UserError(
            f"The processes see {what}: {', '.join(map(str, numbers))}. --output must name a "
            "folder that all of them see."
        )


def leave(error):
    """Lets this process end without waiting for others, as JAX would do for minutes at its exit.

    Args:
        error: what ends it.

    Raises:
        UserError: if that is JAX's way to say that another process is lost.
    """
    if process()[1] == 1:
        return
    status = 130 if isinstance(error, KeyboardInterrupt) else 2
    atexit.register(os._exit, status)  # what is registered last is called first
    if type(error).__name__ == "JaxRuntimeError":
        raise UserError(DEAD) from error
