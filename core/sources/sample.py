"""The built-in sample: a small segmentation problem, drawn by code and written in VOC layout.

An image shows three to six discs and stars on a cluttered, unevenly lit ground. An object's pattern
is its class: plain, speckled, striped or checked. Outline and colours are random and do not tell.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image

from core.config import IGNORE, SAMPLE_CLASSES, Config
from core.imaging.draw import palette_image, voc_palette, write_image
from core.support.errors import UserError
from nets.home import keras_home

SIZE = 128
IMAGES = {"train": 240, "val": 60}
SEED = 2012
VERSION = 1  # of the drawing, part of the cached folder's name
DOCS = Path(__file__).parents[2] / "docs"
_SUPERSAMPLING = 4


def sample_folder() -> Path:
    """Returns the sample's folder; draws it first if it is missing, or raises a UserError."""
    folder = keras_home() / "datasets" / f"unet-sample-v{VERSION}"
    if not folder.exists():
        try:
            write_sample(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: the sample cannot be written ({error.strerror}). Name a folder for it "
                "in the environment variable KERAS_HOME."
            ) from error
    return folder


def known_image(config: Config) -> Path:
    """Returns an image of classes that a model with these settings knows, or raises a UserError."""
    if config.dataset == "sample":
        return sample_folder() / "JPEGImages" / "val_000.jpg"
    if config.dataset == "isbi":
        return DOCS / "cells.png"
    for name, image in (("cat", "cat.jpg"), ("vessel", "vessels-retina.jpg")):
        if name in config.names:
            return DOCS / image
    raise UserError(
        f"Name an image to predict: the model knows {', '.join(config.names)}, and no image of "
        "these comes with the project."
    )


def write_sample(folder: Path) -> None:
    """Draws the data set and writes it in VOC layout; a failure leaves nothing behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as parent:
        partial = Path(parent, folder.name)
        images, masks = partial / "JPEGImages", partial / "SegmentationClass"
        lists = partial / "ImageSets" / "Segmentation"
        for path in (images, masks, lists):
            path.mkdir(parents=True)
        for part, (split, count) in enumerate(IMAGES.items()):
            names = [f"{split}_{index:03d}" for index in range(count)]
            for index, name in enumerate(names):
                image, mask = draw_image(np.random.default_rng((SEED, part, index)))
                path = images / f"{name}.jpg"
                Image.fromarray(image).save(path, quality=95, subsampling=0)
                write_image(masks / f"{name}.png", palette_image(mask, voc_palette()))
            (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        if not folder.exists():  # another process may have been quicker
            partial.rename(folder)


def draw_image(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws one image, uint8 `[SIZE, SIZE, 3]`, and its mask, uint8 `[SIZE, SIZE]`.

    The mask has class ids in the order of `SAMPLE_CLASSES`; a line of 255, two pixels wide,
    surrounds every object.
    """
    ground_colour = rng.uniform(30, 225, 3)
    image = np.tile(ground_colour, (SIZE, SIZE, 1))
    for cells in (4, 12, 40):  # blotches
        image += _enlarged(rng.normal(0, rng.uniform(9, 16), (cells, cells, 3)), SIZE)
    mask, square = np.zeros((SIZE, SIZE), np.uint8), np.ones((3, 3), np.uint8)
    for _ in range(rng.integers(3, 7)):
        class_id = int(rng.integers(1, len(SAMPLE_CLASSES)))
        cover, filling = _object(rng, SAMPLE_CLASSES[class_id], ground_colour)
        image += cover[..., None] * (filling - image)
        inside = (cover >= 0.5).astype(np.uint8)
        mask[cv2.dilate(inside, square) > 0] = IGNORE
        mask[cv2.erode(inside, square, borderValue=1) > 0] = class_id
    image *= _enlarged(rng.uniform(0.65, 1.25, (3, 3)), SIZE)[..., None]  # uneven light
    image += rng.normal(0, rng.uniform(3, 8), image.shape)
    return image.clip(0, 255).round().astype(np.uint8), mask


def _enlarged(values, size):
    """Interpolates a small grid of values to `[size, size]` pixels."""
    return cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)


def _object(rng, class_name, ground_colour):
    """One object: its coverage `[SIZE, SIZE]` in 0..1 and its colours `[SIZE, SIZE, 3]`."""
    radius = rng.uniform(0.15, 0.28) * SIZE
    centre = rng.uniform(-0.02 * SIZE, 1.02 * SIZE, 2)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (_outline(rng) * radius) @ turn.T + centre
    large = np.zeros((SIZE * _SUPERSAMPLING,) * 2, np.float32)
    cv2.fillPoly(large, [(points * _SUPERSAMPLING).round().astype(np.int32)], 1.0)
    cover = cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(float)
    first = _distant_colour(rng, ground_colour)
    second = _distant_colour(rng, first)
    offsets = np.indices((SIZE, SIZE))[::-1].transpose(1, 2, 0) - centre  # (x, y) of every pixel
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


def _distant_colour(rng, other):
    """A random colour at least 120 away from another one in RGB."""
    colour = other
    while np.linalg.norm(colour - other) < 120:
        colour = rng.uniform(20, 235, 3)
    return colour


def _outline(rng):
    """The corners of a disc, more or less flat, or of a star."""
    star = rng.integers(2)
    angles = np.linspace(0, 2 * np.pi, 10 if star else 60, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], -1)
    if star:
        return points * np.where(np.arange(10) % 2, rng.uniform(0.5, 0.6), 1.2)[:, None]
    return points * (1, rng.uniform(0.75, 1))
