"""The built-in sample: a small segmentation problem, drawn by code and written in VOC layout.

A picture shows three to six flat objects, discs and stars, on a cluttered and unevenly lit ground.
The pattern of an object decides its class: plain, speckled, striped or checked. Colours are drawn
at random for ground and objects alike, so they tell nothing about the class, nor does the outline.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from core.config import IGNORE, SAMPLE_CLASSES
from core.imaging.draw import voc_palette
from core.imaging.image import palette_image, write_image
from core.support.errors import UserError
from core.support.files import cache_folder

SIZE = 128
PICTURES = {"train": 240, "val": 60}
SEED = 2012
VERSION = 1  # raise it when the drawing changes: the cached folder carries it in its name

CAT = Path(__file__).parents[2] / "docs" / "cat.jpg"

_JPEG_QUALITY = 95
_SUPERSAMPLING = 4


def sample_folder():
    """Returns the folder of the sample data, drawing it first if it is not there yet.

    It lies where Keras keeps its data sets, see `cache_folder`.
    """
    folder = cache_folder(f"unet-sample-v{VERSION}")
    if not folder.exists():
        try:
            write_sample(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: the sample cannot be written ({error.strerror}). Name a folder for it "
                "in the environment variable KERAS_HOME."
            ) from error
    return folder


def known_picture(config):
    """Returns a picture that a model can know something of, for a user who names none.

    Args:
        config: the model's `Config`.

    Raises:
        UserError: if there is none.
    """
    if config.dataset == "sample":
        return sample_folder() / "JPEGImages" / "val_000.jpg"
    if config.dataset == "isbi":
        path = cache_folder(f"unet-cells-v{VERSION}.png")
        if not path.exists():
            write_image(path, draw_cells(np.random.default_rng(SEED))[0][..., 0])
        return path
    if "cat" in config.names and CAT.is_file():
        return CAT
    raise UserError(
        f"Name a picture to predict: the model knows {', '.join(config.names)}, and no picture of "
        "these comes with the project."
    )


def write_sample(folder):
    """Draws the data set and writes it in VOC layout; nothing is left behind if that fails.

    Args:
        folder: where `JPEGImages/`, `SegmentationClass/` and `ImageSets/Segmentation/` shall be.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as own:
        partial = Path(own) / folder.name
        for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (partial / name).mkdir(parents=True)
        for part, (split, count) in enumerate(PICTURES.items()):
            ids = [f"{split}_{index:03d}" for index in range(count)]
            for index, picture_id in enumerate(ids):
                image, mask = draw_picture(np.random.default_rng((SEED, part, index)))
                path = partial / "JPEGImages" / f"{picture_id}.jpg"
                Image.fromarray(image).save(path, quality=_JPEG_QUALITY, subsampling=0)
                path = partial / "SegmentationClass" / f"{picture_id}.png"
                write_image(path, palette_image(mask, voc_palette()))
            listing = partial / "ImageSets" / "Segmentation" / f"{split}.txt"
            listing.write_text("".join(f"{picture_id}\n" for picture_id in ids))
        if not folder.exists():  # another process may have been quicker
            partial.rename(folder)


def draw_picture(rng, size=SIZE):
    """Draws one picture.

    Args:
        rng: a `np.random.Generator`.
        size: height and width in pixels.

    Returns:
        The picture, uint8 `[size, size, 3]`, and its mask, uint8 `[size, size]`: class ids in the
        order of `SAMPLE_CLASSES`, with a border of 255 two pixels wide around every object.
    """
    ground_colour = rng.uniform(30, 225, 3)
    image = _clutter(rng, size, ground_colour)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(3, 7)):
        class_id = int(rng.integers(1, len(SAMPLE_CLASSES)))
        cover, filling = _object(rng, size, SAMPLE_CLASSES[class_id], ground_colour)
        image += cover[..., None] * (filling - image)
        inside = (cover >= 0.5).astype(np.uint8)
        mask[cv2.dilate(inside, np.ones((3, 3), np.uint8)) > 0] = IGNORE
        mask[cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1) > 0] = class_id
    image *= _light(rng, size)
    image += rng.normal(0, rng.uniform(3, 8), image.shape)
    return image.clip(0, 255).round().astype(np.uint8), mask


def draw_cells(rng, size=512, cells=90):
    """Draws cells that fill the picture, somewhat as a slice under an electron microscope shows.

    Args:
        rng: a `np.random.Generator`.
        size: height and width in pixels.
        cells: how many, about.

    Returns:
        The picture, uint8 `[size, size, 1]`, and its mask, uint8 `[size, size]`: 0 for the dark
        membranes between cells, 1 inside, in the order of `ISBI_CLASSES`.
    """
    bends = rng.normal(0, size / 70, (9, 9, 2))
    places = np.indices((size, size)).transpose(1, 2, 0)
    places = places + cv2.resize(bends, (size, size), interpolation=cv2.INTER_CUBIC)
    near = far = np.full((size, size), np.inf)
    for centre in rng.uniform(-0.05 * size, 1.05 * size, (cells, 2)):
        distance = np.linalg.norm(places - centre, axis=-1)
        near, far = np.minimum(near, distance), np.minimum(far, np.maximum(near, distance))
    inside = far - near > rng.uniform(4, 6)  # it is 0 halfway between two centres
    image = np.where(inside, rng.uniform(120, 150), rng.uniform(45, 70)).astype(np.float32)
    for grain, strength in ((size // 32, 8), (size // 4, 14), (size, 30)):
        noise = rng.normal(0, strength, (grain, grain)).astype(np.float32)
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    return image.clip(0, 255).round().astype(np.uint8)[..., None], inside.astype(np.uint8)


def _clutter(rng, size, colour):
    """A ground of blotches at three scales, float64 `[size, size, 3]`."""
    image = np.tile(colour, (size, size, 1))
    for cells in (4, 12, 40):
        blotches = rng.normal(0, rng.uniform(9, 16), (cells, cells, 3))
        image += cv2.resize(blotches, (size, size), interpolation=cv2.INTER_CUBIC)
    return image


def _light(rng, size):
    """An uneven light: a factor between about 0.6 and 1.3 for every pixel, `[size, size, 1]`."""
    corners = rng.uniform(0.65, 1.25, (3, 3))
    return cv2.resize(corners, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]


def _object(rng, size, class_name, ground_colour):
    """One object: its coverage `[size, size]` in 0..1 and its colours `[size, size, 3]`."""
    radius = rng.uniform(0.15, 0.28) * size
    centre = rng.uniform(-0.02 * size, 1.02 * size, 2)
    angle = rng.uniform(0, 2 * np.pi)
    points = (_disc, _star)[rng.integers(2)](rng)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (points * radius) @ turn.T + centre

    large = np.zeros((size * _SUPERSAMPLING,) * 2, np.float32)
    cv2.fillPoly(large, [(points * _SUPERSAMPLING).round().astype(np.int32)], 1.0)
    cover = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA).astype(float)

    first = _distant_colour(rng, ground_colour)
    second = _distant_colour(rng, first)
    offsets = np.indices((size, size))[::-1].transpose(1, 2, 0) - centre  # (x, y) of every pixel
    share = _pattern(rng, class_name, *np.moveaxis(offsets @ turn, -1, 0))
    return cover, first + share[..., None] * (second - first)


def _pattern(rng, class_name, u, v):
    """The share of an object's second colour at its own coordinates u and v, 0..1."""
    if class_name == "striped":
        return _wave(u, rng.uniform(18, 24))
    if class_name == "checked":
        period = rng.uniform(11, 13)
        return np.abs(_wave(u, period) - _wave(v, period))
    if class_name == "speckled":
        return rng.integers(0, 2, u.shape).astype(float)
    return np.zeros(u.shape)


def _wave(distance, period):
    """A softened square wave in 0..1."""
    return 0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * distance / period))


def _distant_colour(rng, other, distance=120):
    """A random colour at least `distance` away from another one in RGB."""
    while True:
        colour = rng.uniform(20, 235, 3)
        if np.linalg.norm(colour - other) >= distance:
            return colour


def _disc(rng):
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return np.stack([np.cos(angles), rng.uniform(0.75, 1) * np.sin(angles)], -1)


def _star(rng):
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    radii = np.where(np.arange(10) % 2, rng.uniform(0.5, 0.6), 1.2)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], -1)
