"""How much of a GPU's matrix units training uses: python -m benchmarks.accelerator --help."""

import argparse
import statistics

from benchmarks.common import in_turns, machine
from benchmarks.training import constant, prepared
from core.config import PRECISIONS, VOC_HOME, Config
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="For U-Net 64 at 320x320 and several batch sizes: images per second in fit, "
        "from files and from one batch in memory, and what share of the chip's peak the second "
        "comes to, three times the operations of a prediction being counted for a step. With "
        "KERAS_BACKEND=jax for JAX.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    number = whole_number(1)
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--peak", type=float, default=989.0, help="the chip's TFLOP/s in bfloat16")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--filters", type=number, metavar="N", default=64)
    parser.add_argument("--side", type=number, metavar="N", default=320)
    parser.add_argument("--batch-size", type=number, nargs="+", metavar="N", default=[8, 16, 32])
    parser.add_argument("--workers", type=number, metavar="N", default=2)
    parser.add_argument("--steps", type=number, metavar="N", default=30, help="of each round")
    parser.add_argument("--rounds", type=number, metavar="N", default=3)
    return parser.parse_args()


def measure(args, batch_size):
    """Returns images per second from files and from memory, and the operations of an image."""
    from core.sources.choose import open_dataset
    from core.support.backend import epochs_of
    from nets.summary import at_size, operations

    config = Config(
        data=args.data,
        filters=args.filters,
        size=(args.side, args.side),
        batch_size=batch_size,
        workers=args.workers,
        precision=args.precision,
    )
    model = prepared(config)
    dataset = open_dataset(config, "train", training=True)
    images = args.steps * batch_size
    dataset.image_info = (dataset.image_info * -(-images // len(dataset.image_info)))[:images]

    def fit(data):
        model.fit(data, shuffle=False, verbose=0, callbacks=[epochs_of(dataset)])

    batch = constant(dataset[0], args.steps)
    seconds = in_turns({"files": lambda: fit(dataset), "memory": lambda: fit(batch)}, args.rounds)
    rates = [images / statistics.median(seconds[name]) for name in ("files", "memory")]
    return *rates, operations(at_size(model, config.size))


def main():
    """Measures."""
    args = get_args()
    backend.start()
    import keras

    from core.support.devices import gpu_generation

    if not gpu_generation():
        raise errors.UserError("There is no GPU here. benchmarks.training measures a processor.")
    print(machine("keras", keras.config.backend(), "numpy"))
    print("batch  from files  from memory  ratio  TFLOP/s  of the peak   [images/s]")
    for batch_size in args.batch_size:
        files, memory, count = measure(args, batch_size)
        keras.backend.clear_session()
        speed = 3 * count * memory / 1e12
        print(
            f"{batch_size:5} {files:11.1f} {memory:12.1f} {files / memory:6.2f} {speed:8.2f} "
            f"{speed / args.peak:12.1%}",
            flush=True,
        )


if __name__ == "__main__":
    errors.run(main)
