"""What the overlap of tiles costs: python -m benchmarks.tiling --help."""

import argparse
import dataclasses

import numpy as np

from benchmarks.common import Row, in_turns, show
from core.config import PRESETS
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares the pixels per second of a large image, looked at in overlapping "
        "tiles, with those of the bare network on pieces without overlap, at the best of several "
        "sizes. The network is that of the isbi preset, untrained.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--side", type=whole_number(64), metavar="N", default=4096)
    parser.add_argument("--filters", type=whole_number(1), metavar="N", default=32)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=2)
    return parser.parse_args()


def main():
    """Measures."""
    args = get_args()
    backend.start()
    import keras

    from core.prediction.predict import TILE_BUDGET, predict
    from core.support import devices
    from core.training.fit import build
    from nets.reach import geometry

    config = dataclasses.replace(PRESETS["isbi"], filters=args.filters)
    model = build(config, devices.choose_policy("auto"))
    devices.fuse(model)
    model = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))
    image = np.random.default_rng(0).integers(0, 256, (args.side, args.side, 1), np.uint8)

    def tiled():
        for answer in predict(model, [image], config, tile=True, batch_size=config.batch_size):
            answer.class_map()

    def bare(side, count):
        pieces = np.zeros((count, side, side, 1), np.uint8)

        def run():
            model.predict_on_batch(pieces)

        return run

    jobs = {"tiled": tiled}
    pixels = {"tiled": args.side**2}
    for side in (256, 512, 1024):
        count = max(1, TILE_BUDGET // (args.filters * side**2) // 2)
        jobs[f"{side}x{side}, {count} at once"] = bare(side, count)
        pixels[f"{side}x{side}, {count} at once"] = side**2 * count
    seconds = in_turns(jobs, args.rounds)
    rates = {name: [pixels[name] / s / 1e6 for s in seconds[name]] for name in jobs}
    tiles = rates.pop("tiled")
    print(f"{args.filters} filters, {args.side}x{args.side}; {geometry(model)}")
    best = [max(numbers) for numbers in zip(*rates.values(), strict=True)]
    rows = [Row("overlap-tile / the best without overlap", tiles, best, "at least 0.6", "Mpixel/s")]
    for name, numbers in rates.items():
        rows.append(Row(f"  without overlap, {name}", numbers, best, "", "Mpixel/s"))
    show(rows, "keras", "tensorflow", "numpy")


if __name__ == "__main__":
    errors.run(main)
