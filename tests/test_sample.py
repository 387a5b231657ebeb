import dataclasses

import numpy as np
import pytest
from cells import draw_cells
from PIL import Image
from scipy.ndimage import binary_dilation, label

from core.config import PRESETS, SAMPLE_CLASSES
from core.evaluation.metrics import ConfusionMatrix
from core.sources import sample
from core.support.errors import UserError


@pytest.fixture(scope="module")
def images():
    return {
        split: [
            sample.draw_image(np.random.default_rng((sample.SEED, part, i))) for i in range(count)
        ]
        for part, (split, count) in enumerate(sample.IMAGES.items())
    }


def test_size_and_classes(images):
    assert {split: len(pairs) for split, pairs in images.items()} == {"train": 240, "val": 60}
    assert len(SAMPLE_CLASSES) >= 5 and SAMPLE_CLASSES[0] == "background"
    for pairs in images.values():
        ids = np.unique([mask for _, mask in pairs])
        assert ids.tolist() == [*range(len(SAMPLE_CLASSES)), 255]
        for image, mask in pairs:
            assert image.shape == (128, 128, 3) and mask.shape == (128, 128)
            assert image.dtype == mask.dtype == np.uint8


def test_objects_have_a_thin_border_of_255(images):
    for _, mask in images["val"]:
        for class_id in range(1, len(SAMPLE_CLASSES)):
            around = binary_dilation(mask == class_id) & (mask != class_id)
            assert set(np.unique(mask[around])) <= {255}
        assert 0 < (mask == 255).mean() < 0.25


def test_colour_alone_does_not_solve_it(images):
    """Nearest class-mean colour, fitted on the training, scored on the validation images."""
    colours = np.stack([image for image, _ in images["train"]])
    ids = np.stack([mask for _, mask in images["train"]])
    means = np.stack([colours[ids == class_id].mean(0) for class_id in range(len(SAMPLE_CLASSES))])
    matrix = ConfusionMatrix(len(SAMPLE_CLASSES))
    for image, mask in images["val"]:
        distance = np.linalg.norm(image[..., None, :] - means, axis=-1)
        matrix.add(mask, distance.argmin(-1))
    assert matrix.mean_iou < 0.35


def test_voc_layout_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "IMAGES", {"train": 3, "val": 2})
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    folder = sample.sample_folder()
    assert sorted(path.name for path in folder.iterdir()) == [
        "ImageSets",
        "JPEGImages",
        "SegmentationClass",
    ]
    assert (folder / "ImageSets/Segmentation/val.txt").read_text() == "val_000\nval_001\n"
    mask = Image.open(folder / "SegmentationClass/val_001.png")
    assert mask.mode == "P" and mask.getpalette()[3:6] == [128, 0, 0]
    drawn = sample.draw_image(np.random.default_rng((sample.SEED, 1, 1)))
    np.testing.assert_array_equal(np.asarray(mask), drawn[1])
    image = np.asarray(Image.open(folder / "JPEGImages/val_001.jpg")).astype(int)
    assert np.abs(image - drawn[0]).mean() < 8

    before = (folder / "SegmentationClass/val_001.png").stat().st_mtime_ns
    assert sample.sample_folder() == folder
    assert (folder / "SegmentationClass/val_001.png").stat().st_mtime_ns == before


def test_nothing_half_drawn_is_left(tmp_path, monkeypatch):
    def interrupted(rng):
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "draw_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample.write_sample(tmp_path / "sample")
    assert list(tmp_path.iterdir()) == []


def test_membranes_separate_cells(rng):
    image, mask = draw_cells(rng, 256, cells=30)
    assert image.shape == (256, 256, 1) and image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1} and 0.6 < mask.mean() < 0.9
    assert image[mask == 0].mean() + 40 < image[mask == 1].mean()
    cells = label(mask)[1]
    assert 15 <= cells <= 60


def test_an_image_of_known_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    cells = sample.known_image(PRESETS["isbi"])
    assert Image.open(cells).size == (512, 512) and Image.open(cells).mode == "L"
    assert sample.known_image(PRESETS["sample"]).name == "val_000.jpg"
    assert Image.open(sample.known_image(PRESETS["voc"])).mode == "RGB"
    horses = dataclasses.replace(PRESETS["voc"], classes=("horse",))
    with pytest.raises(UserError, match="Name an image .*: the model knows background, horse"):
        sample.known_image(horses)
