"""The models in weights/, as they ship."""

import dataclasses
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from cells import draw_cells

from core.config import ISBI_CLASSES, VOC_CLASSES
from core.evaluation.score import score
from core.evaluation.segments import best_scores
from core.imaging.intensity import read_image
from core.prediction.model_file import SHIPPED, load_model
from core.prediction.predict import predict
from core.sources.choose import open_dataset
from core.sources.sample import DOCS

ISBI = SHIPPED.with_name("isbi.keras")
VESSELS = SHIPPED.with_name("vessels.keras")
DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = ("background", "cat", "cow", "dog", "horse", "person", "sheep")


@pytest.fixture(scope="module")
def animals():
    return load_model(SHIPPED)[:2]


@pytest.fixture(scope="module")
def membranes():
    return load_model(ISBI)[:2]


@pytest.fixture(scope="module")
def vessels():
    return load_model(VESSELS)[:2]


@pytest.mark.parametrize(
    ("path", "channels", "classes"), [(SHIPPED, 3, 7), (VESSELS, 3, 2), (ISBI, 1, 2)]
)
def test_keras_alone_loads_it(path, channels, classes):
    model = keras.saving.load_model(path)
    assert model.input_shape == (None, None, None, channels)
    assert model.output_shape == (None, None, None, classes)
    assert not model.compiled


def test_they_are_small_and_know_no_path_of_ours(animals, vessels, membranes):
    assert sum(path.stat().st_size for path in SHIPPED.parent.iterdir()) <= 40e6
    for _, config in (animals, vessels, membranes):
        assert not Path(config.data or "").is_absolute()
        assert (config.train_list, config.val_list) == (None, None)


def test_a_cat_is_found(animals):
    """In the photograph that `predict.py` takes where none is named."""
    model, config = animals
    assert config.names == NAMES and set(NAMES) <= set(VOC_CLASSES)
    (answer,) = predict(model, [read_image(DOCS / "cat.jpg")], config)
    shares = np.bincount(answer.class_map().ravel(), minlength=7) / answer.class_map().size
    assert shares[NAMES.index("cat")] > 0.25 and shares[2:].sum() < 0.1


def test_drawn_cells_are_told_apart(membranes):
    """A network that has seen real slices only."""
    model, config = membranes
    assert config.names == ISBI_CLASSES
    image, mask = draw_cells(np.random.default_rng(7))
    (answer,) = predict(model, [image], config, tile=True)
    assert (answer.class_map() == mask).mean() > 0.8


def test_vessels_are_the_dark_lines(vessels):
    """In a photograph from elsewhere: vessels are darker than what is next to them."""
    model, config = vessels
    assert config.names == ("background", "vessel")
    image = read_image(DOCS / "vessels-retina.jpg")
    (answer,) = predict(model, [image], config, tile=True)
    mask = answer.class_map()
    around = (cv2.dilate(mask, np.ones((9, 9))) > 0) & (mask == 0)
    green = image[..., 1].astype(float)
    assert 0.05 < (mask == 1).sum() / (image.max(-1) > 30).sum() < 0.2
    assert green[mask == 1].mean() < green[around].mean() - 10


@pytest.mark.parametrize(
    ("path", "name", "equal"),
    [
        (SHIPPED, "cat.jpg", 0.998),
        (VESSELS, "vessels-retina.jpg", 0.998),
        (ISBI, "cells.png", 0.999),
    ],
)
def test_masks_hardly_change_in_bfloat16(path, name, equal):
    masks = []
    for policy in ("float32", "mixed_bfloat16"):
        model, config, _ = load_model(path, policy=policy)
        image = read_image(DOCS / name, config.channels)
        (answer,) = predict(model, [image], config, batch_size=1)
        masks.append(answer.class_map())
    assert (masks[0] == masks[1]).mean() > equal


def validation(config, name):
    """The pictures of the real data for validation, none of which was learnt from."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: real pictures to score on")
    return open_dataset(dataclasses.replace(config, data=str(folder)), "val")


@pytest.mark.slow
def test_real_animals(animals):
    """All of them: a rare class occurs in few, and the figures are those of docs/results.md."""
    model, config = animals
    dataset = validation(config, "voc-animals")
    matrix = score(model, dataset, config, "voc").matrix
    assert matrix.mean_iou == pytest.approx(0.7006, abs=0.003)
    assert matrix.pixel_accuracy == pytest.approx(0.9329, abs=0.002)
    assert matrix.iou.min() >= 0.535  # that of persons, 0.5412


@pytest.mark.slow
def test_real_vessels(vessels):
    """The four images that the seed keeps for validation."""
    model, config = vessels
    dataset = validation(config, "drive")
    assert dataset.names == [f"{number}_training" for number in (25, 35, 37, 39)]
    matrix = score(model, dataset, config, "voc", tile=True).matrix
    assert matrix.dice[1] == pytest.approx(0.8197, abs=0.001)
    assert matrix.iou[1] == pytest.approx(0.6946, abs=0.001)


@pytest.mark.slow
def test_real_membranes(membranes):
    """Two of the five slices of the published figures."""
    model, config = membranes
    dataset = validation(config, "isbi/train")
    dataset.image_info = dataset.image_info[-2:]
    found = score(model, dataset, config, "voc", tile=True)
    scores = {name: value for name, (value, _) in best_scores(found.segments).items()}
    assert found.matrix.pixel_accuracy == pytest.approx(0.9281, abs=0.001)
    assert scores["v_rand"] == pytest.approx(0.9897, abs=0.003)
    assert scores["v_info"] == pytest.approx(0.9883, abs=0.002)
