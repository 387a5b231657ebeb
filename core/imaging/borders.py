"""The border weights of the U-Net paper: background between objects that almost touch counts more.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, equation 2: a pixel weighs `w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2))`, with d1 and d2
its distances to the nearest and the second nearest object. This module computes the second term.
The first term, the weight of the pixel's class, belongs to the loss; see `balanced_weights`.

An object is a connected region. Whether masks number their objects is found out here, too.
"""

import cv2
import numpy as np

from core.config import IGNORE

W0, SIGMA = 10, 5  # the paper's


def border_weights(mask: np.ndarray, w0: float = W0, sigma: float = SIGMA) -> np.ndarray:
    """Evaluates the second term of the equation.

    An object is a connected region (by sides, not by corners) of one class. Distances go from
    pixel centre to pixel centre.

    Args:
        mask: uint8 `[H, W]`, class ids with 0 for the background and 255 for ignored.
        w0: the weight where both distances are 0.
        sigma: how far it reaches, in pixels.

    Returns:
        float32 `[H, W]`: 0 outside the background, and everywhere if there is only one object.
    """
    numbers, count = _objects(mask)
    if count < 2:
        return np.zeros(mask.shape, np.float32)
    second = np.inf
    # Each bit of their numbers divides the objects into two sides. The smaller of a pixel's
    # distances to the two sides is d1. The larger is at least d2, and it is d2 if the two nearest
    # objects are on different sides. That is so for at least one bit.
    for bit in range((count - 1).bit_length()):
        side = np.where(numbers < 0, -1, numbers >> bit & 1)
        distances = [_distances(side != this) for this in (0, 1)]
        second = np.minimum(second, np.maximum(*distances))
    total = np.minimum(*distances) + second
    weights = w0 * np.exp(-np.square(total) / (2 * sigma**2))
    return np.where(mask == 0, weights, 0).astype(np.float32)


def _objects(mask):
    """Numbers the objects from 0, int32 `[H, W]` with -1 where there is none, and counts them."""
    numbers, count = np.full(mask.shape, -1, np.int32), 0
    for class_id in np.setdiff1d(mask, (0, IGNORE)):
        found, regions = cv2.connectedComponents(np.uint8(mask == class_id), connectivity=4)
        inside = regions > 0
        numbers[inside] = regions[inside] + (count - 1)
        count += found - 1  # OpenCV counts what is outside, too
    return numbers, count


def in_one_piece(values: np.ndarray) -> bool:
    """Says whether the values of a mask but 0 and 255 are each one connected region.

    Corners connect. One value in ten may be of several, and a tenth of a value's pixels may lie
    apart: other objects cover parts of it, or a hand slipped. `values` are whole numbers `[H, W]`,
    such as ids or the numbers of colours.
    """
    from scipy.ndimage import find_objects  # takes long to import, and serves messages only

    found, numbers = np.unique(values, return_inverse=True)
    numbers = numbers.reshape(values.shape) + 1
    whole = []
    for number, place in enumerate(find_objects(numbers), 1):
        if found[number - 1] not in (0, IGNORE):
            own = np.uint8(numbers[place] == number)
            areas = cv2.connectedComponentsWithStats(own)[2][1:, cv2.CC_STAT_AREA]  # 0 is outside
            whole.append(areas.max() >= 0.9 * areas.sum())
    return np.mean(whole or [True]) >= 0.9


def _distances(outside):
    """Distance of each pixel to the nearest one that is not outside, float64 `[H, W]`."""
    found = cv2.distanceTransform(np.uint8(outside), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(np.square(found, dtype=np.float64)))  # squares are whole numbers


def balanced_weights(pixels: np.ndarray) -> tuple:
    """Returns weights that give every class the same part in the loss.

    Class i weighs `sum_j n_j / (K n_i)`, with `n_i` its pixels and K the number of classes that
    have any; the others weigh 0. A pixel weighs 1 on average.
    """
    present = pixels > 0
    weights = pixels.sum() / (present.sum() * np.maximum(pixels, 1)) * present
    return tuple(weights.tolist())
