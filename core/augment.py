"""Random changes of a picture together with its mask.

Every function takes `(image, mask, rng)`: uint8 `[H, W, C]`, uint8 or uint16 `[H, W]` and a
`np.random.Generator`, and returns a changed pair of the same types; the arguments stay as they are.
Geometry is the same for both: the picture is interpolated, the mask takes the nearest value, and
what no pixel of the picture reaches becomes 255 in the mask.
"""

import math

import cv2
import numpy as np

from core.config import IGNORE
from core.letterbox import PADDING


def photograph(image, mask, rng):
    """The reference's augmentation for VOC: each change with probability 1/2."""
    for change in (crop, flip, sharpness, translate):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    # One way through HSV for both, as that takes longer than everything else here.
    colours = {}
    for drawn in (_jitter, _brighter):
        if rng.random() < 0.5:
            colours |= drawn(rng)
    return _through_hsv(image, **colours) if colours else image, mask


def microscopy(image, mask, rng):
    """For slices without an up and down: any orientation, and each other change half the time.

    To be followed by `elastic`, which needs to know what of the result is wanted.
    """
    image, mask = orient(image, mask, rng)
    for change in (crop, translate, intensity):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    return image, mask


def paper(image, mask, rng):
    """As the U-Net paper asks for: rotations, elastic deformations, grey value variations.

    Where a picture is divided into random windows, they see to the shifts.
    """
    image, mask = deform(*orient(image, mask, rng), rng)
    return intensity(image, mask, rng) if rng.random() < 0.5 else (image, mask)


def orient(image, mask, rng):
    """Takes one of the eight orientations of a square, all equally likely."""
    image, mask = quarter_turn(image, mask, rng)
    return flip(image, mask, rng) if rng.random() < 0.5 else (image, mask)


def flip(image, mask, rng):
    """Exchanges left and right."""
    del rng
    return cv2.flip(image, 1).reshape(image.shape), cv2.flip(mask, 1)


def quarter_turn(image, mask, rng):
    """Turns by 0, 90, 180 or 270 degrees."""
    turns = int(rng.integers(4))  # against the clock; OpenCV's codes count the other way
    if not turns:
        return image, mask
    turned, ids = cv2.rotate(image, 3 - turns), cv2.rotate(mask, 3 - turns)
    return turned.reshape(*ids.shape, image.shape[2]), ids


def crop(image, mask, rng, share=0.1):
    """Cuts off up to `share` of the height at top and bottom and of the width at both sides."""
    height, width = mask.shape
    top, bottom = rng.integers(0, int(height * share) + 1, 2)
    left, right = rng.integers(0, int(width * share) + 1, 2)
    window = slice(top, height - bottom), slice(left, width - right)
    return image[window], mask[window]


def window(shape, rng, size):
    """Draws a window of `size = (height, width)`, or all where the picture is smaller.

    Returns:
        Its rows and columns, a pair of slices.
    """
    found = []
    for side, wanted in zip(shape[:2], size, strict=True):
        start = int(rng.integers(0, max(side - wanted, 0) + 1))
        found.append(slice(start, min(start + wanted, side)))
    return tuple(found)


def translate(image, mask, rng, share=0.1):
    """Moves by whole pixels, up to `share` of a side; what is uncovered is grey and 255."""
    old, new = [], []
    for side in mask.shape:
        limit = int(side * share)
        shift = int(rng.integers(-limit, limit + 1))
        old.append(slice(max(0, -shift), side - max(0, shift)))
        new.append(slice(max(0, shift), side - max(0, -shift)))
    moved, ids = np.full_like(image, PADDING), np.full_like(mask, IGNORE)
    moved[tuple(new)], ids[tuple(new)] = image[tuple(old)], mask[tuple(old)]
    return moved, ids


def color_jitter(image, mask, rng, hue=0.1, saturation=1.5, value=1.5):
    """Shifts the hue by up to `hue` of the colour circle, multiplies saturation and value.

    The factors lie between `1 / saturation` and `saturation`, and `1 / value` and `value`; a grey
    picture only takes the last.
    """
    return _through_hsv(image, **_jitter(rng, hue, saturation, value)), mask


def brightness(image, mask, rng, limit=0.3):
    """Adds up to `limit` of the full range to the value (the largest of red, green and blue)."""
    return _through_hsv(image, **_brighter(rng, limit)), mask


def sharpness(image, mask, rng, limit=3.0):
    """Blurs or sharpens: a mix of smoothed (0), unchanged (1) and sharpened (up to `limit`)."""
    factor = rng.uniform(0, limit)
    # Smoothed is as in Pillow: the mean of 3x3 pixels, the one in the middle counted five times.
    others = (1 - factor) * 9 / 13
    mean = cv2.blur(image, (3, 3))
    cv2.addWeighted(image, 1 - others, mean, others, 0, mean)
    return mean.reshape(image.shape), mask


def intensity(image, mask, rng, contrast=1.3, shift=0.1):
    """Stretches the contrast by `1 / contrast` to `contrast`, then shifts the level."""
    factor = _factor(rng, contrast)
    level = 127.5 * (1 - factor) + rng.uniform(-shift, shift) * 255
    return cv2.addWeighted(image, factor, image, 0, level).reshape(image.shape), mask


def elastic(image, mask, rng, window=None):
    """`elastic_transform` as the isbi preset uses it: displacements of about 3 pixels."""
    return elastic_transform(image, mask, 300, 16, 10, random_state=rng, window=window)


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


def _jitter(rng, hue=0.1, saturation=1.5, value=1.5):
    """Draws what `color_jitter` does."""
    return {
        "shift": round(rng.uniform(-hue, hue) * 256),
        "saturation": _factor(rng, saturation),
        "value": _factor(rng, value),
    }


def _brighter(rng, limit=0.3):
    """Draws what `brightness` does."""
    return {"brighter": rng.uniform(-limit, limit) * 255}


def _through_hsv(image, shift=0, saturation=1.0, value=1.0, brighter=0.0):
    """Shifts the hue (of 256), multiplies saturation and value, and adds to the value.

    A grey picture has only a value.
    """
    if image.shape[-1] == 1:
        return cv2.addWeighted(image, value, image, 0, brighter).reshape(image.shape)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    if shift:  # added to whole rows, which takes a tenth of the time of adding to one of three
        rows = hsv.reshape(len(hsv), -1)
        rows += np.tile(np.array([shift % 256, 0, 0], np.uint8), hsv.shape[1])  # and wraps around
    change = np.array([[1, 0, 0, 0], [0, saturation, 0, 0], [0, 0, value, brighter]])
    return cv2.cvtColor(cv2.transform(hsv, change), cv2.COLOR_HSV2RGB_FULL)


def _factor(rng, limit):
    """A factor between `1 / limit` and `limit`."""
    factor = rng.uniform(1, limit)
    return factor if rng.random() < 0.5 else 1 / factor
