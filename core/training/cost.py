"""What a training takes on this machine: a few steps of it are measured."""

import dataclasses
import math
import tempfile
import time
from pathlib import Path

import keras

from core.config import Config, Found
from core.prediction.model_file import save_model
from core.support import devices
from core.training.fit import build, prepare
from nets.summary import summary


@dataclasses.dataclass(frozen=True)
class Cost:
    """What training takes on this machine, in seconds, measured with some settings."""

    sample: float  # a training sample, its preparation included
    pixels: int  # of such a sample
    start: float  # until the first step is done
    writing: float  # the files of an epoch


def measure(config: Config, opened, seconds: float = 6) -> Cost:
    """Trains for about so many seconds, and forgets it, to measure what training takes here."""
    begin = time.monotonic()
    dataset, _ = opened(dataclasses.replace(config, repeats=100 * config.batch_size))
    stamps = []

    def after_step(batch, logs):
        stamps.append(time.monotonic())
        model.stop_training = len(stamps) > 6 and stamps[-1] - stamps[1] > seconds

    policy = devices.choose_policy(config.precision)
    with devices.explained(config, policy), devices.spread():
        model = build(config, policy)
        devices.synchronize(model)
        prepare(model, config, steps=1000)
        clock = keras.callbacks.LambdaCallback(on_train_batch_end=after_step)
        model.fit(dataset, callbacks=[clock], shuffle=False, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        written = time.monotonic()
        save_model(model, Path(folder, "last.keras"), config, Found(), optimizer=model.optimizer)
        written = 2 * (time.monotonic() - written)
    sample = (stamps[-1] - stamps[1]) / (len(stamps) - 2) / config.batch_size
    return Cost(sample, seen(config), 1.3 * (stamps[0] - begin), written)


def seen(config: Config) -> int:
    """Returns the pixels of a training sample."""
    return math.prod(config.crop or config.size)


def print_summary(config: Config) -> None:
    """Describes the network that the settings ask for, see `nets.summary`."""
    with devices.explained(config):
        print(summary(build(config, pretrained=False), config.crop or config.size))
