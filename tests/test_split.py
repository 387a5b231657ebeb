"""Which images are trained on, validated with and scored, as files come, go and move."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_isbi, write_voc
from PIL import Image

from core.config import PRESETS
from core.prediction.model_file import read_settings
from core.sources.choose import open_dataset
from core.sources.folder import FolderDataset
from core.support.errors import UserError
from core.training.split import read_split
from tests.test_folder import stems, write

SMALL = ("--class-names", "ground,leaf", "--size", 32, 32, "--filters", 2)


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
    with pytest.raises(UserError, match="has one image, and none is left to validate with"):
        FolderDataset(tmp_path, "train")


@pytest.fixture
def run(call, tmp_path):
    """A run on ten images; returns its data's folder and its split."""
    folder = write(tmp_path / "leaves", 10)
    assert call("train", "--data", folder, *SMALL, "--epochs", 1)[0] == 0
    return folder, json.loads(Path("runs/folder/split.json").read_text())


def scored(call, *args):
    status, out, err = call("evaluate", *args)
    assert status == 0, err
    return out.splitlines()[-1].split("protocol, ")[1].split(",")[0], err


def test_a_run_keeps_its_split(call, run, tmp_path):
    """Of evaluate.py and of resuming, with another image, less images, and another folder."""
    folder, split = run
    assert sorted(split) == ["train", "val"]
    assert sorted(split["train"] + split["val"]) == [f"leaf {number}" for number in range(10)]
    kept = len(split["val"])
    add(folder, "new")
    which, err = scored(call)
    assert which == f"{kept} images (folder" and "New, so left out: new." in err
    status, _, err = call("train", "--data", folder, *SMALL, "--epochs", 2)
    assert status == 0 and "New, so left out: new." in err
    assert f"{10 - kept} images to train on, {kept} to validate with" in err
    assert read_split(Path("runs/folder")) == split
    moved = folder.rename(tmp_path / "moved")
    (moved / "images/leaf 1.png").rename(moved / "leaf 1.png")
    for part, names in split.items():
        rest = set(names) - {"leaf 1"}
        which, err = scored(call, "--data", moved, "--split", part)
        assert which == f"{len(rest)} images (folder"
        assert ("Not there any more, so left out: leaf 1." in err) == ("leaf 1" in names)
    assert scored(call, "--data", moved, "--split", "all")[0] == "10 images (folder"
    command = ("train", "--data", moved, *SMALL, "--epochs", 3)
    status, out, err = call(*command)
    assert (status, out) == (2, "") and "moved: lacks leaf 1, 1 of" in err
    (moved / "leaf 1.png").rename(moved / "images/leaf 1.png")
    status, _, err = call(*command)
    assert status == 0 and "Resuming after epoch 2 of 3" in err
    assert read_settings("runs/folder/last.keras")[0].data == str(moved)


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


def test_a_folder_for_validation_in_another_place(call, tmp_path):
    """With images of the same names as those to train on."""
    write(tmp_path / "leaves", 5)
    write(tmp_path / "leaves/val", 3)
    assert call("train", "--data", tmp_path / "leaves", *SMALL, "--epochs", 1)[0] == 0
    split = read_split(Path("runs/folder"))
    assert split["val"] == ["val/leaf 0", "val/leaf 1", "val/leaf 2"]
    moved = (tmp_path / "leaves").rename(tmp_path / "moved")
    counts = [
        scored(call, "--data", moved, *args)[0].split()[0]
        for args in ((), ("--split", "val"), ("--split", "train"), ("--split", "all"))
    ]
    assert counts == ["3", "3", "5", "8"]
    assert scored(call, "--data", moved / "val")[0] == "3 images (folder"


def test_a_damaged_split(call, run):
    folder, _ = run
    for text in ("{", "[]", '{"train": []}'):
        Path("runs/folder/split.json").write_text(text)
        status, out, err = call("train", "--data", folder, *SMALL, "--epochs", 2)
        assert (status, out) == (2, "") and "split.json: cannot be read" in err


def test_a_model_of_voc_on_a_folder(call, tmp_path):
    """Its classes are those of the model."""
    voc = write_voc(tmp_path / "voc", classes=21, size=(32, 64))
    command = ("--data", voc, "--classes", "bird,cat", "--size", 32, 32, "--filters", 2)
    assert call("train", *command, "--epochs", 1)[0] == 0
    folder = tmp_path / "own"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    mask = np.repeat(np.uint8([0, 1, 2, 255]), 8)[None].repeat(32, 0)
    for number in range(3):
        Image.fromarray(mask * 60).save(folder / f"images/{number}.png")
        Image.fromarray(mask).save(folder / f"masks/{number}.png")
    status, out, err = call("evaluate", "--dataset", "folder", "--data", folder)
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


def test_settings_without_a_folder(call, run, tmp_path):
    """Of a data set of one's own that train() was given."""
    from core.prediction.model_file import load_model, save_model

    model, config, found = load_model(Path("runs/folder/best.keras"))
    config = dataclasses.replace(config, data=None)
    import keras

    save_model(keras.Model(model.inputs, model.layers[-2].output), "mine.keras", config, found)
    status, out, err = call("evaluate", "--weights", "mine.keras")
    assert (status, out) == (2, "") and "Name its folder with --data" in err
    assert scored(call, "--weights", "mine.keras", "--data", run[0])[0] == "10 images (folder"
