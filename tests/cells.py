"""Drawn cells: what docs/cells.png was made by."""

import cv2
import numpy as np
from numpy.random import Generator


def draw_cells(rng: Generator, size: int = 512, cells: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Draws about so many cells that fill the image, as a slice under an electron microscope.

    Returns:
        The image, uint8 `[size, size, 1]`, and its mask, uint8 `[size, size]`: 0 on the dark
        membranes between cells, 1 inside, in the order of `ISBI_CLASSES`.
    """
    bends = rng.normal(0, size / 70, (9, 9, 2))
    places = np.indices((size, size)).transpose(1, 2, 0) + enlarged(bends, size)
    near = far = np.full((size, size), np.inf)
    for centre in rng.uniform(-0.05 * size, 1.05 * size, (cells, 2)):
        distance = np.linalg.norm(places - centre, axis=-1)
        near, far = np.minimum(near, distance), np.minimum(far, np.maximum(near, distance))
    inside = far - near > rng.uniform(4, 6)  # it is 0 halfway between two centres
    image = np.where(inside, rng.uniform(120, 150), rng.uniform(45, 70)).astype(np.float32)
    for grain, strength in ((size // 32, 8), (size // 4, 14), (size, 30)):
        image += enlarged(rng.normal(0, strength, (grain, grain)).astype(np.float32), size)
    image = cv2.GaussianBlur(image, (0, 0), 0.8)[..., None]
    return image.clip(0, 255).round().astype(np.uint8), inside.astype(np.uint8)


def enlarged(values, size):
    return cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
