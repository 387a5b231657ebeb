"""Several processes that train together, on one machine or on several; JAX alone can do that."""

import atexit
import contextlib
import dataclasses
import json
import os
import re
import threading
import zlib
from argparse import ArgumentParser, Namespace

from core.config import Config, Found
from core.support.errors import Lost, UserError
from core.support.flags import whole_number

PATIENCE = 300  # seconds in which the processes must come together
_OWN = ("data", "train_list", "val_list", "workers")  # settings that may differ among them


def add_flags(parser: ArgumentParser) -> None:
    """Adds the flags of a training on several machines."""
    group = parser.add_argument_group(
        "several machines", "for KERAS_BACKEND=jax; the other flags are the same on all of them"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="a free port on machine 0")
    group.add_argument("--num-processes", type=whole_number(2), metavar="N", help="how many")
    group.add_argument("--process-id", type=whole_number(0), metavar="I", help="this one, from 0")


def parse_group(args: Namespace) -> tuple | None:
    """Returns the arguments of `join`, None for one process; a UserError if the flags clash."""
    group = args.coordinator, args.num_processes, args.process_id
    if group == (None, None, None):
        return None
    address, count, index = group
    if None in group or index >= count or not re.fullmatch(r".+:\d+", address):
        raise UserError(
            "--coordinator HOST:PORT, --num-processes N and --process-id I, from 0 to N - 1, go "
            "together."
        )
    return group


def join(address: str, count: int, index: int) -> None:
    """Makes this process number `index` of `count` that train together.

    They meet at `address`, the `HOST:PORT` of process 0. Call it before JAX computes.

    Raises:
        UserError: if they do not find each other, or on another backend than JAX.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise UserError(
            "--coordinator: several machines train together on JAX alone. Set KERAS_BACKEND=jax."
        )
    import jax

    failed = []

    def connect():
        try:  # at the end of its own patience, JAX would abort the program
            jax.distributed.initialize(address, count, index, initialization_timeout=2 * PATIENCE)
        except Exception as error:  # gRPC's are of many kinds
            failed.append(str(error).splitlines()[0])

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if failed or thread.is_alive():
        reason = f" ({failed[0]})" if failed else f" within {PATIENCE} seconds"
        raise UserError(
            f"--coordinator {address}: the {count} processes did not come together{reason}. "
            "Start all of them, each with its own --process-id."
        )


def process() -> tuple[int, int]:
    """Returns the number of this process and how many there are."""
    import keras

    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def agree(config: Config, found: Found, *counts: int) -> None:
    """Raises a UserError if processes differ in their settings or their `counts`."""
    if process()[1] == 1:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in _OWN}
    state = zlib.crc32(json.dumps([settings, dataclasses.asdict(found), counts]).encode())
    if len(set(multihost_utils.process_allgather(np.array(state, np.uint32)).tolist())) > 1:
        raise UserError(
            "The processes differ in their flags, their images or their finished epochs. Give the "
            "same flags and data to all of them, and an --output that all see."
        )


@contextlib.contextmanager
def joined():
    """Lets this process end without the others if the block fails: JAX would wait for minutes.

    Raises a UserError if another process is lost.
    """
    try:
        yield
    except Exception as error:
        if process()[1] > 1:
            atexit.register(os._exit, 1)  # the last one registered is called first
            # JAX raises its own error, or a ValueError where it compares what processes have.
            if type(error).__name__ == "JaxRuntimeError" or re.search("Gloo|NCCL", str(error)):
                raise Lost(
                    "Another process of this training has ended or cannot be reached, so this one "
                    "ends, too. Start all of them again: they resume after the last whole epoch."
                ) from error
        raise
