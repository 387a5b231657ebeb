from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import write_isbi, write_voc
from PIL import Image

from core.dataset import Dataset
from core.imaging import augment, borders
from core.imaging.borders import border_weights, cached_border_weights
from core.ISBIdataset import ISBIDataset
from core.sources.choose import SampleDataset
from core.support.errors import UserError
from core.support.files import cache_folder
from core.support.threads import mapped


def objects(mask):
    """Lists the pixels of each object, found by walking from neighbour to neighbour."""
    left = {(int(y), int(x)) for y, x in np.argwhere((mask != 0) & (mask != 255))}
    found = []
    while left:
        waiting, pixels = [left.pop()], []
        while waiting:
            y, x = waiting.pop()
            pixels.append((y, x))
            for side in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if side in left and mask[side] == mask[y, x]:
                    left.remove(side)
                    waiting.append(side)
        found.append(np.array(pixels))
    return found


def formula(mask, w0=10, sigma=5):
    """The second term of equation 2 at each pixel, from the distances to all pixels of objects."""
    weights, found = np.zeros(mask.shape), objects(mask)
    for pixel in np.argwhere(mask == 0):
        distances = sorted(np.sqrt(np.square(pixels - pixel).sum(-1).min()) for pixels in found)
        if len(found) > 1:
            d1, d2 = distances[:2]
            weights[tuple(pixel)] = w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return weights


def assert_is_the_formula(mask, **options):
    weights = border_weights(mask, **options)
    assert weights.dtype == np.float32 and weights.shape == mask.shape
    np.testing.assert_allclose(weights, formula(mask, **options), rtol=1e-6, atol=1e-30)
    return weights


CELLS = np.array(
    [
        [1, 1, 0, 0, 2, 2, 0, 0, 0],
        [1, 1, 0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 255, 255, 0, 3],
        [0, 1, 1, 0, 0, 255, 0, 0, 3],
        [0, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)


def test_a_small_mask_by_the_formula():
    assert len(objects(CELLS)) == 5
    weights = assert_is_the_formula(CELLS)
    assert (weights[CELLS == 0] > 0).all() and (weights[CELLS != 0] == 0).all()
    assert_is_the_formula(CELLS, w0=3, sigma=1.5)


@pytest.mark.parametrize(
    ("row", "pixel", "d1", "d2"),
    [
        ([1, 0, 1], 1, 1, 1),  # between two of one class
        ([1, 2, 0], 2, 1, 2),  # beside two of different classes that touch
        ([1, 1, 0, 255, 2], 2, 1, 2),  # one of them beyond what is ignored
        ([1, 255, 1, 0], 3, 1, 3),  # 255 divides
        ([1, 0, 0, 0, 2, 0, 3], 1, 1, 3),  # the third does not count
    ],
)
def test_distances_by_hand(row, pixel, d1, d2):
    weights = border_weights(np.array([row], np.uint8))
    assert weights[0, pixel] == pytest.approx(10 * np.exp(-((d1 + d2) ** 2) / 50), rel=1e-6)


def test_a_value_by_hand():
    assert border_weights(np.array([[1, 0, 1]], np.uint8))[0, 1] == pytest.approx(9.231163)
    corners = np.array([[1, 0], [0, 1]], np.uint8)  # they do not touch by a side: two objects
    np.testing.assert_allclose(border_weights(corners), [[0, 9.231163], [9.231163, 0]], rtol=1e-6)


@pytest.mark.parametrize("values", [[0], [255], [1], [0, 1], [1, 255], [0, 1, 255]])
def test_fewer_than_two_objects_have_no_border(values):
    mask = np.repeat(np.uint8(values), 3)[None].repeat(4, axis=0)
    np.testing.assert_array_equal(border_weights(mask), np.zeros(mask.shape, np.float32))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 17])
def test_any_number_of_objects(count):
    """Among them those at which one bit more is needed to number them."""
    rng = np.random.default_rng(count)
    mask = np.zeros((60, 70), np.uint8)
    for place in rng.choice(15 * 17, count, replace=False):  # on a grid, so that none touch
        y, x = 4 * (place // 17), 4 * (place % 17)
        mask[y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = rng.integers(1, 4)
    assert len(objects(mask)) == count
    assert_is_the_formula(mask)


def test_noise_by_the_formula():
    rng = np.random.default_rng(0)
    mask = rng.choice(np.uint8([0, 1, 2, 255]), (40, 50), p=[0.8, 0.08, 0.08, 0.04])
    assert_is_the_formula(mask)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/datasets/borders"


def refuse(*_):
    raise AssertionError("computed again")


def test_levels_are_computed_once(empty_cache, monkeypatch):
    levels = cached_border_weights(CELLS)
    assert levels.dtype == np.uint8
    np.testing.assert_allclose(levels * (10 / 255), formula(CELLS), atol=0.5 * 10 / 255 + 1e-6)
    assert empty_cache == cache_folder("borders")
    assert [path.suffix for path in empty_cache.iterdir()] == [".png"]
    cached_border_weights(CELLS.T)
    cached_border_weights(CELLS.reshape(9, 6))  # the same bytes
    assert len(list(empty_cache.iterdir())) == 3
    monkeypatch.setattr(borders, "border_weights", refuse)
    np.testing.assert_array_equal(cached_border_weights(CELLS.copy()), levels)
    monkeypatch.setattr(borders, "SIGMA", 6)
    with pytest.raises(AssertionError, match="computed again"):
        cached_border_weights(CELLS)


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def empty(path):
    path.write_bytes(b"")


def of_another_size(path):
    Image.new("L", (4, 4)).save(path)


@pytest.mark.parametrize("damage", [cut, empty, of_another_size])
def test_a_damaged_file_is_made_anew(empty_cache, damage):
    levels = cached_border_weights(CELLS)
    (path,) = empty_cache.iterdir()
    whole = path.read_bytes()
    damage(path)
    np.testing.assert_array_equal(cached_border_weights(CELLS), levels)
    assert path.read_bytes() == whole and list(empty_cache.iterdir()) == [path]


def test_threads_may_meet_at_one_mask(empty_cache):
    masks = [np.roll(CELLS, shift, axis=1) for shift in range(6)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(cached_border_weights, masks * 8))
    for mask, levels in zip(masks * 8, found, strict=True):
        np.testing.assert_array_equal(levels, np.rint(border_weights(mask) * 25.5))
    assert len(list(empty_cache.iterdir())) == 6


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="file.datasets.borders.*KERAS_HOME"):
        cached_border_weights(CELLS)


class Tilted(Dataset):
    """A user's own geometry."""

    def augment(self, image, mask, rng):
        return augment.translate(np.rot90(image), np.rot90(mask), rng)


class Narrowed(Dataset):
    """A user's own augmentation that makes bytes of masks."""

    def augment(self, image, mask, rng):
        return image, mask.astype(np.uint8)


def photographs(tmp_path, kind, border_weight=True):
    lists = write_voc(tmp_path / "voc", size=(60, 48)) / "ImageSets/Segmentation/train.txt"
    source = SampleDataset(lists, batch_size=2, num_classes=3)
    data = source if kind is SampleDataset else kind(num_classes=3)
    data.batch_size, data.image_info, data.target_size = 2, source.image_info, (64, 40)
    data.aug, data.repeats, data.border_weight = True, 4, border_weight
    return data


def slices(tmp_path, kind, border_weight=True):
    if not (tmp_path / "isbi").exists():
        write_isbi(tmp_path / "isbi", size=64)
    data = kind(tmp_path / "isbi", 2, (64, 64), aug=True, crop=(48, 40), repeats=4)
    data.border_weight = border_weight
    return data


KINDS = [(photographs, kind) for kind in (SampleDataset, Dataset, Tilted)]
KINDS.append((slices, ISBIDataset))


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_weights_follow_the_mask(tmp_path, monkeypatch, make, kind):
    """With a level that is made of the id, each pixel must have its own id's afterwards."""
    levels = np.append(np.uint8([251, 8, 130]), np.zeros(253, np.uint8))
    monkeypatch.setattr(borders, "cached_border_weights", lambda mask: levels[mask])
    data, plain = make(tmp_path, kind), make(tmp_path, kind, border_weight=False)
    seen = set()
    for batch in range(len(data)):
        images, masks, weights = data[batch]
        assert masks.dtype == np.uint8 and weights.dtype == np.float32
        assert weights.shape == masks.shape
        expected = np.where(masks == 255, 0, 1 + levels[masks] * (10 / 255))
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
        for with_weights, without in zip((images, masks), plain[batch], strict=True):
            np.testing.assert_array_equal(with_weights, without)
        seen |= set(np.unique(masks))
    assert {0, 1, 255} <= seen


def test_a_mask_that_lost_its_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="type uint8.*uint16"):
        photographs(tmp_path, Narrowed)[0]


@pytest.mark.parametrize("make", [photographs, slices])
def test_batches_do_not_depend_on_threads(tmp_path, empty_cache, make):
    kind = SampleDataset if make is photographs else ISBIDataset
    data = make(tmp_path, kind)
    threads = list(mapped(data.__getitem__, range(len(data)), 8, 4))
    assert list(empty_cache.iterdir())
    for batch, found in enumerate(threads):
        for ours, theirs in zip(data[batch], found, strict=True):
            np.testing.assert_array_equal(ours, theirs)


class Row(Dataset):
    """One picture; its mask has two objects, a gap of one pixel, and something unknown."""

    MASK = np.uint8([[1, 1, 0, 2, 255, 0]])

    def __init__(self):
        super().__init__(self.MASK.shape, 3)
        self.image_info = [{}]

    def load(self, index):
        return self.MASK[..., None].repeat(3, axis=-1), self.MASK


def test_sums_by_hand():
    data = Row()
    assert len(data[0]) == 2
    data.border_weight = True
    # e^(-2^2 / 50) and, beyond the second object, e^(-(2 + 4)^2 / 50), in steps of 1/255
    near, far = round(0.9231163 * 255) * 10 / 255, round(0.4867523 * 255) * 10 / 255
    _, masks, weights = data[0]
    np.testing.assert_array_equal(masks[0], data.MASK)
    np.testing.assert_allclose(weights[0], [[1, 1, 1 + near, 1, 0, 1 + far]], rtol=1e-6)
    data.class_weights = (0.5, 2.0, 4.0)
    expected = [[2, 2, 0.5 + near, 4, 0, 0.5 + far]]
    np.testing.assert_allclose(data[0][2][0], expected, rtol=1e-6)
    data.border_weight = False
    np.testing.assert_array_equal(data[0][2][0], [[2, 2, 0.5, 4, 0, 0.5]])


def test_wide_masks_move_as_narrow_ones():
    """Nearest neighbour throughout, and 255 where nothing is: id 255, level 0."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 4, (50, 60), np.uint8)
    image = rng.integers(0, 256, (50, 60, 3), np.uint8)
    wide = mask | np.uint16([7, 100, 200, 255])[mask] << 8
    for change in (augment.photograph, augment.microscopy, augment.elastic, augment.translate):
        for seed in range(20):
            _, narrow = change(image, mask, np.random.default_rng(seed))
            _, moved = change(image, wide, np.random.default_rng(seed))
            assert moved.dtype == np.uint16
            np.testing.assert_array_equal(moved & 255, narrow)
            levels = np.append(np.uint16([7, 100, 200, 255]), np.zeros(252, np.uint16))[narrow]
            np.testing.assert_array_equal(moved >> 8, levels)
