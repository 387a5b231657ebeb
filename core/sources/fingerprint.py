"""What own data is like, measured in its images and masks."""

from collections.abc import Sequence

import cv2
import numpy as np

from core.config import IGNORE
from core.dataset import Dataset
from core.support.errors import whole
from core.support.threads import attempts
from core.training.plan import Fingerprint

MOST = 200  # images that are looked at, from all over the data set


def fingerprint(dataset: Dataset, others: int) -> Fingerprint:
    """Measures a data set to train on; `others` is the number of validation images.

    Raises:
        UserError: if a pair cannot be used.
    """
    count = len(dataset.image_info)
    indices = np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int)).tolist()

    def measure(index):
        def look():
            image, mask = dataset.load(index)
            grey = bool(image.shape[2] == 1 or not (image - image[..., :1]).any())
            return [grey, mask.shape, *measure_mask(mask, dataset.num_classes)]

        settings = dataset.num_classes, dataset.reading, dataset.by_colour, dataset.channels
        return dataset.remember("fingerprint", [dataset.image_info[index]], look, *settings)

    rows = list(whole(attempts(measure, indices, "Looking at the data", dataset.workers)))
    greys, shapes, pixels, sums, upper, lower = (list(column) for column in zip(*rows, strict=True))
    pixels, sums = np.sum(pixels, 0), np.sum(sums, 0)
    # The mean distance to the edge is a quarter of a strip's width, and the first pixel's is 1.
    thickness = np.maximum(1, 4 * (sums / np.maximum(pixels, 1) - 0.5)) * (pixels > 0)
    difference = np.subtract(upper, lower)
    error = difference.std(0) / np.sqrt(len(rows)) + 1e-6
    return Fingerprint(
        images=count,
        others=others,
        size=tuple(int(side) for side in np.median(shapes, 0)),
        largest=tuple(int(side) for side in np.max(shapes, 0)),
        grey=all(greys),
        shares=tuple((pixels / max(1, pixels.sum())).tolist()),
        thickness=tuple(thickness.tolist()),
        top_bottom=float(np.abs(difference.mean(0) / error).max()),
    )


def measure_mask(mask: np.ndarray, num_classes: int) -> Sequence[np.ndarray]:
    """Measures a mask, uint8 `[H, W]`, class by class.

    Returns:
        Four arrays `[num_classes]`: the pixels, the sum of their distances to the nearest pixel of
        another class, and the shares of the class in the upper and in the lower half.
    """
    pixels, sums = np.zeros(num_classes, np.int64), np.zeros(num_classes)
    for class_id in np.unique(mask[mask != IGNORE]).tolist():
        inside = (mask == class_id).astype(np.uint8)
        pixels[class_id] = np.count_nonzero(inside)
        distances = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
        # Without any edge in the image, all of it is far inside.
        sums[class_id] = np.minimum(distances, max(mask.shape)).sum(dtype=np.float64)
    halves = np.array_split(mask, 2)
    counts = [np.bincount(half.ravel(), minlength=256)[:num_classes] for half in halves]
    upper, lower = (count / max(1, count.sum()) for count in counts)
    return pixels, sums, upper, lower
