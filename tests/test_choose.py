"""From settings to data sets; how a data set of one's own is added."""

import dataclasses
import sys

import numpy as np
import pytest

import core.sources
from core.config import PRESETS, Config
from core.imaging import augment
from core.sources.choose import open_both, open_dataset
from core.support import devices
from core.support.errors import UserError
from tests.test_folder import write

# The whole file core/sources/toys.py.
TOYS = """
from pathlib import Path

from core.dataset import Dataset


class Toys(Dataset):
    def __init__(self, folder, split, batch_size=4, aug=False, strict=True, **kwargs):
        super().__init__(**kwargs)
        self.batch_size, self.aug = batch_size, aug
        self.image_info = [
            {"image_path": path, "mask_path": Path(folder) / "masks" / path.name}
            for number, path in enumerate(sorted((Path(folder) / "images").iterdir()))
            if (number < 2) == (split == "val")
        ]
        if strict:
            self.check_files()


def open_part(config, split, reading, **options):
    return Toys(config.data, split, **options)
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Adds the data set toys: a file in core/sources and an entry in the presets."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/toys.py").write_text(TOYS)
    monkeypatch.setattr(
        core.sources, "__path__", [*core.sources.__path__, str(tmp_path / "sources")]
    )
    settings = {"class_names": ("floor", "toy"), "size": (32, 32), "filters": 2, "epochs": 1}
    preset = dataclasses.replace(PRESETS["folder"], dataset="toys", **settings)
    monkeypatch.setitem(PRESETS, "toys", preset)
    yield dataclasses.replace(preset, data=str(write(tmp_path / "data", 6)))
    sys.modules.pop("core.sources.toys", None)


def test_a_new_data_set_is_one_file_and_one_line(toys):
    train, val = open_both(toys)
    assert type(train).__name__ == "Toys" and train.aug and not val.aug
    assert [len(part.image_info) for part in (train, val)] == [4, 2]
    images, masks = train[0]
    assert images.shape == (4, 32, 32, 3) and set(masks.ravel()) <= {0, 1, 255}


@pytest.mark.parametrize(
    ("backend", "count", "batches"),
    [("tensorflow", 1, [3, 1]), ("tensorflow", 2, [4, 2]), ("jax", 1, [3, 3]), ("jax", 2, [4, 4])],
)
def test_training_batches_of_one_size(toys, monkeypatch, backend, count, batches):
    """4 images to train on and 2 to validate with; JAX would compile another step for the rest."""
    monkeypatch.setattr(devices, "BACKEND", backend)
    monkeypatch.setattr(devices, "all_devices", lambda: ["cpu"] * count)
    train, val = open_both(dataclasses.replace(toys, batch_size=3))
    assert [len(train[i][0]) for i in range(len(train))] == batches
    assert [len(val[i][0]) for i in range(len(val))] == [2]
    images, masks = train[1]
    assert (masks[1:] == 255).all() and (masks[0] != 255).any()  # what is added counts for nothing


@pytest.mark.parametrize("dataset", ["voc", "folder", "isbi", "sample"])
def test_the_reference_s_recipe(monkeypatch, voc, isbi, tmp_path, dataset):
    """It brings its augmentation where the preset's is that for photographs, in training only."""
    monkeypatch.setattr(augment, "reference", lambda image, mask, *_: (image // 2, mask))
    folders = {"voc": voc, "isbi": isbi, "folder": write(tmp_path / "own", 5)}
    settings = {"architecture": "reference", "data": folders.get(dataset) and str(folders[dataset])}
    if dataset in ("voc", "folder"):
        settings["class_names"] = ("background", "a", "b")
    train, val = open_both(dataclasses.replace(PRESETS[dataset], **settings))
    image, mask = np.full((8, 8, train.channels), 100, np.uint8), np.zeros((8, 8), np.uint8)
    halved = (train.augment(image, mask, np.random.default_rng(0))[0] == 50).all()
    assert halved == (dataset in ("voc", "folder"))
    assert train.aug and not val.aug


@pytest.mark.slow
def test_the_scripts_take_a_new_data_set(eagerly, toys, call):
    status, out, err = call("train", "--dataset", "toys", "--data", toys.data)
    assert status == 0 and "runs/toys/best.keras" in out, err
    assert call("evaluate")[0] == 0
    assert "toys" in call("train", "--help")[1]


def test_unknown_data_sets_are_refused():
    """A model may come from somebody who has added a data set."""
    with pytest.raises(UserError, match="--dataset cells: choose one of voc, isbi, folder, sample"):
        open_dataset(Config(dataset="cells"), "val")


@pytest.mark.parametrize("name", ["voc", "isbi", "folder"])
def test_a_folder_that_does_not_exist(name):
    with pytest.raises(UserError, match="nowhere: there is no such folder.*--data"):
        open_dataset(dataclasses.replace(PRESETS[name], data="nowhere"), "val")
