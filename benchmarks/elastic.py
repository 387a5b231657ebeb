"""Elastic deformation against SciPy's: python -m benchmarks.elastic --help."""

import argparse
import time

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.common import Row, in_turns, show
from core.imaging import elastic
from core.support import errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares elastic_transform of an image and its mask with what Simard et al. "
        "published, in SciPy: uniform noise, gaussian_filter, map_coordinates. And its "
        "displacements with theirs: standard deviation, and the distance at which the correlation "
        "falls to 1/e.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--size", type=whole_number(64), metavar="N", default=512)
    parser.add_argument("--alpha", type=whole_number(1), metavar="A", default=300)
    parser.add_argument("--sigma", type=whole_number(1), metavar="S", default=16)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=7)
    return parser.parse_args()


def simard(image, mask, alpha, sigma, rng):
    """The published way, for image `[H, W]` and mask."""
    field = (gaussian_filter(rng.uniform(-1, 1, mask.shape), sigma) * alpha for _ in "yx")
    where = [grid + shift for grid, shift in zip(np.indices(mask.shape), field, strict=True)]
    deformed = map_coordinates(image, where, order=1, mode="mirror")
    return deformed, map_coordinates(mask, where, order=0, cval=255)


def displacements(args, rng, count=12):
    """Draws displacements in x and y, ours and SciPy's, float `[N, H, W]` each."""
    identity = np.eye(2, 3, dtype=np.float32)
    shape = (args.size, args.size)
    still = np.stack(np.meshgrid(*map(np.arange, shape)), -1)
    ours = [
        np.moveaxis(elastic._positions(shape, args.alpha, args.sigma, identity, rng) - still, -1, 0)
        for _ in range(count)
    ]
    edge = 4 * args.sigma  # SciPy mirrors the noise at its border, which changes it there
    inner = np.s_[edge : edge + args.size, edge : edge + args.size]
    large = [side + 2 * edge for side in shape]
    theirs = [
        (gaussian_filter(rng.uniform(-1, 1, large), args.sigma) * args.alpha)[inner]
        for _ in range(2 * count)
    ]
    return np.concatenate(ours), np.stack(theirs)


def correlation_length(fields):
    """Returns at which distance along the rows and columns the correlation falls to 1/e."""
    variance = np.square(fields).mean()
    before = 1.0
    for lag in range(1, fields.shape[1]):
        across = (fields[:, :, lag:] * fields[:, :, :-lag]).mean()
        now = (across + (fields[:, lag:] * fields[:, :-lag]).mean()) / 2 / variance
        if now < np.exp(-1):
            return lag - (np.exp(-1) - now) / (before - now)
        before = now
    return float(fields.shape[1])


def main():
    """Measures."""
    args = get_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (args.size, args.size), np.uint8)
    mask = image // 100

    def several(transform, affine):
        for _ in range(5):
            transform(image, mask, args.alpha, args.sigma, *affine, rng)

    jobs = {
        "ours": lambda: several(elastic.elastic_transform, (0,)),
        "scipy": lambda: several(simard, ()),
    }
    seconds = in_turns(jobs, args.rounds, time.thread_time)
    ours, theirs = displacements(args, rng)
    show(
        [
            Row(
                "transforms/s, elastic_transform / SciPy",
                *([5 / s for s in seconds[name]] for name in jobs),
                "at least 40",
                "1/s",
            ),
            Row("standard deviation", [ours.std()], [theirs.std()], "0.9 to 1.1", "pixels"),
            Row(
                "correlation length",
                *([correlation_length(fields)] for fields in (ours, theirs)),
                "0.9 to 1.1",
                "pixels",
            ),
        ],
        "opencv-python-headless",
        "scipy",
        "numpy",
    )


if __name__ == "__main__":
    errors.run(main)
