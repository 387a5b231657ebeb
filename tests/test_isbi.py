import numpy as np
import pytest
from conftest import write_isbi
from PIL import Image

from core.imaging import augment
from core.ISBIdataset import ISBIDataset
from core.support.errors import UserError


def test_slices_in_natural_order(isbi):
    data = ISBIDataset(isbi, batch_size=5, target_size=(32, 32))
    images, masks = data[0]
    assert images.shape == (5, 32, 32, 1) and images.dtype == masks.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == [8, 9, 10, 11, 12]
    assert (masks[:, :, :16] == 0).all() and (masks[:, :, 16:] == 1).all()


def test_stacks(isbi, tmp_path):
    stacks = tmp_path / "stacks"
    stacks.mkdir()
    for folder, name in (("image", "train-volume.tif"), ("label", "train-labels.tif")):
        pages = [Image.open(isbi / folder / f"{number}.png") for number in range(8, 13)]
        pages[0].save(stacks / name, save_all=True, append_images=pages[1:])
    from_files = ISBIDataset(isbi, 5, (32, 32))[0]
    from_stacks = ISBIDataset(stacks, 5, (32, 32))[0]
    for a, b in zip(from_files, from_stacks, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_end_of_the_stack_is_kept_for_validation(isbi):
    def first_and_count(**options):
        data = ISBIDataset(isbi, **options)
        return data.read_image(0)[0, 0, 0], len(data.image_info)

    assert first_and_count(split="train") == (8, 4)
    assert first_and_count(split="val") == (12, 1)
    assert first_and_count(split="val", val_fraction=0.4) == (11, 2)
    assert first_and_count() == (8, 5)


def test_public_defaults(isbi):
    data = ISBIDataset(str(isbi))
    assert (data.batch_size, data.target_size, data.num_classes, data.aug) == (
        4,
        (512, 512),
        2,
        False,
    )


def test_crops_of_the_canvas(isbi):
    data = ISBIDataset(isbi, 4, (32, 32), aug=True, crop=(16, 16), repeats=4)
    images, masks = data[0]
    assert (
        len(data) == 5 and images.shape == (4, 16, 16, 1) and set(np.unique(masks)) <= {0, 1, 255}
    )


def test_labels_of_0_and_1(isbi):
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(isbi / "label/9.png")
    np.testing.assert_array_equal(ISBIDataset(isbi).read_mask(1), np.eye(32))


def grey_label(isbi):
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32).astype(np.uint8)).save(
        isbi / "label/9.png"
    )
    return "9.png: a label must be 0"


def no_label(isbi):
    (isbi / "label/9.png").unlink()
    return "label.9.png: there is no such mask"


def no_slices(isbi):
    for path in (isbi / "image").iterdir():
        path.unlink()
    return "has no images"


def no_folders(isbi):
    (isbi / "image").rename(isbi / "images")
    return "holds neither image/ and label/ nor train-volume.tif"


def one_slice(isbi):
    for path in list((isbi / "image").iterdir())[1:]:
        path.unlink()
    return "of 1 slices, 1 would be kept"


@pytest.mark.parametrize("damage", [grey_label, no_label, no_slices, no_folders, one_slice])
def test_every_problem_is_named(isbi, damage):
    sentence = damage(isbi)
    with pytest.raises(UserError, match=sentence):
        ISBIDataset(isbi, split="train").check()


def test_stacks_of_different_lengths_are_refused(tmp_path):
    isbi = write_isbi(tmp_path / "isbi")
    page = Image.open(isbi / "image/8.png")
    page.save(tmp_path / "train-volume.tif", save_all=True, append_images=[page])
    page.save(tmp_path / "train-labels.tif")
    with pytest.raises(UserError, match="has 1 pages, but train-volume.tif has 2"):
        ISBIDataset(tmp_path)


@pytest.mark.parametrize("paper", [False, True])
def test_the_paper_s_augmentation_deforms_by_itself(isbi, monkeypatch, paper):
    calls = []
    for name in ("microscopy", "paper"):
        change = getattr(augment, name)
        monkeypatch.setattr(augment, name, lambda *a, f=change, n=name: calls.append(n) or f(*a))
    data = ISBIDataset(isbi, 5, (32, 32), aug=True, paper=paper)
    data[0]
    assert calls == ["paper" if paper else "microscopy"] * 5 and data.elastic != paper
