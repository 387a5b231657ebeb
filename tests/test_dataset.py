import dataclasses
import platform
import re
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from conftest import grey_model, write_voc
from PIL import Image

from core.config import PRESETS
from core.dataset import Dataset
from core.imaging.borders import balanced_weights
from core.imaging.image import read_mask
from core.support.backend import epochs_of
from core.support.errors import UserError
from core.training.losses import SegmentationLoss
from core.VOCdataset import VOCDataset
from nets.reach import Geometry


def dataset(voc, split="train", **options):
    options = {"batch_size": 3, "target_size": (32, 32), "num_classes": 3, **options}
    return VOCDataset(voc / f"ImageSets/Segmentation/{split}.txt", **options)


def test_batches(voc):
    data = dataset(voc)
    assert len(data) == 2
    for index, count in ((0, 3), (1, 1)):
        images, masks = data[index]
        assert images.shape == (count, 32, 32, 3) and masks.shape == (count, 32, 32)
        assert images.dtype == masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1, 2, 255}


def test_public_defaults(voc):
    write_voc(voc, classes=21)
    data = VOCDataset(str(voc / "ImageSets/Segmentation/train.txt"))
    assert (data.batch_size, data.target_size, data.num_classes, data.aug) == (
        4,
        (320, 320),
        21,
        False,
    )
    assert data[0][0].shape == (4, 320, 320, 3)
    assert data.annotation == ["picture2", "picture3", "picture4", "picture5"]
    assert set(data.image_info[0]) == {"image_path", "mask_path"}


def everything(data):
    images, masks = zip(*(data[i] for i in range(len(data))), strict=True)
    return np.concatenate(images), np.concatenate(masks)


def test_randomness_depends_on_seed_epoch_and_image_alone(voc):
    first = everything(dataset(voc, aug=True, seed=1))
    again = everything(dataset(voc, aug=True, seed=1, workers=4))
    other = everything(dataset(voc, aug=True, seed=2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()

    backwards = dataset(voc, aug=True, seed=1)
    last_first = [backwards[1][0], backwards[0][0]][::-1]
    np.testing.assert_array_equal(np.concatenate(last_first), first[0])

    later = dataset(voc, aug=True, seed=1)
    later.on_epoch_end()
    resumed = dataset(voc, aug=True, seed=1)
    resumed.begin_epoch(1)
    assert (everything(later)[0] != first[0]).any()
    np.testing.assert_array_equal(everything(later)[0], everything(resumed)[0])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a matter of glibc")
def test_fit_gets_no_new_memory_for_each_image(voc):
    """TensorFlow, where it runs on Python 3.11, would let the system zero each page of each one."""
    resource = pytest.importorskip("resource")
    model = grey_model()
    model.compile("sgd", SegmentationLoss("crossentropy"))
    faults = []

    class Reading(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
            for _ in range(5):
                [np.ones(2**20, np.uint8) for _ in range(40)]
            faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

    data = dataset(voc, workers=1)
    model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[epochs_of(data), Reading()])
    assert len(faults) == 4 and faults[-1] < 40 * 2**20 / 4096


def test_the_order_of_an_epoch_is_drawn_once(voc, monkeypatch):
    """A permutation for every batch would let an epoch's cost grow with the square of its size."""
    draw, drawn = np.random.default_rng, []
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or draw(seed))
    data = dataset(voc, aug=True, repeats=2, batch_size=1)
    for batch in range(len(data)):
        data[batch]
    assert drawn.count((0, 0)) == 1 and len(drawn) == 1 + len(data)
    data.on_epoch_end()
    data[0], data[1]
    assert drawn.count((0, 1)) == 1


def test_the_order_is_new_in_every_epoch_and_whole(voc):
    data = dataset(voc, shuffle=True, repeats=50)
    first = data.order().copy()
    data.on_epoch_end()
    assert sorted(first) == sorted(data.order()) == list(range(200))
    assert (first != data.order()).any()
    assert (dataset(voc).order() == range(4)).all()
    assert (dataset(voc, aug=True, shuffle=False).order() == range(4)).all()


@pytest.mark.parametrize(
    ("repeats", "epochs", "visits"), [(0.5, 2, 1), (0.25, 4, 1), (0.75, 4, 3), (1.5, 4, 6)]
)
def test_short_epochs_share_the_images_evenly(voc, repeats, epochs, visits):
    data = dataset(voc, aug=True, repeats=repeats, batch_size=1)
    data.image_info *= 10  # 40 images
    orders = []
    for epoch in range(epochs):
        data.begin_epoch(epoch)
        assert len(set(data.order().tolist())) == 40 * repeats  # no sample comes twice
        orders.append(data.order() % 40)
        assert len(data) == len(orders[-1]) == 40 * repeats
    assert (np.bincount(np.concatenate(orders), minlength=40) == visits).all()
    assert (np.diff(orders[0]) != 1).any()  # shuffled
    data.begin_epoch(0)  # as when a run resumes
    assert (data.order() % 40 == orders[0]).all()


def test_an_epoch_is_never_empty(voc):
    assert len(dataset(voc, repeats=0.01)) == 1


def test_repeats_visit_every_image_with_other_crops(voc):
    data = dataset(voc, repeats=5, crop=(16, 16), batch_size=100)
    images, masks = data[0]
    assert images.shape == (20, 16, 16, 3) and masks.shape == (20, 16, 16)
    assert len({image.tobytes() for image in images[::4]}) > 1


def test_augmented_flips_reach_half_of_the_images(voc):
    data = dataset(voc, repeats=100, aug=True)
    flipped = []
    for number in range(400):
        _, mask = data.sample(number)
        columns = [np.nonzero((mask == class_id).any(0))[0].mean() for class_id in (0, 2)]
        flipped.append(columns[0] > columns[1])
    assert 0.4 < np.mean(flipped) < 0.6


def test_masks_of_the_list_s_folder(tmp_path):
    root = write_voc(tmp_path, lists="Segmentation", masks="SegmentationClass")
    write_voc(root, lists="SegmentationAug", masks="SegmentationClassAug")
    for lists, masks in (
        ("Segmentation", "SegmentationClass"),
        ("SegmentationAug", "SegmentationClassAug"),
    ):
        data = VOCDataset(root / f"ImageSets/{lists}/val.txt", num_classes=3)
        assert Path(data.image_info[0]["mask_path"]).parent.name == masks


def test_a_list_elsewhere_needs_the_root(voc, tmp_path):
    (tmp_path / "own.txt").write_text("\ufeffpicture1 \r\n\r\npicture0\r\n", encoding="utf-8")
    data = VOCDataset(tmp_path / "own.txt", num_classes=3, root=voc)
    assert data.annotation == ["picture1", "picture0"]
    data.load(1)


def test_only_some_classes(voc):
    data = dataset(voc, num_classes=2, class_ids=[2])
    before = read_mask(data.image_info[0]["mask_path"])
    after = data.read_mask(0)
    for old, new in ((0, 0), (1, 255), (2, 1), (255, 255)):
        assert (after[before == old] == new).all()


def blocks_of_the_page():
    """The subclass in docs/own-data.md and the lines that train with it."""
    text = (Path(__file__).parent.parent / "docs/own-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return "\n".join(code for code in blocks if "MyDataset(" in code)


def test_the_page_s_subclass_as_it_stands(eagerly, tmp_path, rng, monkeypatch, call):
    """Both blocks, with a preset that is small enough for a test; then predict.py."""
    small = dataclasses.replace(PRESETS["folder"], size=(32, 32), filters=2, epochs=1)
    monkeypatch.setitem(PRESETS, "folder", small)
    for split in ("train", "val"):
        for folder in ("images", "masks"):
            Path(f"my_data/{split}/{folder}").mkdir(parents=True)
        for i in range(3):
            image = rng.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(image).save(f"my_data/{split}/images/{i}.jpg")
            mask = rng.integers(0, 2, (20, 30), np.uint8)
            Image.fromarray(mask).save(f"my_data/{split}/masks/{i}.png")
    names = {}
    exec(blocks_of_the_page(), names)
    images, masks = names["data"][0]
    assert images.shape == (3, 32, 32, 3) and set(np.unique(masks)) <= {0, 1, 255}
    assert call("predict", "--weights", "runs/mine", "my_data/val/images/0.jpg")[0] == 0
    status, out, err = call("evaluate", "--weights", "runs/mine")
    assert (status, out) == (2, "") and "Name its folder with --data" in err
    status, out, _ = call("evaluate", "--weights", "runs/mine", "--data", "my_data/val")
    assert status == 0 and "3 images (folder, val)" in out


class Reference(Dataset):
    """A subclass in the way of the reference's README."""

    def __init__(
        self, annotation_path, batch_size=4, target_size=(320, 320), num_classes=21, aug=False
    ):
        super().__init__(target_size, num_classes)
        self.batch_size = batch_size
        self.target_size = target_size
        self.num_classes = num_classes
        self.annotation_path = annotation_path
        self.aug = aug
        self.set_image_info()

    def set_image_info(self):
        self.image_info = [
            {
                "image_path": path,
                "mask_path": self.annotation_path / "SegmentationClass" / f"{path.stem}.png",
            }
            for path in sorted((self.annotation_path / "JPEGImages").iterdir())
        ]


def test_a_subclass_in_the_reference_s_way(voc):
    images, masks = Reference(voc, 2, (32, 48), 3, True)[0]
    assert images.shape == (2, 32, 48, 3) and masks.shape == (2, 32, 48)


def break_mask_size(voc):
    Image.new("L", (9, 9)).save(voc / "SegmentationClass/picture3.png")
    return "picture3.png.*9x9.*48x40"


def break_mask_value(voc):
    Image.fromarray(np.full((40, 48), 17, np.uint8)).save(voc / "SegmentationClass/picture3.png")
    return "picture3.png.*17 is neither a class .0..2. nor 255"


def break_mask_colours(voc):
    Image.new("RGB", (48, 40), (9, 0, 0)).save(voc / "SegmentationClass/picture3.png")
    return "picture3.png.*colours"


def break_image(voc):
    path = voc / "JPEGImages/picture3.jpg"
    path.write_bytes(path.read_bytes()[:500])
    return "picture3.jpg.*cannot be read"


@pytest.mark.parametrize(
    "damage", [break_mask_size, break_mask_value, break_mask_colours, break_image]
)
def test_check_names_what_is_wrong(voc, damage):
    data = dataset(voc)
    data.check()
    sentence = damage(voc)
    with pytest.raises(UserError, match=sentence):
        data.check()


class Plain(Dataset):
    """Two images of one class each, in sizes that differ, and 255 beside them."""

    shapes = ((1000, 1000), (100, 100), (1000, 500))

    def __init__(self, **options):
        super().__init__((32, 32), 3, **options)
        self.image_info = [{"image_path": "a", "mask_path": "a"}] * 3

    def read_image(self, index):
        return np.zeros((*self.shapes[index], 3), np.uint8)

    def read_mask(self, index):
        return np.full(self.shapes[index], (1, 2, 255)[index], np.uint8)


@pytest.mark.parametrize("crop", [None, (16, 16)])
def test_check_counts_pixels_of_the_canvas(crop):
    """As the loss sees them: large images do not count more than small ones."""
    assert Plain(crop=crop).check().tolist() == [0, 1024, 1024]
    assert balanced_weights(Plain().check()) == (0, 1, 1)
    # 255 and padding are learnt as background on demand: all of the third canvas.
    assert Plain(ignored_as_background=True).check().tolist() == [1024, 1024, 1024]


def test_check_counts_what_batches_hold(voc):
    data = dataset(voc, target_size=(48, 32))
    _, masks = everything(data)
    assert data.check().tolist() == [(masks == i).sum() for i in range(3)]


def remove_image(voc):
    (voc / "JPEGImages/picture3.jpg").unlink()
    return "picture3.jpg: there is no such image, but .*train.txt lists 'picture3'"


def remove_mask(voc):
    (voc / "SegmentationClass/picture3.png").unlink()
    return "picture3.png: there is no such mask"


def unknown_id(voc):
    (voc / "ImageSets/Segmentation/train.txt").write_text("picture2\nnowhere\n")
    return "lists 'nowhere'"


def empty_list(voc):
    (voc / "ImageSets/Segmentation/train.txt").write_text("\n")
    return "train.txt: this list is empty"


def missing_list(voc):
    (voc / "ImageSets/Segmentation/train.txt").unlink()
    return "train.txt: this list cannot be read"


@pytest.mark.parametrize(
    "damage", [remove_image, remove_mask, unknown_id, empty_list, missing_list]
)
def test_opening_names_what_is_missing(voc, damage):
    sentence = damage(voc)
    with pytest.raises(UserError, match=sentence):
        dataset(voc)


def test_an_empty_subclass_is_refused_by_check():
    with pytest.raises(UserError, match="image_info is empty"):
        Dataset((32, 32), 2).check()


def test_letterboxed_padding_is_ignored(voc):
    _, mask = dataset(voc, target_size=(64, 32)).sample(0)
    assert (mask[:18] == 255).all() and (mask[-18:] == 255).all()
    assert cv2.countNonZero((mask[20:44] != 255).astype(np.uint8)) > 0


def test_processes_share_each_batch(voc):
    whole = VOCDataset(voc / "ImageSets/Segmentation/train.txt", 3, (32, 48), 3)
    listing = voc / "ImageSets/Segmentation/train.txt"
    parts = [VOCDataset(listing, 3, (32, 48), 3, part=(i, 2), multiple=2) for i in range(2)]
    images, masks = whole[0]  # three images, and one to fill up
    for a, b in zip(parts[0][0], (images[[0, 2]], masks[[0, 2]]), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(parts[1][0][0], images[[1, 0]])
    np.testing.assert_array_equal(parts[1][0][1][0], masks[1])
    assert (parts[1][0][1][1] == 255).all()
    assert len(parts[0]) == len(whole) == 2
    assert [len(part[1][0]) for part in parts] == [1, 1]  # the last batch has one image


def test_what_is_ignored_may_be_learnt_as_background(voc):
    """Void, padding and other classes; but not what only fills up a batch."""
    usual, reference = (
        dataset(voc, num_classes=3, multiple=4, border_weight=True, ignored_as_background=learnt)
        for learnt in (False, True)
    )
    images, masks, weights = usual[0]
    assert (masks[:3] == 255).any()
    wanted = np.where(masks == 255, 0, masks)
    wanted[3] = 255
    for given, expected in zip(reference[0], (images, wanted), strict=False):
        np.testing.assert_array_equal(given, expected)
    expected = np.where(masks == 255, 1, weights)  # no border where masks leave it open
    np.testing.assert_allclose(reference[0][2][:3], expected[:3], atol=1e-6)
    assert not reference[0][2][3].any()


def test_samples_of_a_network_that_answers_for_less_than_it_sees(voc):
    """The same crops; inside its surroundings the image equals the one without them."""
    plain = dataset(voc, aug=True, crop=(16, 20), repeats=5, batch_size=20)
    needs = {"surroundings": Geometry(grid=16, radius=94, trim=92)}
    wide = dataset(voc, aug=True, crop=(16, 20), repeats=5, batch_size=20, **needs)
    (images, masks), (wide_images, wide_masks) = plain[0], wide[0]
    assert wide_images.shape == (20, 204, 204, 3) and wide_masks.shape == (20, 20, 20)
    np.testing.assert_array_equal(wide_images[:, 92:108, 92:112], images)
    np.testing.assert_array_equal(wide_masks[:, :16], masks)
    assert (wide_masks[:, 16:] != 255).any()  # what the slice has there

    images, masks = dataset(voc, "val", target_size=(16, 32), **needs)[0]
    assert images.shape == (2, 204, 220, 3) and masks.shape == (2, 20, 36)
    assert (masks[:, 16:] == 255).all() and (masks[:, :, 32:] == 255).all()
    np.testing.assert_array_equal(
        masks[:, :16, :32], dataset(voc, "val", target_size=(16, 32))[0][1]
    )
    *_, ids, weights = dataset(voc, "val", target_size=(16, 32), border_weight=True, **needs)[0]
    np.testing.assert_array_equal(ids, masks)
    assert not weights[masks == 255].any()


class Ramps(Dataset):
    """One image whose values tell the place of a pixel, larger than the canvas."""

    def __init__(self, **options):
        super().__init__((16, 16), 256, batch_size=64, **options)
        self.image_info = [{"image_path": "0.png"}]

    def load(self, index):
        place = np.add.outer(6 * np.arange(20), np.arange(24)).astype(np.uint8)
        return place[..., None].repeat(3, -1), place


def test_images_at_their_own_resolution():
    """To validate with, the middle of a larger image; to train on, any place in it."""
    place = Ramps().load(0)[1]
    images, masks = Ramps(resize=False)[0]
    assert np.array_equal(masks[0], place[2:18, 4:20]) and np.array_equal(
        images[0, ..., 0], masks[0]
    )
    crops = Ramps(resize=False, crop=(8, 12), repeats=64)[0][1]
    corners = {int(crop[0, 0]) for crop in crops}
    assert all(np.array_equal(crop, crop[0, 0] + place[:8, :12]) for crop in crops)
    assert len(corners) > 40 and max(corners) <= place[12, 12]
    wide = Ramps(resize=False, crop=(16, 32))[0][1][0]  # wider than the image: padded
    assert (
        (wide[:, :4] == 255).all() and (wide[:, 28:] == 255).all() and (wide[:, 4:28] < 255).all()
    )


def test_crops_with_augmentation_find_a_rare_object():
    """One pixel of 10,000 is in one of 30 crops by chance; half of the others are moved there."""
    mask = np.zeros((100, 100), np.uint8)
    mask[70, 20] = 1

    class Rare(Dataset):
        def load(self, index):
            return mask[..., None].copy(), mask.copy()

    for aug, low, high in ((True, 0.4, 0.65), (False, 0, 0.2)):
        options = {"crop": (16, 16), "repeats": 200, "batch_size": 200}
        data = Rare((100, 100), 2, aug=aug, changes=lambda i, m, *_: (i, m), **options)
        data.image_info = [{"image_path": "a.png"}]
        images, masks = data[0]
        np.testing.assert_array_equal(images[..., 0], masks)
        assert low <= masks.any((1, 2)).mean() <= high


def test_crops_that_are_scaled():
    """At a factor of 2 a crop shows a quarter to four times its pixels, image and mask alike."""

    def nothing(image, mask, rng, size):
        return image, mask

    options = {"resize": False, "crop": (8, 8), "repeats": 64, "aug": True, "changes": nothing}
    images, masks = Ramps(scaling=2.0, **options)[0]
    assert images.shape == (64, 8, 8, 3) and masks.shape == (64, 8, 8)
    known = masks != 255
    assert np.abs(images[..., 0].astype(int) - masks)[known].mean() < 4  # interpolated and nearest
    steps = np.array([mask[4, 6] - mask[4, 1] for mask in masks.astype(int)]) / 5
    assert steps.min() < 0.7 and steps.max() > 1.5  # pixels of the image for one of the crop
    whole = Ramps(scaling=2.0, aug=True, changes=nothing, repeats=64)[0][1]
    assert {bool((mask == 255).any()) for mask in whole} == {True, False}  # some are shown smaller
    needs = Geometry(grid=2, radius=4, trim=2)
    assert Ramps(scaling=2.0, surroundings=needs).scaling == 1
