"""Smooth random deformations of a picture together with its mask."""

import math

import cv2
import numpy as np

from core.config import IGNORE


def elastic_transform(image, mask, alpha, sigma, alpha_affine, random_state=None, *, window=None):
    """Deforms picture and mask smoothly.

    After Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to
    Visual Document Analysis", ICDAR 2003.

    Each pixel takes what lies at its displaced position. The displacements have the distribution of
    `gaussian_filter(uniform(-1, 1), sigma) * alpha`: standard deviation
    `alpha / sqrt(3) / (2 * sqrt(pi) * sigma)` for a sigma of a few pixels, and a correlation of
    `exp(-d**2 / (4 * sigma**2))` between pixels at the distance d. They are drawn on a grid of
    about two nodes to a sigma and interpolated. An affine map, which moves each of three points by
    up to `alpha_affine`, comes first.

    Args:
        image: uint8 `[H, W]` or `[H, W, C]`; beyond its border it is mirrored.
        mask: uint8 or uint16 `[H, W]`; beyond its border it is 255.
        alpha: strength of the displacements, in pixels.
        sigma: their smoothness, in pixels.
        alpha_affine: strength of the affine map, in pixels.
        random_state: a `np.random.Generator`, a seed, or None for a different result each time.
        window: rows and columns, a pair of slices, of the only part of the result that is wanted,
            for which less is to be done; None: all.

    Returns:
        The deformed image and mask, or their window; types unchanged.
    """
    rng = np.random.default_rng(random_state)
    rows, columns = window or map(slice, (0, 0), mask.shape)
    shape = rows.stop - rows.start, columns.stop - columns.start
    matrix = _affine(mask.shape, alpha_affine, rng)
    where = _positions(shape, alpha, sigma, matrix, rng, (rows.start, columns.start))
    return _taken_from(where, image, mask)


def deform(image, mask, rng, deviation=10.0):
    """The U-Net paper's elastic deformation: random displacements on a 3x3 grid.

    The picture is divided into 3x3 equal parts. At their centres lie the nodes, whose displacements
    in x and in y are normally distributed; between them, those of the pixels are interpolated
    bicubically, and from the outer nodes to the border they go on as beyond equal neighbours.
    Each pixel takes what lies at its displaced position. Beyond its border the picture is mirrored,
    and the mask is 255.

    Args:
        image: uint8 `[H, W, C]`.
        mask: uint8 or uint16 `[H, W]`.
        rng: a `np.random.Generator`.
        deviation: standard deviation of the nodes' displacements, in pixels.

    Returns:
        The deformed image and mask, shapes and types unchanged.
    """
    return _taken_from(_bent(mask.shape, deviation, rng), image, mask)


def _bent(shape, deviation, rng):
    """Where each pixel comes from in `deform`, float32 `[H, W, 2]` (x, y)."""
    nodes = rng.normal(0, deviation, (3, 3, 2)).astype(np.float32)
    where = cv2.resize(nodes, shape[::-1], interpolation=cv2.INTER_CUBIC)
    where[..., 0] += np.arange(shape[1], dtype=np.float32)
    where[..., 1] += np.arange(shape[0], dtype=np.float32)[:, None]
    return where


def _taken_from(where, image, mask):
    """Moves to each pixel what lies at its place in `where`, float32 `[H, W, 2]` (x, y)."""
    moved = cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    ids = cv2.remap(mask, where, None, cv2.INTER_NEAREST, borderValue=(IGNORE,) * 4)
    return moved.reshape(*ids.shape, *image.shape[2:]), ids


def _positions(shape, alpha, sigma, matrix, rng, corner=(0, 0)):
    """Where each pixel of a window at `corner` (y, x) comes from, float32 `[H, W, 2]` (x, y).

    Affine map and displacement are put together on the coarse grid. Bilinear interpolation keeps
    the first exactly, and 98 percent of the standard deviation of the second.
    """
    step = max(1, int(sigma / 2))
    coarse_sigma = sigma / step
    margin = math.ceil(4 * coarse_sigma)  # so that the blur does not see the border of the noise
    nodes = [-(-side // step) + 2 for side in shape]  # one more at each side, for the interpolation

    noise = rng.random((nodes[0] + 2 * margin, nodes[1] + 2 * margin, 2), np.float32)
    noise -= 0.5  # in place here and below: fresh memory for large arrays costs more than sums
    positions = cv2.GaussianBlur(noise, (0, 0), coarse_sigma)[margin:-margin, margin:-margin]
    # White noise filtered by a kernel k in both directions keeps sum(k**2) of its standard
    # deviation; the coarse kernel keeps more of it than the one that is asked for. The noise has
    # half the range of uniform(-1, 1).
    positions *= 2 * alpha * _energy(sigma) / _energy(coarse_sigma)

    y, x = (
        (np.arange(count, dtype=np.float32) - 0.5) * step - 0.5 + start
        for count, start in zip(nodes, corner, strict=True)
    )
    positions[..., 0] += x
    positions[..., 1] += y[:, None]
    source = cv2.transform(positions, matrix)
    fine = cv2.resize(source, (nodes[1] * step, nodes[0] * step), interpolation=cv2.INTER_LINEAR)
    return fine[step : step + shape[0], step : step + shape[1]]


def _energy(sigma):
    """The sum of the squares of a normalized Gaussian kernel."""
    kernel = cv2.getGaussianKernel(2 * math.ceil(4 * sigma) + 1, sigma)
    return float(np.square(kernel).sum())


def _affine(shape, limit, rng):
    """A random affine map from the result's pixels back to the picture's, float32 `[2, 3]`."""
    centre = np.array([shape[1] // 2, shape[0] // 2], np.float32)
    reach = min(shape) // 3
    before = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    after = before + rng.uniform(-limit, limit, before.shape).astype(np.float32)
    return cv2.getAffineTransform(after, before).astype(np.float32)
