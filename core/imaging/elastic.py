"""Smooth random deformations of an image together with its mask."""

import math

import cv2
import numpy as np

from core.config import IGNORE

Pair = tuple[np.ndarray, np.ndarray]  # image and mask
Crop = tuple[slice, slice]  # rows and columns


def elastic_transform(
    image: np.ndarray,
    mask: np.ndarray,
    alpha: float,
    sigma: float,
    alpha_affine: float,
    random_state: np.random.Generator | int | None = None,
    *,
    crop: Crop | None = None,
) -> Pair:
    """Deforms image and mask smoothly, and returns them with their types unchanged.

    After Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to
    Visual Document Analysis", ICDAR 2003. A random affine map, which moves each of three points by
    up to `alpha_affine`, comes first. Then each pixel takes the value at its displaced position.

    The displacements have the distribution of `gaussian_filter(uniform(-1, 1), sigma) * alpha`.
    Their standard deviation is `alpha / sqrt(3) / (2 * sqrt(pi) * sigma)` for a sigma of a few
    pixels, and the correlation of two pixels at distance d is `exp(-d**2 / (4 * sigma**2))`. They
    are drawn on a grid with about two nodes per sigma, and interpolated.

    Args:
        image: uint8 `[H, W]` or `[H, W, C]`; it is mirrored at its edges.
        mask: uint8 or uint16 `[H, W]`; it is 255 beyond its edges.
        alpha: strength of the displacements, in pixels.
        sigma: their smoothness, in pixels.
        alpha_affine: see above, in pixels.
        random_state: a `np.random.Generator`, a seed, or None for a different result each time.
        crop: rows and columns of the only part that is computed and returned; None: all.
    """
    rng = np.random.default_rng(random_state)
    rows, columns = crop or map(slice, (0, 0), mask.shape)
    shape = rows.stop - rows.start, columns.stop - columns.start
    matrix = _affine(mask.shape, alpha_affine, rng)
    corner = rows.start, columns.start
    return _moved(image, mask, _positions(shape, alpha, sigma, matrix, rng, corner))


def deform(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
    """The U-Net paper's elastic deformation: random displacements on a 3x3 grid.

    The nodes lie at the centres of 3x3 equal parts of the image. Their displacements in x and in y
    are normally distributed with a standard deviation of 10 pixels. Between the nodes they are
    interpolated bicubically; outside the outer nodes, the outer values are repeated. Image and mask
    are as for `elastic_transform`.
    """
    return _moved(image, mask, _bent(mask.shape, 10.0, rng))


def _bent(shape, deviation, rng):
    """The position that each pixel comes from in `deform`, float32 `[H, W, 2]` (x, y)."""
    nodes = rng.normal(0, deviation, (3, 3, 2)).astype(np.float32)
    where = cv2.resize(nodes, shape[::-1], interpolation=cv2.INTER_CUBIC)
    where[..., 0] += np.arange(shape[1], dtype=np.float32)
    where[..., 1] += np.arange(shape[0], dtype=np.float32)[:, None]
    return where


def _moved(image, mask, where):
    """Gives each pixel the value at its position in `where`, float32 `[H, W, 2]` (x, y)."""
    moved = cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    ids = cv2.remap(mask, where, None, cv2.INTER_NEAREST, borderValue=(IGNORE,) * 4)
    return moved.reshape(*ids.shape, *image.shape[2:]), ids


def _positions(shape, alpha, sigma, matrix, rng, corner=(0, 0)):
    """The position that each pixel of a crop at `corner` (y, x) comes from, as in `_bent`.

    Displacement and affine map are combined on the coarse grid. Bilinear interpolation keeps the
    map exactly, and 98 percent of the displacements' standard deviation.
    """
    step = max(1, int(sigma / 2))
    coarse_sigma = sigma / step
    margin = math.ceil(4 * coarse_sigma)  # keeps the noise's edges out of the blur
    nodes = [-(-side // step) + 2 for side in shape]  # one more at each side, for the interpolation
    noise = rng.random((nodes[0] + 2 * margin, nodes[1] + 2 * margin, 2), np.float32)
    noise -= 0.5  # in place, also below: new memory for large arrays costs more than sums
    positions = cv2.GaussianBlur(noise, (0, 0), coarse_sigma)[margin:-margin, margin:-margin]
    # Blurring white noise with a kernel k leaves sum(k**2) of its standard deviation. The coarse
    # kernel leaves more than that of sigma, and the noise has half the range of uniform(-1, 1).
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
    """A random affine map from the result's pixels back to the image's, float32 `[2, 3]`."""
    centre = np.array([shape[1] // 2, shape[0] // 2], np.float32)
    reach = min(shape) // 3
    before = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    after = before + rng.uniform(-limit, limit, before.shape).astype(np.float32)
    return cv2.getAffineTransform(after, before).astype(np.float32)
