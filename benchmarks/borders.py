"""Draws a slice of ISBI's stack, its label and its border weights: python -m benchmarks.borders."""

import argparse
import time

import cv2
import numpy as np

from core.config import ISBI_HOME
from core.imaging.borders import W0, border_weights
from core.imaging.draw import write_image
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Draws a slice, its label and its border weights (black 0, white 10) side by "
        "side, and prints how long the weights took.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=ISBI_HOME, help="in ISBI's layout")
    parser.add_argument("--slice", type=whole_number(0), metavar="N", default=0)
    parser.add_argument("--output", metavar="FILE", default="borders.png")
    return parser.parse_args()


def main():
    """Draws."""
    args = get_args()
    backend.start()
    from core.ISBIdataset import ISBIDataset

    dataset = ISBIDataset(args.data)
    last = len(dataset.image_info) - 1
    if args.slice > last:
        raise errors.UserError(f"{args.data}: the last slice is --slice {last}.")
    image, mask = dataset.load(args.slice)
    start = time.perf_counter()
    weights = border_weights(mask)
    seconds = time.perf_counter() - start
    levels = np.rint(weights * (255 / W0)).astype(np.uint8)
    heat = cv2.applyColorMap(levels, cv2.COLORMAP_HOT)[..., ::-1]
    grey = [np.repeat(pixels, 3, axis=-1) for pixels in (image, 255 * mask[..., None])]
    write_image(args.output, np.hstack([*grey, heat]))
    print(f"{mask.shape[1]}x{mask.shape[0]} pixels in {seconds:.2f} s; weights up to", end=" ")
    print(f"{weights.max():.2f}, {weights[mask == 0].mean():.2f} on average between cells")


if __name__ == "__main__":
    errors.run(main)
