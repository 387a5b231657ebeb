"""What training costs beside what it must: python -m benchmarks.training --help."""

import argparse
import concurrent.futures
import dataclasses
import math
import multiprocessing
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.common import Row, in_turns, show
from core.config import PRESETS, VOC_HOME, Config
from core.support import backend, errors
from core.support.flags import Parser, whole_number

ROWS = ("feeding", "step", "memory")


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="feeding: images per second in fit, from files, against the same steps on "
        "one batch in memory (VOC preset, 32 filters, 256x256). step: a training step of U-Net 64 "
        "at 320x320 against PyTorch's. memory: the peak of training the same network against its "
        "weights, gradients, Adam's moments and activations, counted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--only", choices=ROWS, help="one of the three")
    parser.add_argument(
        "--torch", metavar="PYTHON", default=sys.executable, help="a Python that has PyTorch"
    )
    parser.add_argument("--filters", type=whole_number(1), metavar="N", default=64)
    parser.add_argument("--steps", type=whole_number(1), metavar="N", default=8, help="of feeding")
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    return parser.parse_args()


def prepared(config):
    """Returns a network that is ready to train, in the precision that suits this machine."""
    from core.support import devices
    from core.training.fit import build, prepare

    model = build(config, devices.choose_policy(config.precision))
    prepare(model, config, steps=10_000)
    return model


def constant(batch, steps):
    """Returns a data set that gives out one batch again and again."""
    import keras

    class Constant(keras.utils.PyDataset):
        def __len__(self):
            return steps

        def __getitem__(self, index):
            return batch

    return Constant()


def feeding(args):
    """Returns the row of `fit` from files against `fit` on one batch."""
    from core.sources.choose import open_dataset
    from core.support.backend import epochs_of

    config = dataclasses.replace(PRESETS["voc"], data=args.data, filters=32, size=(256, 256))
    model = prepared(config)
    dataset = open_dataset(config, "train", training=True)
    dataset.image_info = dataset.image_info[: args.steps * config.batch_size]
    memory = constant(dataset[0], args.steps)

    def fit(data):
        model.fit(data, shuffle=False, verbose=0, callbacks=[epochs_of(dataset)])

    jobs = {"files": lambda: fit(dataset), "memory": lambda: fit(memory)}
    seconds = in_turns(jobs, args.rounds)
    rates = ([len(dataset.image_info) / s for s in seconds[name]] for name in jobs)
    return Row("images/s in fit, files / memory", *rates, "at least 0.95", "1/s")


def batch_of(config):
    """Draws a batch of noise."""
    rng = np.random.default_rng(0)
    shape = (config.batch_size, *config.size)
    return rng.integers(0, 256, (*shape, 3), np.uint8), rng.integers(0, 21, shape, np.uint8)


def step(args):
    """Returns the row of a step here against one in PyTorch."""
    from core.support.devices import cpu_has_bfloat16

    config = Config(filters=args.filters)
    model = prepared(config)
    numbers = config.filters, config.num_classes, config.batch_size, *config.size
    half = int(cpu_has_bfloat16())
    command = [args.torch, Path(__file__).with_name("torch_step.py"), *numbers, half]
    with subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        about = other.stdout.readline().split()
        if not about:
            print("PyTorch is not installed here, so that its step is left out (--torch PYTHON).")
            return None
        assert int(about[1]) == model.count_params(), "the networks differ"
        print(f"policy {model.dtype_policy.name}; PyTorch {about[0]}")

        def theirs():
            print(file=other.stdin, flush=True)
            return float(other.stdout.readline())

        images, masks = batch_of(config)

        def ours():
            model.train_on_batch(images, masks)

        seconds = in_turns({"here": ours, "torch": theirs}, args.rounds)
        other.stdin.close()
    return Row("seconds of a step, here / PyTorch", *seconds.values(), "less than 1", "s")


def memory(filters):
    """Trains for three steps and returns the row of the peak memory, Keras itself left out."""
    backend.start()
    from nets.summary import at_size

    before = _most()
    config = Config(filters=filters)
    model = prepared(config)
    for _ in range(3):
        model.train_on_batch(*batch_of(config))
    taken = _most() - before
    kept = 4 * 4 * model.count_params()  # weights, gradients and two moments, in float32
    for layer in at_size(model, config.size).layers:
        numbers = config.batch_size * math.prod(layer.output.shape[1:])
        kept += numbers * (2 if "16" in layer.compute_dtype else 4)
    return Row("memory of U-Net training / counted", [taken], [kept / 2**20], "at most 1.5", "MiB")


def _most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts kilobytes


def main():
    """Measures."""
    args = get_args()
    rows = []
    jobs = {"feeding": feeding, "step": step}
    wanted = [args.only] if args.only else ROWS
    if "memory" in wanted:
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
            rows.append(pool.submit(memory, args.filters).result())
    backend.start()
    if "feeding" in wanted and not Path(args.data).is_dir():
        print(f"{args.data} is not there, so that feeding is left out (--data DIR).")
        wanted = [name for name in wanted if name != "feeding"]
    rows += [jobs[name](args) for name in wanted if name in jobs]
    rows = [row for row in rows if row]
    if rows:
        show(rows, "keras", "tensorflow", "numpy")


if __name__ == "__main__":
    errors.run(main)
