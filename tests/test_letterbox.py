import cv2
import numpy as np
import pytest

from core.imaging.letterbox import (
    decide,
    halved,
    letterbox,
    letterbox_mask,
    padded,
    placement,
    shrink,
    undo_letterbox,
)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((375, 500), (320, 320), (40, 0, 240, 320)),
        ((500, 375), (320, 320), (0, 40, 320, 240)),
        ((333, 500), (320, 320), (53, 0, 213, 320)),  # 213.12; int(h * scale) could give 212
        ((320, 320), (320, 320), (0, 0, 320, 320)),
        ((1, 5000), (32, 32), (15, 0, 1, 32)),  # never less than one pixel
        ((10, 20), (64, 32), (24, 0, 16, 32)),  # enlarged
    ],
)
def test_placement(shape, size, expected):
    assert placement(shape, size) == expected


def test_letterbox_fills_with_grey_and_255():
    image, mask = np.zeros((10, 20, 3), np.uint8), np.ones((10, 20), np.uint8)
    box, ids = letterbox(image, (32, 32)), letterbox_mask(mask, (32, 32))
    assert box.shape == (32, 32, 3) and box.dtype == ids.dtype == np.uint8
    assert (box[:8] == 128).all() and (box[8:24] == 0).all() and (box[24:] == 128).all()
    assert (ids[:8] == 255).all() and (ids[8:24] == 1).all() and (ids[24:] == 255).all()


def test_letterbox_keeps_a_single_channel():
    assert letterbox(np.zeros((10, 20, 1), np.uint8), (32, 48)).shape == (32, 48, 1)


@pytest.mark.parametrize("side", [40, 44, 50, 60, 70, 76, 80, 100])
def test_what_shrinks_is_averaged(rng, side):
    """Against the average over areas: hardly more of what is too fine for the canvas is left."""
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3), np.uint8), (0, 0), 3)
    noise = rng.integers(0, 256, (side, side, 3), np.uint8)
    for image in (smooth, noise):
        ours = letterbox(image, (40, 40)).astype(float)
        area = cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA).astype(float)
        if image is smooth:
            assert np.abs(ours - area).max() <= 3
        assert 0.95 * area.std() < ours.std() < 1.2 * area.std()


@pytest.mark.parametrize(
    "shape", [(375, 500, 3), (333, 500, 1), (97, 31, 3), (33, 20, 3), (9, 8, 1)]
)
@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_the_letterbox_of_what_shrank_is_the_same(rng, shape, size):
    image = rng.integers(0, 256, shape, np.uint8)
    mask = rng.integers(0, 4, shape[:2]).astype(np.uint16)
    small, ids = shrink(image, mask, size)
    assert small.shape == (*ids.shape, shape[2]) and ids.dtype == np.uint16
    assert ids.shape == tuple(map(min, shape[:2], placement(shape, size)[2:]))
    np.testing.assert_array_equal(letterbox(small, size), letterbox(image, size))
    np.testing.assert_array_equal(letterbox_mask(ids, size), letterbox_mask(mask, size))


@pytest.mark.parametrize(
    "shape, halves",
    [
        ((320, 512, 3), 1),
        ((322, 510, 1), 1),
        ((321, 510, 1), 0),
        ((318, 254, 3), 1),
        ((160, 126, 3), 1),
        ((512, 321, 3), 0),
        ((158, 126, 3), 0),
    ],
)
def test_the_letterbox_of_a_half_is_the_same(rng, shape, halves):
    size = (40, 32)
    image = rng.integers(0, 256, shape, np.uint8)
    half = halved(image, size)
    assert half.shape[:2] == tuple(n >> halves for n in shape[:2])
    np.testing.assert_array_equal(letterbox(half, size), letterbox(image, size))
    if halves:
        whole = image.reshape(shape[0] // 2, 2, shape[1] // 2, 2, shape[2])
        assert abs(whole.mean((1, 3)) - half).max() <= 0.75


def test_masks_get_no_new_ids(rng):
    mask = rng.choice(np.array([0, 3, 17, 255], np.uint8), (37, 53))
    for size in ((16, 16), (96, 64)):
        assert set(np.unique(letterbox_mask(mask, size))) <= {0, 3, 17, 255}


def test_image_and_mask_lie_upon_each_other():
    mask = np.zeros((60, 90), np.uint8)
    mask[20:41, 33:71] = 1
    image = (mask * 200)[..., None]
    for size in ((32, 32), (160, 128)):
        box, ids = letterbox(image, size)[..., 0], letterbox_mask(mask, size)
        known = ids != 255
        assert ((box > 100) == (ids == 1))[known].mean() > 0.995


@pytest.mark.parametrize(
    ("side", "scaled"),
    [(192, 96), (192, 64), (192, 48), (192, 32), (192, 128), (192, 144), (160, 128), (96, 144)],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_masks_lie_where_their_images_lie(side, scaled, axis):
    """An edge of the mask is where the grey, which rises over 13 pixels, has half its height.

    Of edges at all places, in pixels of the canvas. At 1/2, every centre of a pixel of the canvas
    lies between two pixels of the mask. One of them is the nearest in half of the cases.
    """
    shifts = []
    for edge in range(side // 4, side // 4 + side // 2):
        mask = np.zeros((side, side), np.uint8)
        mask[edge:] = 1
        rise = np.clip((np.arange(side) + 0.5 - edge) / 13 + 0.5, 0, 1) * 255
        image = np.repeat(np.round(rise).astype(np.uint8)[:, None], side, 1)
        if axis:
            mask, image = mask.T, image.T
        image, mask = np.ascontiguousarray(image)[..., None], np.ascontiguousarray(mask)
        box, ids = letterbox(image, (scaled, scaled))[..., 0], letterbox_mask(mask, (scaled,) * 2)
        assert (ids == ids.take([0], 1 - axis)).all()
        shifts.append(box.mean(1 - axis).sum() / 255 - ids.mean(1 - axis).sum())
    assert abs(np.mean(shifts)) < 0.02
    assert np.abs(shifts).max() < 0.6  # a quarter for the tie, or half a pixel, and rounded greys


def test_ties_of_nearest_neighbours_by_hand():
    """Pixel x of the canvas lies between pixels 2x and 2x + 1 of the mask, which take turns."""
    row = np.arange(8, dtype=np.uint8)
    assert letterbox_mask(np.tile(row, (8, 1)), (4, 4)).tolist() == [[0, 3, 4, 7]] * 4
    assert letterbox_mask(np.tile(row[:, None], 8), (4, 4))[:, 0].tolist() == [0, 3, 4, 7]
    # At 3/4, pixels 1, 4, ... lie between two: 4x/3 + 2/3 is 2, 6, ...
    assert letterbox_mask(np.tile(row, (8, 1)), (6, 6))[0].tolist() == [0, 2, 3, 4, 5, 7]


@pytest.mark.parametrize("shape", [(375, 500), (333, 500), (97, 31), (20, 33), (2000, 3001)])
@pytest.mark.parametrize("size", [(320, 320), (64, 96), (213, 320)])
def test_without_ties_the_nearest_is_opencv_s(rng, shape, size):
    mask = rng.integers(0, 9, shape, np.uint8)
    _, _, height, width = placement(shape, size)
    wanted = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    centres = [(2 * np.arange(m) + 1) * n / m for n, m in zip(shape, wanted.shape, strict=True)]
    rows, columns = (centre % 2 != 0 for centre in centres)
    found = letterbox_mask(mask, size)
    top, left = ((n - m) // 2 for n, m in zip(size, wanted.shape, strict=True))
    found = found[top : top + height, left : left + width]
    np.testing.assert_array_equal(found[rows][:, columns], wanted[rows][:, columns])


def test_undo_letterbox_returns_to_the_image(rng):
    mask = np.zeros((45, 70), np.uint8)
    mask[10:30, 20:50] = 1
    scores = np.eye(2, dtype=np.float32)[letterbox_mask(mask, (96, 96)) % 255]
    back = undo_letterbox(scores, mask.shape)
    assert back.shape == (45, 70, 2)
    np.testing.assert_array_equal(back.argmax(-1), mask)


def test_undo_letterbox_interpolates_bilinearly():
    scores = np.array([0, 1], np.float32).reshape(1, 2, 1)  # an image of 1x4 on a canvas of 1x2
    np.testing.assert_allclose(undo_letterbox(scores, (2, 4))[0, :, 0], [0, 0.25, 0.75, 1])


def decided(*args):
    """The classes and their scores, put together from blocks."""
    _, *arrays = zip(*decide(*args), strict=True)
    return map(np.concatenate, arrays)


@pytest.mark.parametrize("shape", [(8, 12), (30, 20), (16, 16), (5, 5), (1, 40)])
def test_the_class_map_is_where_the_resized_scores_are_highest(rng, shape):
    scores = rng.random((16, 16, 140)).astype(np.float32)
    found, _ = decided(scores, shape)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, undo_letterbox(scores, shape).argmax(-1))
    np.testing.assert_array_equal(next(decided(scores)), scores.argmax(-1))


@pytest.mark.parametrize("sharpness", [0, 0.1, 9])
def test_a_decision_is_the_highest_of_the_resized_probabilities(rng, sharpness):
    """Also where most classes are unlikely everywhere, or all are alike."""
    scores = np.exp(sharpness * rng.normal(size=(16, 16, 6)) - 2 * sharpness * np.arange(6))
    scores = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
    for shape in ((30, 20), (70, 50), (16, 16)):
        classes, best = decided(scores, shape)
        wanted = undo_letterbox(scores, shape)
        np.testing.assert_array_equal(classes, wanted.argmax(-1))
        np.testing.assert_array_equal(best, wanted.max(-1))


@pytest.mark.parametrize("shape", [(1400, 1000), (700, 2000), (10**6, 2), (9000, 30)])
def test_large_images_are_interpolated_block_by_block(rng, shape):
    """Enlarged between 11 and 18 times; 2 pixels wide, also made smaller."""
    values = np.exp(4 * rng.normal(size=(113, 131, 4)) - np.arange(4))
    scores = (values / values.sum(-1, keepdims=True)).astype(np.float32)
    top, left, height, width = placement(shape, scores.shape[:2])
    found = undo_letterbox(scores, shape)
    for class_id in range(4):
        plane = scores[top : top + height, left : left + width, class_id].copy()
        wanted = cv2.resize(plane, shape[::-1])
        np.testing.assert_allclose(found[..., class_id], wanted, atol=1e-5)
    classes, best = decided(scores, shape)
    np.testing.assert_array_equal(classes, found.argmax(-1))
    np.testing.assert_array_equal(best, found.max(-1))


def test_of_equal_scores_the_first_class_wins():
    assert next(decided(np.array([[[0.2, 0.4, 0.4]]], np.float32))).tolist() == [[1]]


def test_padding_and_cutting_by_hand():
    """2x4 to 4x2: a row of grey and 255 above and below, the two columns in the middle."""
    image = np.arange(8, dtype=np.uint8).reshape(2, 4, 1)
    out, ids = padded(image, image[..., 0], (4, 2))
    assert out[..., 0].tolist() == [[128, 128], [1, 2], [5, 6], [128, 128]]
    assert ids.tolist() == [[255, 255], [1, 2], [5, 6], [255, 255]]
    same = padded(image, image[..., 0], (2, 4))
    assert np.array_equal(same[0], image) and np.array_equal(same[1], image[..., 0])
