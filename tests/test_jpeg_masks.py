"""Masks in JPEG files: black and white is told from all else."""

import cv2
import numpy as np
import pytest
from PIL import Image

from core.config import Config
from core.sources.folder import FolderDataset
from core.sources.own.palettes import class_rows
from core.support.errors import UserError

LEVELS = [0, 255]


@pytest.fixture
def own(tmp_path, rng):
    """Returns a function that writes images and masks of discs; it returns the discs, 0 and 1."""

    def write(levels, suffix="jpg", mode="L", count=6):
        discs = []
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(count):
            disc = np.zeros((96, 128), np.uint8)
            place = int(rng.integers(30, 98)), int(rng.integers(30, 66))
            cv2.circle(disc, place, int(rng.integers(12, 24)), 1, -1)
            if len(levels) > 2:
                cv2.circle(disc, place, 8, 2, -1)
            mask = Image.fromarray(np.array(levels, np.uint8)[disc]).convert(mode)
            mask.save(tmp_path / f"masks/{number}.{suffix}")
            Image.new("RGB", (128, 96)).save(tmp_path / f"images/{number}.png")
            discs.append(disc)
        return discs

    return write


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_black_and_white(own, tmp_path, mode):
    discs = own(LEVELS, mode=mode)
    data = FolderDataset(tmp_path, num_classes=0)
    assert data.class_names == ("background", "class1")
    said = "Masks are read as black-and-white. They are JPEG files: values below 128 are taken"
    assert said in data.notes
    for number, disc in enumerate(discs):
        wrong = data.load(number)[1] != disc
        assert (
            wrong.mean() < 0.005 and not (wrong & (cv2.blur(disc * 9.0, (5, 5)) == 9 * disc)).any()
        )


def test_named_by_a_table(own, tmp_path):
    """Also by the one that the run's folder gets."""
    own(LEVELS)
    found = FolderDataset(tmp_path, num_classes=0)
    rows = class_rows(found.class_names, found.reading, found.palette)
    assert [row[:2] for row in rows] == [("name", "value"), ("background", 0), ("class1", 255)]
    text = "\n".join(",".join(map(str, row)) for row in rows).replace("class1", "polyp")
    (tmp_path / "classes.csv").write_text(text)
    named = FolderDataset(tmp_path, num_classes=0)
    assert named.class_names == ("background", "polyp") and named.reading == found.reading
    assert (named.load(0)[1] == found.load(0)[1]).all()
    (tmp_path / "classes.csv").write_text("polyp,0\nground,255\n")  # 0 is not the background
    assert FolderDataset(tmp_path, num_classes=0).class_names == ("polyp", "ground")


def test_a_model_of_jpeg_masks_is_scored_on_others(own, tmp_path):
    """As black and white as those of the training: JPEG or PNG, or all black."""
    own(LEVELS)
    reading = FolderDataset(tmp_path, num_classes=0).reading
    for levels, suffix in ((LEVELS, "png"), ([0, 0], "jpg")):
        for path in (tmp_path / "masks").iterdir():
            path.unlink()
        discs = own(levels, suffix)
        data = FolderDataset(tmp_path, reading=reading)
        wanted = discs[0] * (levels[1] > 0)
        assert (data.load(0)[1] == wanted).all()


@pytest.mark.parametrize("levels", [[0, 255, 128], [0, 40, 255], [0, 60, 120]])
def test_other_levels_are_refused(own, tmp_path, levels):
    own(levels)
    for num_classes in (0, 2):
        with pytest.raises(UserError, match="JPEG file does not keep ids"):
            FolderDataset(tmp_path, num_classes=num_classes).check()


def test_ids_are_no_black_and_white(own, tmp_path):
    """Few of them pass, and the message says what JPEG does to them."""
    own([0, 1, 255])
    with pytest.raises(UserError, match="JPEG file does not keep ids"):
        FolderDataset(tmp_path, num_classes=0)
    own([0, 1, 2])
    data = FolderDataset(tmp_path, num_classes=0)
    assert data.reading == "ids" and "JPEG file does not keep ids" in data.notes


def test_the_settings_keep_the_reading():
    names = Config().names[:2]
    assert class_rows(names, "JPEG-black-and-white", ()) == class_rows(names, "black-and-white", ())
