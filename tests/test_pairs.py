"""Which images and masks belong together."""

import os
import time
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
from core.support.pairs import SUFFIXES, images_in, match, pair, say
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


@pytest.mark.parametrize(
    ("images", "masks", "said"),
    [  # the braces stand for what an image and its mask share
        ("img_{001,002}.tif", "img_{001,002}_mask.png", "masks/ as NAME_mask.png."),
        ("{0001,0002}.jpg", "{0001,0002}_L.png", "masks/ as NAME_L.png."),
        ("{21,22}_training.tif", "{21,22}_manual1.gif",
         "images/ as NAME_training.tif, masks in masks/ as NAME_manual1.gif."),
        ("{x,y}.jpg", "{x,y}.jpg.png", "masks/ as NAME.jpg.png."),
        ("train_{001,002}.png", "mask_{001,002}.png",
         "images/ as train_NAME.png, masks in masks/ as mask_NAME.png."),
        ("image{12,13}.png", "label{12,13}.png", "as imageNAME.png, masks in masks/ as label"),
        ("{10,11,12}.png", "{10,11,12}_gt.png", "masks/ as NAME_gt.png."),
        ("s_{10,11}.png", "m_{10,11}.png", "as s_NAME.png, masks in masks/ as m_NAME.png."),
        ("slice_{10,11}_0.png", "{10,11}.png", "images/ as slice_NAME_0.png, masks in masks/ as"),
        ("{a,bra,zebra}.png", "{a,bra,zebra}_m.png", "masks/ as NAME_m.png."),
        ("{cat,dog}.png", "{cat,dog}Mask.png", "masks/ as NAMEMask.png."),
        ("ISIC_{0000001,0000013}.jpg", "ISIC_{0000001,0000013}_segmentation.png", "as NAME_seg"),
        ("{7}.png", "mask{7}.png", "masks/ as maskNAME.png."),
        ("pic{7}.png", "mask{7}.png", "images/ as picNAME.png, masks in masks/ as maskNAME.png."),
        ("{rome,oslo}/1.png", "{rome,oslo}/1_gt.png", "masks/ as NAME_gt.png."),
        ("{berlin/1,oslo/2}.png", "{1,2}_gt.png", "masks/ as NAME_gt.png."),
        ("{Abyssinian_1,Bengal_1}.jpg", "trimaps/{Abyssinian_1,Bengal_1}.png", "trimaps/NAME.png"),
        ("2019_{1,2}.png", "2019_{1,2}_m.png", "masks/ as NAME_m.png."),
        ("{\u00e4,\u00f6}.png", "{\u00e4,\u00f6}_maske.png", "masks/ as NAME_maske.png."),
    ],
)  # fmt: skip
def test_names_with_something_around_them(folder, images, masks, said):
    """Whatever order files come in: the right mask for each, and a sentence on the names."""

    def spread(pattern):
        start, end = pattern.split("{")[0], pattern.split("}")[1]
        return [f"{start}{key}{end}" for key in pattern[len(start) + 1 : -len(end) - 1].split(",")]

    infos, notes = pair(*folder(spread(images), spread(masks)))
    found = {(info["image_path"].name, info["mask_path"].name) for info in infos}
    wanted = zip(spread(images), spread(masks), strict=True)
    assert found == {(Path(image).name, Path(mask).name) for image, mask in wanted}
    assert said in notes and f"{len(infos)} images in images/" in notes


def test_equal_names_come_before_others(folder):
    infos, notes = pair(*folder(("1.png", "2.png"), ("1.png", "2.png", "1_mask.png", "2_mask.png")))
    assert matched(infos) == {"1": "1.png", "2": "2.png"}
    assert notes.startswith("Masks without an image, so left out: masks/1_mask.png")


def test_a_missing_mask_of_another_name_is_named(folder):
    """As is one of the same name; and masks that are no images' are left out."""
    images = [f"a_{number}.png" for number in range(6)]
    masks = [f"b_{number}.png" for number in range(1, 9)]
    infos, notes = pair(*folder(images, [*masks, "legend.png"]))
    assert [Path(info["mask_path"]).name for info in infos] == [f"b_{n}.png" for n in range(6)]
    assert not Path(infos[0]["mask_path"]).exists()
    assert "left out: masks/b_6.png, masks/b_7.png, masks/b_8.png and 1 more." in notes


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (("10.png", "11.png", "12.png"), ("0.png", "1.png", "2.png"), "Images are 10.png, 11.png"),
        (("s1_1.png", "s1_2.png"), ("s2_1.png", "s2_2.png"), "masks are s2_1.png, s2_2.png"),
        (("a.png", "b.png"), ("a_x.png", "a_y.png", "b_x.png", "b_y.png"),
         "several masks there, such as a_x, a_y"),
        (("my_img_a.png",), ("mask_img_b.png",), "no name there fits an image"),
        (("a.png", "b.png"), ("a_1.png", "a_2.png", "b_3.png"), "no name there fits an image"),
        (("x.jpg", "x.jpg.png"), ("x.jpg.tif",), "x.jpg.tif: is named like .*x.jpg and like .*png"),
    ],
)  # fmt: skip
def test_names_that_do_not_go_together(folder, images, masks, message):
    with pytest.raises(UserError, match=message):
        pair(*folder(images, masks))


def test_many_names_are_paired_quickly(folder):
    """The rule is found in some of them."""
    names = [f"run_2018_Task1_Training_{number:07}" for number in range(3000)]
    found = {f"{name}_in": [Path(f"{name}_in.png")] for name in names}
    masks = {f"{name}_segmentation_3": [Path(f"{name}_segmentation_3.png")] for name in names}
    before = time.monotonic()
    infos, rule, _ = match(found, masks, Path("images"), Path("masks"), [])
    assert time.monotonic() - before < 5 and rule == ("", "_in", "", "_segmentation_3")
    assert all(str(i["mask_path"]) == f"{i['name'][:-3]}_segmentation_3.png" for i in infos)


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


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        ("data/images", "data/masks", "1 images in images/, masks in masks/ as NAME.png."),
        ("data", "data/masks", "1 images, masks in masks/ as NAME.png."),
        ("a/images", "masks", "1 images in ../a/images/, masks in ../masks/ as NAME.png."),
    ],
)
def test_where_images_and_masks_are_is_said(images, masks, words):
    infos = [{"image_path": f"{images}/x.jpg", "mask_path": f"{masks}/x.png"}]
    assert say(infos, ("", "", "", ""), Path(images), Path(masks), Path("data")) == words


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path, monkeypatch, call):
    """Its images would be left out, or their masks be missing."""
    for part, value in (("images", 9), ("masks", 1)):
        for name in ("a", "b", "locked/c"):
            path = tmp_path / "own" / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(8, dtype=np.uint8) * value).save(path)
    real = os.scandir

    def scandir(path="."):
        if Path(path).name == "locked" and Path(path).parent.name == "masks":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    assert len(images_in(tmp_path / "own/masks")[0]) == 3
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="locked"):
        images_in(tmp_path / "own/masks")
    status, _, err = call("train", "--data", tmp_path / "own", "--check-data")
    assert status == 2 and err.count("\n") == 1 and "masks/locked" in err
