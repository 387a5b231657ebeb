"""Large images are shrunk once and kept, and nothing but the time depends on it."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_voc
from PIL import Image
from test_checkpoint import assert_equal

from core.config import PRESETS
from core.dataset import Dataset
from core.imaging.letterbox import letterbox, letterbox_mask, shrink
from core.sources import cache as stores
from core.sources.cache import Store, total_memory
from core.sources.choose import open_both
from core.training import run_folder
from core.VOCdataset import VOCDataset

GB = 10**9


def opened(voc, store=None, split="train", **options):
    options = {"batch_size": 3, "target_size": (20, 24), "num_classes": 3, **options}
    return VOCDataset(voc / f"ImageSets/Segmentation/{split}.txt", store=store, **options)


def everything(data, epochs=(0, 1)):
    parts = []
    for epoch in epochs:
        data.begin_epoch(epoch)
        parts += [part for batch in range(len(data)) for part in data[batch]]
    return [part.tobytes() for part in parts]


PAIR = 20 * 24 * 4  # bytes of the shrunk image and its mask: 40x48 on a canvas of 20x24


@pytest.mark.parametrize(
    ("memory", "disk"),
    [(GB, 0), (0, GB), (2 * PAIR, 0), (PAIR, PAIR), (0, 0)],
    ids=["memory", "disk", "half in memory", "one each", "no room"],
)
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("aug", [True, False])
def test_batches_are_those_without_a_store(voc, tmp_path, memory, disk, checked, aug):
    wanted = everything(opened(voc, aug=aug))
    data = opened(voc, Store(memory, disk, tmp_path), aug=aug, workers=3)
    if checked:
        np.testing.assert_array_equal(data.check(), opened(voc).check())
    assert everything(data) == wanted


def test_validation_sees_what_the_letterbox_makes_of_the_file(voc):
    """Also of an image whose sides do not divide, and whose mask has ties between pixels."""
    write_voc(voc, size=(67, 91))
    data = opened(voc, Store(GB), split="val")
    for _ in range(2):
        images, masks = data[0]
        for index in range(2):
            image, mask = data.load(index)
            np.testing.assert_array_equal(images[index], letterbox(image, (20, 24)))
            np.testing.assert_array_equal(masks[index], letterbox_mask(mask, (20, 24)))


@pytest.mark.parametrize("store", [None, Store(GB)], ids=["read each time", "kept"])
def test_augmentation_gets_the_shrunk_image(voc, store):
    seen = []
    data = opened(voc, store, aug=True)
    data.augment = lambda image, mask, rng: (seen.append((image, mask)), (image, mask))[1]
    data[0]
    image, mask = data.load(0)
    for found in seen:
        assert found[0].shape == (20, 24, 3) and found[1].shape == (20, 24)
    number = data.order().tolist().index(0)
    if number < 3:
        for a, b in zip(seen[number], shrink(image, mask, (20, 24)), strict=True):
            np.testing.assert_array_equal(a, b)


def reads(data):
    """Counts what is read from now on."""
    count, load = [], data.load
    data.load = lambda index: (count.append(index), load(index))[1]
    return count


def test_files_are_read_once(voc, tmp_path):
    """In the check; without one, as after an index knew them, when they are first needed."""
    for checked in (True, False):
        for place in (Store(GB), Store(0, GB, tmp_path)):
            data = opened(voc, place, aug=True)
            count = reads(data)
            if checked:
                data.check()
            everything(data)
            assert sorted(count) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((40, 48), {"target_size": (25, 30)}),  # 1.6 times as large
        ((40, 48), {"target_size": (40, 48)}),
        ((40, 48), {"crop": (25, 30)}),
        ((40, 48), {"resize": False}),  # without crops each epoch sees an image once, as it is
    ],
)
def test_what_is_not_kept(voc, size, options):
    store = Store(GB)
    data = opened(voc, store, aug=True, **options)
    count = reads(data)
    everything(data)
    assert len(count) == 8 and store.memory == GB
    shapes = []
    data.augment = lambda image, mask, rng: (shapes.append(mask.shape), (image, mask))[1]
    data[0]
    assert shapes == 3 * [size]


@pytest.mark.parametrize("aug", [True, False])
@pytest.mark.parametrize(("room", "count"), [(GB, 0), (2 * 40 * 48 * 4 + 5, 4), (0, 8)])
def test_images_that_crops_are_taken_of_are_kept_as_they_are(voc, tmp_path, room, count, aug):
    """They are 2.5 times as large as a crop. What finds no room in memory is read each time."""
    options = {"crop": (16, 16), "repeats": 2, "aug": aug}
    wanted = everything(opened(voc, **options))
    store = Store(room, GB, tmp_path)
    data = opened(voc, store, workers=2, **options)
    data.check()
    read = reads(data)
    assert everything(data) == wanted
    assert (len(read), store.disk) == (2 * count, GB)


def test_no_more_memory_and_disk_than_allowed(voc, tmp_path, capfd):
    store = Store(2 * PAIR + 5, PAIR + 5, tmp_path)
    data = opened(voc, store, workers=2)
    data.check()
    assert (store.memory, store.disk) == (5, 5)
    count = reads(data)
    everything(data)
    assert len(count) == 2  # one of the four found no room, in two epochs
    err = capfd.readouterr().err
    assert err.count("Large images are kept shrunk") == 1 and str(tmp_path) in err
    assert not [*tmp_path.glob("tmp*")]  # the file has no name, nothing stays behind


def test_the_place_is_named_only_if_it_is_used(voc, tmp_path, capfd):
    everything(opened(voc, Store(GB, GB, tmp_path)))
    assert "kept" not in capfd.readouterr().err


def test_a_disk_that_cannot_be_written_to(voc, tmp_path):
    wanted = everything(opened(voc))
    assert everything(opened(voc, Store(0, None, tmp_path / "none"))) == wanted
    assert everything(opened(voc, Store(0, GB, tmp_path / "none"))) == wanted


def test_a_disk_that_is_full(voc, tmp_path, monkeypatch):
    class Full:
        """A file that takes half of a pair."""

        def seek(self, *_):
            return 0

        def write(self, part):
            return part.nbytes // 2

    store = Store(0, GB, tmp_path)
    store._file = Full()
    assert everything(opened(voc, store)) == everything(opened(voc))


def test_what_is_kept_cannot_be_changed_from_outside(voc, tmp_path):
    for store in (Store(GB), Store(0, GB, tmp_path)):
        data = opened(voc, store, split="val")
        for _ in range(3):
            image, mask = data.shrunk(0)
            wanted = shrink(*data.load(0), (20, 24))
            np.testing.assert_array_equal(image, wanted[0])
            np.testing.assert_array_equal(mask, wanted[1])
            image[:], mask[:] = 0, 0


def test_another_canvas_or_range_is_read_anew(voc):
    store = Store(GB)
    data = opened(voc, store, split="val", target_size=(20, 24))
    data.check()
    data.target_size = [10, 12]  # a list, as a subclass in the reference's way may set
    assert data[0][0].shape == (2, 10, 12, 3)
    before = data[0][0]
    data.set_intensity((0, 100))
    assert (data[0][0] != before).any()
    wanted = opened(voc, split="val", target_size=(10, 12), intensity=(0, 100))[0][0]
    np.testing.assert_array_equal(data[0][0], wanted)


def test_data_sets_share_a_store_but_not_their_images(voc):
    """Also two of the same files that read them differently."""
    store = Store(GB)
    first, other = opened(voc, store), opened(voc, store, class_ids=[2], num_classes=2)
    for data in (first, other):
        data.check()
    assert everything(first) == everything(opened(voc))
    assert everything(other) == everything(opened(voc, class_ids=[2], num_classes=2))


class Own(Dataset):
    """A subclass that knows neither store nor index; the same files, other parts of them."""

    def __init__(self, voc, **options):
        super().__init__((10, 12), 3, **options)
        path = sorted((voc / "JPEGImages").iterdir())[0]
        self.image_info = [{"image_path": path, "half": half} for half in (0, 1)]

    def read_image(self, index):
        info = self.image_info[index]
        part = np.asarray(Image.open(info["image_path"]))
        return np.split(part, 2, 1)[info["half"]]

    def read_mask(self, index):
        return np.full((40, 24), 1 + self.image_info[index]["half"], np.uint8)


def test_a_subclass_with_readers_of_its_own(voc):
    plain, kept = Own(voc, aug=True), Own(voc, aug=True, store=Store(GB))
    assert kept.check().tolist() == plain.check().tolist()
    assert everything(kept) == everything(plain)


def test_processes_with_a_part_of_each_batch(voc):
    wanted = opened(voc)[0]
    parts = [opened(voc, Store(GB), part=(index, 2), multiple=4) for index in (0, 1)]
    for data in parts:
        data.check()
    for which in (0, 1):
        halves = [data[0][which] for data in parts]
        assert len(halves[0]) == len(halves[1]) == 2
        both = np.stack(halves, 1).reshape(4, *halves[0].shape[1:])
        np.testing.assert_array_equal(both[:3], wanted[which])


def test_a_store_that_is_cleared_keeps_nothing_and_reads_anew(tmp_path):
    image = np.arange(40 * 48 * 3, dtype=np.uint8).reshape(40, 48, 3)
    mask = image[..., 0].copy()
    store, loads = Store(PAIR, GB, tmp_path), []

    def pair(number):
        return store.shrunk(number, lambda: (loads.append(number), (image, mask))[1], (20, 24), 1.6)

    first = [pair(0), pair(1), pair(0), pair(1)]  # one in memory, one in the file
    assert loads == [0, 1] and store.memory == 0 < store.disk
    store.clear()
    assert (store.memory, store.disk, store._file.seek(0, 2)) == (0, 0, 0)
    again = [pair(0), pair(1), pair(0), pair(1)]
    assert loads == [0, 1, 0, 1, 0, 1]
    for old, new in zip(first, again, strict=True):
        assert all((a == b).all() for a, b in zip(old, new, strict=True))


def test_threads_that_want_the_same_pair(tmp_path):
    image = np.arange(40 * 48 * 3, dtype=np.uint8).reshape(40, 48, 3)
    mask = image[..., 0].copy()
    wanted = shrink(image, mask, (20, 24))
    store = Store(PAIR, 3 * PAIR, tmp_path)
    wrong = []

    def work():
        for number in range(300):
            pair = store.shrunk(number % 5, lambda: (image, mask), (20, 24), 1.6)
            if any((a != b).any() for a, b in zip(pair, wanted, strict=True)):
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and (store.memory, store.disk) == (0, 0)


def test_memory_is_that_of_the_container(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(stores, "_LIMITS", (str(limit), str(tmp_path / "none")))
    machine = total_memory()
    for text, wanted in (
        ("max\n", machine),
        (f"{2**63 - 4096}\n", machine),
        ("4096000\n", 4096000),
    ):
        limit.write_text(text)
        assert total_memory() == wanted
    assert Store().memory == 1024000 == 2 * Store(users=2).memory
    monkeypatch.delattr(stores.os, "sysconf")
    assert total_memory() == 4096000
    limit.write_text("max\n")
    assert total_memory() == 4 << 30


def test_open_both_gives_a_store_to_both_parts(voc):
    from dataclasses import replace

    config = replace(PRESETS["voc"], data=str(voc), class_names=("background", "a", "b"))
    config = replace(config, size=(16, 16))
    train, val = open_both(config)
    assert train.store is val.store and train.store.memory > 0
    train.check()
    count = reads(train)
    everything(train)
    assert count == []


def test_a_shrunk_photograph_is_a_mean_of_its_pixels(tmp_path):
    """By hand: 4x4 pixels on a canvas of 2x2, each the mean of a block of four."""
    blocks = np.array([[10, 50], [90, 200]], np.uint8)
    image = blocks.repeat(2, 0).repeat(2, 1)[..., None].repeat(3, -1)
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "m.png"), np.eye(2, dtype=np.uint8).repeat(2, 0).repeat(2, 1))
    for store in (None, Store(GB)):
        data = Dataset((2, 2), 2, store=store)
        data.image_info = [{"image_path": tmp_path / "a.png", "mask_path": tmp_path / "m.png"}]
        for _ in range(2):
            image, mask = data[0]
            assert image[0, ..., 0].tolist() == blocks.tolist()
            assert mask[0].tolist() == [[1, 0], [0, 1]]


@pytest.mark.slow
def test_a_run_of_large_images_resumes_to_the_same_result(eagerly, voc, call, monkeypatch):
    """Stopped in the second epoch; with other workers, no check of the pixels, and a file."""
    names = ("--class-names", "background,a,b", "--filters", 2, "--epochs", 2, "--batch-size", 2)
    command = ("train", "--data", voc, "--size", 16, 16, *names)
    assert call(*command, "--workers", 1, "--output", "whole")[0] == 0
    save = run_folder.save_checkpoint

    def stop(model, path, config, found, history):
        if len(history) == 2:
            raise KeyboardInterrupt
        save(model, path, config, found, history)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "save_checkpoint", stop)
        assert call(*command, "--workers", 3, "--output", "parts")[0] == 130
    monkeypatch.setattr(stores, "total_memory", lambda: 0)
    status, _, err = call(*command, "--workers", 3, "--output", "parts")
    assert status == 0 and "Large images are kept shrunk" in err
    assert_equal(Path("whole"), Path("parts"))
