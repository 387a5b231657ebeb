import numpy as np
import pytest
from conftest import write_isbi, write_voc
from scipy.ndimage import distance_transform_edt, label

from core.dataset import Dataset
from core.imaging import augment
from core.imaging.borders import border_weights, in_one_piece
from core.ISBIdataset import ISBIDataset
from core.sources.choose import SampleDataset
from core.support.threads import mapped
from core.training.losses import SegmentationLoss


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


def test_a_large_mask_as_scipy_s_distances_say():
    rng = np.random.default_rng(3)
    mask = np.zeros((200, 150), np.uint8)
    for _ in range(30):
        y, x = rng.integers(0, 190), rng.integers(0, 140)
        mask[y : y + rng.integers(2, 14), x : x + rng.integers(2, 14)] = rng.choice([1, 2, 255])
    assert_is_scipy_s(mask, border_weights(mask))


def assert_is_scipy_s(mask, weights):
    """The equation with the distances to each object, of another library."""
    distances = []
    for class_id in np.setdiff1d(mask, (0, 255)):
        regions, count = label(mask == class_id)
        distances += [distance_transform_edt(regions != i) for i in range(1, count + 1)]
    expected = np.zeros(mask.shape)
    if len(distances) > 1:
        d1, d2 = np.sort(distances, axis=0)[:2]
        expected = np.where(mask == 0, 10 * np.exp(-((d1 + d2) ** 2) / 50), 0)
    np.testing.assert_allclose(weights, expected, atol=1e-6)


class Tilted(Dataset):
    """A user's own geometry."""

    def augment(self, image, mask, rng):
        return augment.translate(np.rot90(image), np.rot90(mask), rng)


def photographs(tmp_path, kind, border_weight=True):
    lists = write_voc(tmp_path / "voc", size=(60, 48)) / "ImageSets/Segmentation/train.txt"
    options = {"repeats": 4, "border_weight": border_weight}
    source = SampleDataset(lists, 2, (64, 40), 3, True, **options)
    if kind is SampleDataset:
        return source
    data = kind((64, 40), 3, **options)
    data.batch_size, data.image_info, data.aug = 2, source.image_info, True
    return data


def slices(tmp_path, kind, border_weight=True):
    if not (tmp_path / "isbi").exists():
        write_isbi(tmp_path / "isbi", size=64)
    options = {"crop": (48, 40), "repeats": 4, "border_weight": border_weight}
    return kind(tmp_path / "isbi", 2, (64, 64), aug=True, **options)


KINDS = [(photographs, kind) for kind in (SampleDataset, Dataset, Tilted)]
KINDS.append((slices, ISBIDataset))


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_weights_are_those_of_the_augmented_mask(tmp_path, make, kind):
    data, plain = make(tmp_path, kind), make(tmp_path, kind, border_weight=False)
    seen, largest = set(), 0
    for batch in range(len(data)):
        images, masks, weights = data[batch]
        assert masks.dtype == np.uint8 and weights.dtype == np.float32
        assert weights.shape == masks.shape
        assert (weights[masks == 255] == 0).all()
        for mask, found in zip(masks, weights, strict=True):
            assert_is_scipy_s(mask, np.where(mask == 255, 0, found - 1))
        for with_weights, without in zip((images, masks), plain[batch], strict=True):
            np.testing.assert_array_equal(with_weights, without)
        seen |= set(np.unique(masks))
        largest = max(largest, weights.max())
    assert {0, 1, 255} <= seen and (largest > 1) == (make is photographs)  # slices have one cell


@pytest.mark.parametrize("make", [photographs, slices])
def test_batches_do_not_depend_on_threads(tmp_path, make):
    kind = SampleDataset if make is photographs else ISBIDataset
    data = make(tmp_path, kind)
    threads = list(mapped(data.__getitem__, range(len(data)), 8, 4))
    for batch, found in enumerate(threads):
        for ours, theirs in zip(data[batch], found, strict=True):
            np.testing.assert_array_equal(ours, theirs)


class Row(Dataset):
    """One image; its mask has two objects, a gap of one pixel, and something unknown."""

    MASK = np.uint8([[1, 1, 0, 2, 255, 0]])

    def __init__(self, **options):
        super().__init__(self.MASK.shape, 3, **options)
        self.image_info = [{}]

    def load(self, index):
        return self.MASK[..., None].repeat(3, axis=-1), self.MASK


def test_sums_by_hand():
    assert len(Row()[0]) == 2
    # e^(-2^2 / 50) and, beyond the second object, e^(-(2 + 4)^2 / 50)
    near, far = 9.231163, 4.867523
    _, masks, weights = Row(border_weight=True)[0]
    np.testing.assert_array_equal(masks[0], Row.MASK)
    np.testing.assert_allclose(weights[0], [[1, 1, 1 + near, 1, 0, 1 + far]], rtol=1e-6)
    # With class weights, the loss adds the border weight to that of the class.
    logits = np.zeros((1, 1, 6, 3), np.float32)
    for class_weights, given, expected in (
        ((), None, [1, 1, 1, 1, 1]),
        ((), weights, [1, 1, 1 + near, 1, 1 + far]),
        ((0.5, 2.0, 4.0), weights, [2, 2, 0.5 + near, 4, 0.5 + far]),
        ((0.5, 2.0, 4.0), None, [2, 2, 0.5, 4, 0.5]),
    ):
        loss = SegmentationLoss("crossentropy", class_weights)(masks, logits, given)
        assert float(loss) == pytest.approx(np.mean(expected) * np.log(3), rel=1e-5)


def test_objects_that_are_partly_hidden_are_still_in_one_piece():
    """A pixel apart, or one object in ten in two halves; not more."""
    mask = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((6, 6), int))
    assert in_one_piece(mask)
    mask[0, 23] = 1  # far from its object, and in that of 4
    assert in_one_piece(mask)
    mask[2:4, 6:12] = 1  # the second object is in two halves
    assert in_one_piece(mask)
    mask[2:4, 12:18] = 1
    assert not in_one_piece(mask)
