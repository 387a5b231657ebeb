"""Which images and masks belong together."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import save_grey_model, write_isbi, write_voc
from PIL import Image

from core.ISBIdataset import ISBIDataset
from core.prediction.inputs import collect
from core.sources.folder import FolderDataset
from core.support.errors import UserError
from core.support.pairs import SUFFIXES, images_in, pair
from core.VOCdataset import VOCDataset


@pytest.fixture
def folder(tmp_path):
    """Returns a function that makes files in images/ and masks/."""

    def make(images=(), masks=()):
        for part, names in (("images", images), ("masks", masks)):
            (tmp_path / part).mkdir(exist_ok=True)
            for name in names:
                path = tmp_path / part / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
        return tmp_path / "images", tmp_path / "masks"

    return make


def matched(infos):
    return {info["name"]: Path(info["mask_path"]).name for info in infos}


def test_every_suffix_can_be_read(tmp_path):
    """By Pillow, as the file of this suffix that it writes itself."""
    known = Image.registered_extensions()
    for suffix in SUFFIXES:
        assert known[suffix] in Image.OPEN, suffix


def test_suffixes_and_subfolders(folder):
    images = ("a.jfif", "b.PGM", "berlin/c.png", "rome/d.JPG", ".hidden.png", "e.tar.png")
    infos, left_out = pair(*folder(images, ("a.png", "b.png", "c.png", "rome/d.png", "e.tar.png")))
    assert matched(infos) == {
        "a": "a.png", "b": "b.png", "e.tar": "e.tar.png", "berlin/c": "c.png", "rome/d": "d.png"
    }  # fmt: skip
    assert left_out == ""


def test_one_mask_serves_one_image(folder):
    """Of two images of a name in two folders, masks/x.png is neither's."""
    infos, left_out = pair(*folder(("one/x.png", "two/x.png"), ("x.png",)))
    assert not any(Path(info["mask_path"]).exists() for info in infos)
    assert left_out == "Masks without an image, so left out: masks/x.png."


def test_what_is_left_out_is_named(folder):
    masks = ("a.png", *(f"m{number}.png" for number in range(5)), "desktop.ini")
    _, left_out = pair(*folder(("a.png", "Thumbs.db", ".DS_Store"), masks))
    assert left_out == (
        "No images, so left out: images/Thumbs.db, masks/desktop.ini. Masks without an image, so "
        "left out: masks/m0.png, masks/m1.png, masks/m2.png and 2 more."
    )


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ((), ("a.png",), "images: this folder has no images"),
        (("a.png", "a.jpg"), ("a.png",), "a.jpg and .*a.png: two files of one name"),
        (("a.png",), ("a.png", "a.bmp"), "a.bmp and .*a.png: two files of one name"),
    ],
)
def test_what_cannot_be_paired(folder, images, masks, message):
    with pytest.raises(UserError, match=message):
        pair(*folder(images, masks))


def test_two_ways_to_write_a_letter(folder, tmp_path):
    """As macOS and as Linux write ä: one letter, or a and two dots."""
    short, long = (unicodedata.normalize(form, "Bär") for form in ("NFC", "NFD"))
    assert short != long
    infos, left_out = pair(*folder((f"{long}.png",), (f"{short}.png",)))
    assert matched(infos) == {short: f"{short}.png"} and left_out == ""
    voc = write_voc(tmp_path / "voc", 2)
    for path in (voc / "JPEGImages/picture0.jpg", voc / "SegmentationClass/picture0.png"):
        path.rename(path.with_stem(long))
    (voc / "ImageSets/Segmentation/val.txt").write_text(short, encoding="utf-8")
    assert VOCDataset(voc / "ImageSets/Segmentation/val.txt").load(0)[0].shape == (40, 48, 3)
    for part in ("images", "masks"):
        (tmp_path / "own" / part).mkdir(parents=True)
        for name in (long, "other"):
            value = np.full((8, 8), part == "masks", np.uint8)
            Image.fromarray(value).save(tmp_path / "own" / part / f"{name}.png")
    (tmp_path / "list.txt").write_text(f"{short}.png", encoding="utf-8")
    listed = FolderDataset(tmp_path / "own", "val", lists=(None, tmp_path / "list.txt"))
    assert listed.names == [short]


def test_all_kinds_of_images_in_voc_s_layout(tmp_path):
    voc = write_voc(tmp_path / "voc", 3)
    images, masks = voc / "JPEGImages", voc / "SegmentationClass"
    (images / "picture0.jpg").rename(images / "picture0.JPEG")
    Image.open(images / "picture1.jpg").save(images / "picture1.png")
    (masks / "picture1.png").rename(masks / "picture1.PNG")
    dataset = VOCDataset(voc / "ImageSets/Segmentation/val.txt")
    found = [info["image_path"].name for info in dataset.image_info]
    assert found == ["picture0.JPEG", "picture1.jpg"]  # .jpg as ever where there are two
    (images / "picture1.jpg").unlink()
    dataset.set_image_info()
    assert dataset.image_info[1]["image_path"].name == "picture1.png"
    assert len(dataset[0][0]) == 2
    (images / "picture1.bmp").write_bytes(b"")
    with pytest.raises(UserError, match="two files of one name"):
        dataset.set_image_info()


def test_files_of_other_programs_among_slices(tmp_path):
    isbi = write_isbi(tmp_path / "isbi", 3)
    (isbi / "image/Thumbs.db").write_text("x")
    (isbi / "label/9.png").rename(isbi / "label/9.tif")
    Image.open(isbi / "label/8.png").save(isbi / "label/7.png")
    dataset = ISBIDataset(isbi)
    assert dataset.names == ["8", "9", "10"]
    assert dataset.image_info[1]["mask_path"].name == "9.tif"
    assert dataset.stated == (
        "No images, so left out: image/Thumbs.db. Masks without an image, so left out: label/7.png."
    )


def test_predict_takes_the_same_files(tmp_path):
    names = {f"{number}{suffix}" for number, suffix in enumerate(SUFFIXES)}
    for name in (*names, "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    left_out = []
    found = collect([tmp_path], tmp_path / "out", left_out)
    assert {source.path.name for source in found} == names
    assert [path.name for path in left_out] == ["notes.txt"]
    assert {path.name for paths in images_in(tmp_path)[0].values() for path in paths} == names


def test_predict_names_what_it_leaves_out(call, tmp_path):
    save_grey_model("model.keras")
    (tmp_path / "in").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "in/a.png")
    (tmp_path / "in/notes.txt").touch()
    status, out, err = call("predict", "--weights", "model.keras", tmp_path / "in")
    assert status == 0 and "a.png: " in out
    assert f"No images, so left out: {tmp_path / 'in/notes.txt'}." in err
