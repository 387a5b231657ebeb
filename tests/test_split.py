"""Which images are trained on, validated with and scored, as files come, go and move."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import save_grey_model, write_isbi, write_voc
from PIL import Image

from core.config import PRESETS, VOC_CLASSES
from core.prediction.model_file import read_settings
from core.sources.choose import open_dataset
from core.sources.folder import FolderDataset
from core.support.errors import UserError
from core.training.checkpoint import read_split, write_split
from tests.test_folder import stems, write

SMALL = ("--class-names", "ground,leaf", "--size", 32, 32, "--filters", 2, "--encoder", "none")


def add(folder, *names):
    """Adds copies of an image by these names."""
    for name in names:
        for part in ("images", "masks"):
            shutil.copy(folder / part / "leaf 0.png", folder / part / f"{name}.png")


def test_an_image_stays_in_its_part(tmp_path):
    write(tmp_path, 10)
    before = {split: set(stems(FolderDataset(tmp_path, split))) for split in ("train", "val")}
    add(tmp_path, *(f"new {number}" for number in range(20)))
    (tmp_path / "images/leaf 5.png").unlink()
    for split, names in before.items():
        after = set(stems(FolderDataset(tmp_path, split)))
        assert {name for name in after if "leaf" in name} == names - {"leaf 5"}
        assert any("new" in name for name in after)
    assert len(after) == pytest.approx(0.2 * 29, abs=4)


def test_the_share_is_that_asked_for():
    from core.sources.folder import _place

    for seed in range(3):
        places = np.array([_place(f"image {number}", seed) for number in range(2000)])
        assert np.mean(places < 0.2) == pytest.approx(0.2, abs=0.03)
        assert np.mean(places < 0.5) == pytest.approx(0.5, abs=0.04)


def test_both_parts_have_an_image(tmp_path):
    write(tmp_path, 2)
    for seed in range(8):
        for fraction in (0.01, 0.99):
            parts = [
                stems(FolderDataset(tmp_path, split, seed=seed, val_fraction=fraction))
                for split in ("train", "val")
            ]
            assert [len(part) for part in parts] == [1, 1] and parts[0] != parts[1]
    (tmp_path / "images/leaf 1.png").unlink()
    with pytest.raises(UserError, match="has one image .*none is left to validate with"):
        FolderDataset(tmp_path, "train")


def save_run(folder, **settings):
    """Writes what evaluate.py needs of a run on the images of a folder; returns its split."""
    Path("runs/folder").mkdir(parents=True)
    settings |= {"dataset": "folder", "data": str(folder)}
    config = save_grey_model("runs/folder/best.keras", **settings)
    lists = config.train_list, config.val_list
    parts = [FolderDataset(folder, split, 3, lists=lists) for split in ("train", "val")]
    write_split(Path("runs/folder"), *parts)
    return read_split(Path("runs/folder"))


@pytest.fixture
def run(tmp_path):
    """A run on ten images; returns its data's folder and its split."""
    folder = write(tmp_path / "leaves", 10)
    return folder, save_run(folder)


def scored(call, *args):
    status, out, err = call("evaluate", *args)
    assert status == 0, err
    return out.splitlines()[-1].split("protocol, ")[1].split(",")[0], err


def test_a_run_keeps_its_split(call, run, tmp_path):
    """With another image, one image less, and in another folder."""
    folder, split = run
    assert sorted(split) == ["train", "val"]
    assert sorted(split["train"] + split["val"]) == [f"leaf {number}" for number in range(10)]
    add(folder, "new")
    which, err = scored(call)
    assert which == f"{len(split['val'])} images (folder" and "New, so left out: new." in err
    moved = folder.rename(tmp_path / "moved")
    (moved / "images/leaf 1.png").unlink()
    for part, names in split.items():
        rest = set(names) - {"leaf 1"}
        which, err = scored(call, "--data", moved, "--split", part)
        assert which == f"{len(rest)} images (folder"
        assert ("Not there any more, so left out: leaf 1." in err) == ("leaf 1" in names)
    assert scored(call, "--data", moved, "--split", "all")[0] == "10 images (folder"


@pytest.mark.slow
def test_a_resumed_run_keeps_its_split(eagerly, call, tmp_path):
    """With another image, in another folder, but not with one image less."""
    folder = write(tmp_path / "leaves", 6)
    assert call("train", "--data", folder, *SMALL, "--epochs", 1)[0] == 0
    split = json.loads(Path("runs/folder/split.json").read_text())
    assert sorted(split["train"] + split["val"]) == [f"leaf {number}" for number in range(6)]
    add(folder, "new")
    moved = folder.rename(tmp_path / "moved")
    (moved / "images/leaf 1.png").rename(moved / "leaf 1.png")
    command = ("train", "--data", moved, *SMALL, "--epochs", 2)
    status, out, err = call(*command)
    assert (status, out) == (2, "") and "moved: lacks leaf 1, 1 of" in err
    (moved / "leaf 1.png").rename(moved / "images/leaf 1.png")
    status, _, err = call(*command)
    assert status == 0 and "Resuming after epoch 1 of 2" in err and "left out: new." in err
    train, val = (len(split[part]) for part in ("train", "val"))
    assert f"{train} images to train on, {val} to validate with" in err
    assert read_split(Path("runs/folder")) == split
    assert read_settings("runs/folder/last.keras")[0].data == str(moved)
    Path("runs/folder/split.json").write_text("{")
    status, out, err = call(*command[:-1], 3)
    assert (status, out) == (2, "") and "split.json: cannot be read" in err
    Path("runs/folder/split.json").unlink()  # as in a run of an older version
    status, out, err = call(*command[:-1], 3)
    assert (status, out) == (2, "") and "runs/folder: lacks its split.json" in err


def test_a_model_without_its_split(call, run):
    assert "it may know these images" not in scored(call)[1]
    Path("runs/folder/split.json").unlink()
    assert "no split.json beside it that fits: it may know these images" in scored(call)[1]


def test_images_that_are_gone(call, run):
    folder, split = run
    for name in split["val"]:
        (folder / f"images/{name}.png").unlink()
    status, out, err = call("evaluate")
    assert (status, out) == (2, "") and "none of the images that the run calls val is there" in err


def test_images_of_new_names(call, run):
    """Which of them were trained on is not known."""
    folder, _ = run
    for part in ("images", "masks"):
        for path in (folder / part).iterdir():
            path.rename(path.with_name(f"new {path.name}"))
    assert "that fits: it may know these images" in scored(call)[1]


def test_a_model_of_voc_with_lists_of_its_own(call, tmp_path):
    """It is scored on the list's images elsewhere, too, not on those of ImageSets/."""
    voc = write_voc(tmp_path / "voc")
    lists = {}
    for part, names in (("train", "01"), ("val", "2345")):
        lists[f"{part}_list"] = str(tmp_path / f"{part}.txt")
        Path(lists[f"{part}_list"]).write_text("".join(f"picture{n}\n" for n in names))
    Path("runs/voc").mkdir(parents=True)
    config = save_grey_model("runs/voc/best.keras", data=str(voc), **lists)
    write_split(Path("runs/voc"), *(open_dataset(config, part) for part in ("train", "val")))
    moved = voc.rename(tmp_path / "moved")
    assert scored(call, "--data", moved)[0] == "4 images (voc"


def test_names_that_two_images_share(tmp_path):
    voc = write_voc(tmp_path / "voc", 2)
    for part in ("JPEGImages", "SegmentationClass"):
        for folder in ("a", "b"):
            shutil.copytree(voc / part, voc / part / folder, ignore=lambda *_: ("a", "b"))
    (voc / "ImageSets/Segmentation/val.txt").write_text("a/picture0\nb/picture0\n")
    config = dataclasses.replace(PRESETS["voc"], data=str(voc))
    assert open_dataset(config, "val").names == ["a/picture0", "b/picture0"]
    write(tmp_path / "own", 2)
    write(tmp_path / "own/val", 2)
    for part in ("images", "masks"):
        (tmp_path / "own" / part / "val").mkdir()
        (tmp_path / "own" / part / "leaf 0.png").rename(tmp_path / "own" / part / "val/leaf 0.png")
    dataset = FolderDataset(tmp_path / "own")
    with pytest.raises(UserError, match="two images of the name val/leaf 0"):
        dataset.keep({"train": [], "val": []}, "val")


def test_lists_with_folders(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / "part", 2)
        for part in ("images", "masks"):
            (tmp_path / "own" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "part" / part).rename(tmp_path / "own" / part / folder)
    (tmp_path / "val.txt").write_text("images/a/leaf 0.png\n./b/leaf 1\n")
    lists = (None, tmp_path / "val.txt")
    assert FolderDataset(tmp_path / "own", "val", lists=lists).names == ["a/leaf 0", "b/leaf 1"]
    for text, message in (("leaf 0", "may be a/leaf 0, b/leaf 0"), (".", "which images/ lacks")):
        (tmp_path / "val.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            FolderDataset(tmp_path / "own", "val", lists=lists)


def test_other_images_are_scored_as_a_whole(call, run, tmp_path):
    others = write(tmp_path / "others", 3)
    for number in range(3):
        for part in ("images", "masks"):
            (others / part / f"leaf {number}.png").rename(others / part / f"rose {number}.png")
    assert scored(call, "--data", others)[0] == "3 images (folder"
    train = int(scored(call, "--data", others, "--split", "train")[0].split()[0])
    val = int(scored(call, "--data", others, "--split", "val")[0].split()[0])
    assert train and val and train + val == 3


def test_lists_that_are_named_are_obeyed(call, run, tmp_path):
    folder, split = run
    (tmp_path / "some.txt").write_text("leaf 0\nleaf 1\nleaf 2\n")
    listed = ("--train-list", tmp_path / "some.txt")
    moved = shutil.copytree(folder, tmp_path / "copy")
    for data in ((), ("--data", moved)):
        assert scored(call, *data, *listed, "--split", "train")[0] == "3 images (folder"
        assert scored(call, *data, *listed)[0] == "7 images (folder"
        assert scored(call, *data, *listed, "--split", "all")[0] == "10 images (folder"


def test_other_flags_are_obeyed(call, run, tmp_path):
    folder, _ = run
    most, _ = scored(call, "--val-fraction", 0.9)
    assert int(most.split()[0]) > 6


def test_a_run_with_lists_keeps_its_split_without_them(call, tmp_path):
    folder = write(tmp_path / "leaves", 6)
    (tmp_path / "val.txt").write_text("leaf 3\nleaf 4\n")
    save_run(folder, val_list=str(tmp_path / "val.txt"))
    (tmp_path / "val.txt").unlink()
    assert scored(call, "--data", folder.rename(tmp_path / "moved"))[0] == "2 images (folder"


def test_a_folder_for_validation_in_another_place(call, tmp_path):
    """With images of the same names as those to train on."""
    write(tmp_path / "leaves", 5)
    write(tmp_path / "leaves/val", 3)
    split = save_run(tmp_path / "leaves")
    assert split["val"] == ["val/leaf 0", "val/leaf 1", "val/leaf 2"]
    moved = (tmp_path / "leaves").rename(tmp_path / "moved")
    counts = [
        scored(call, "--data", moved, *args)[0].split()[0]
        for args in ((), ("--split", "val"), ("--split", "train"), ("--split", "all"))
    ]
    assert counts == ["3", "3", "5", "8"]
    assert scored(call, "--data", moved / "val")[0] == "3 images (folder"


@pytest.mark.parametrize("text", ["{", "[]", '{"train": []}'])
def test_a_damaged_split(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(UserError, match="split.json: cannot be read"):
        read_split(tmp_path)


def test_a_model_of_voc_on_a_folder(call, tmp_path):
    """Its classes are those of the model."""
    settings = {"class_names": VOC_CLASSES, "classes": ("bird", "cat"), "data": str(tmp_path)}
    save_grey_model("voc.keras", **settings)
    folder = tmp_path / "own"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    mask = np.repeat(np.uint8([0, 1, 2, 255]), 8)[None].repeat(32, 0)
    for number in range(3):
        Image.fromarray(mask * 60).save(folder / f"images/{number}.png")
        Image.fromarray(mask).save(folder / f"masks/{number}.png")
    status, out, err = call(
        "evaluate", "--weights", "voc.keras", "--dataset", "folder", "--data", folder
    )
    assert status == 0, err
    assert "3 images (folder, all)" in out and "bird " in out and "cat " in out


def test_all_of_voc_and_isbi(tmp_path):
    voc = dataclasses.replace(PRESETS["voc"], data=str(write_voc(tmp_path / "voc")))
    isbi = dataclasses.replace(PRESETS["isbi"], data=str(write_isbi(tmp_path / "isbi")))
    for config, counts in ((voc, [4, 2, 6]), (isbi, [4, 1, 5])):
        opened = [open_dataset(config, split) for split in ("train", "val", None)]
        assert [len(dataset.image_info) for dataset in opened] == counts
        known = {"train": opened[1].names, "val": opened[0].names}  # the other way round
        for part, names in known.items():
            assert open_dataset(config, part, known=known).names == names


def test_settings_without_a_folder(call, run):
    """Of a data set of one's own that train() was given."""
    save_grey_model("mine.keras", dataset="folder", data=None)
    status, out, err = call("evaluate", "--weights", "mine.keras")
    assert (status, out) == (2, "") and "Name its folder with --data" in err
    assert scored(call, "--weights", "mine.keras", "--data", run[0])[0] == "10 images (folder"
