import re

import numpy as np
import pytest

from core.imaging.draw import voc_palette
from core.imaging.mask import (
    check_objects,
    count_values,
    explain,
    grey,
    rgb_numbers,
    to_ids,
)
from core.sources.own.values import understand
from core.support.errors import UserError


def counted(mask):
    """Counts the values of a mask."""
    return count_values(np.array(mask, np.uint8))


def found(*masks):
    """Counts the values of several masks, by their names."""
    return {f"my/masks/{i}.png": counted(mask) for i, mask in enumerate(masks)}


COLOURS = voc_palette()[[[0, 1], [2, 255]]]


def test_values_are_counted():
    assert counted([[0, 3], [3, 255]]) == {0: 1, 3: 2, 255: 1}
    assert counted([[[7, 7, 7], [0, 0, 0]]]) == {0: 1, 7: 1}
    assert counted(COLOURS) == {"#000000": 1, "#800000": 1, "#008000": 1, "#e0e0c0": 1}
    assert rgb_numbers(np.array([1, 2, 3], np.uint8)) == 0x010203


def test_greys_stored_as_colours_are_greys():
    assert grey(COLOURS) is None
    assert grey(np.full((2, 2, 3), 9, np.uint8)).tolist() == [[9, 9], [9, 9]]


@pytest.mark.parametrize(
    ("masks", "num_classes", "reading"),
    [
        ([[[0, 1]], [[0, 0]]], 2, "ids"),
        ([[[2, 2]]], 3, "ids"),
        ([[[0, 255]], [[0, 0]]], 2, "black-and-white"),
        ([[[[0, 0, 0], [255, 255, 255]]]], 2, "black-and-white"),
        ([COLOURS], 3, "colours"),
        ([COLOURS, [[0, 0], [0, 0]]], 3, "colours"),
        ([voc_palette()[[[0, 7]]], voc_palette()[[[0, 8]]]], 9, "colours"),  # 7 is a car, and grey
        ([[[255, 0]], [[7, 1]]], 3, "ids"),  # the 7 is named when that mask is read
        ([[[0, 1], [0, 255]], [[0, 255]]], 2, "ids"),
    ],
)
def test_masks_are_understood(masks, num_classes, reading):
    assert understand(found(*masks), num_classes, "my/masks") == reading


@pytest.mark.parametrize(
    ("masks", "num_classes", "message"),
    [
        ([[[0, 255]]], 3, "nothing but 0 and 255, and there are 3 classes.*--num-classes 2"),
        ([[[0, 0]]], 2, "nothing but 0. Objects need"),
        ([COLOURS], 2, "0.png: has #008000, not VOC's colours for 2 classes"),
        ([[[[1, 2, 3], [0, 0, 0]]]], 2, "0.png: has #010203.*Save class ids"),
        ([COLOURS, [[0, 1], [1, 0]]], 3, "1.png: has 1, not VOC's .*0.png has colours"),
        ([[[0, 1]], [[0, 255]]], 2, "1.png: holds 0 and 255, but my/masks/0.png holds 0 and 1"),
    ],
)
def test_ambiguous_masks_are_refused_with_the_choice(masks, num_classes, message):
    with pytest.raises(UserError, match=f"my/masks.*{message}"):
        understand(found(*masks), num_classes, "my/masks")


@pytest.mark.parametrize(
    ("values", "num_classes", "message"),
    [
        ([1, 2, 3], 3, "pixel value 3 is neither .* off by one: 3 classes have the ids 0 to 2"),
        (range(0, 256, 3), 3, "and 80 others is neither .*JPEG file"),
        ([0, 85, 170], 3, "85, 170 is neither .*spread over the greys: divide by 85"),
        ([0, 9], 3, "pixel value 9 is neither .*Write class ids"),
    ],
)
def test_wrong_values_are_explained(values, num_classes, message):
    assert re.search(message, explain(counted([list(values)]), num_classes))


def test_to_ids():
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    np.testing.assert_array_equal(to_ids(ids, "ids", "m"), ids)
    np.testing.assert_array_equal(to_ids(COLOURS, "colours", "m"), ids)
    np.testing.assert_array_equal(to_ids(np.zeros((2, 2), np.uint8), "colours", "m"), 0 * ids)
    black = np.array([[0, 255]], np.uint8)
    np.testing.assert_array_equal(to_ids(black, "black-and-white", "m"), [[0, 1]])
    every = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(to_ids(voc_palette()[every], "colours", "m"), every)


@pytest.mark.parametrize(
    ("mask", "reading", "message"),
    [
        (COLOURS, "ids", "one class id a pixel, but this file has colours"),
        ([[0, 1]], "black-and-white", "other values than 0 and 255"),
        ([[[1, 2, 3]]], "colours", "other colours than VOC's"),
        ([[5]], "colours", "other colours than VOC's"),
    ],
)
def test_masks_unlike_the_others_are_refused(mask, reading, message):
    with pytest.raises(UserError, match=f"m.png: .*{message}"):
        to_ids(np.array(mask, np.uint8), reading, "m.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([255], "nothing but 255"),
        ([0], "hold no object, only 0[.]"),
        ([0, 255], "only 0 and 255[.]"),
    ],
)
def test_too_little_to_learn_from(values, message):
    with pytest.raises(UserError, match=f"^data: all masks .*{message}"):
        check_objects(np.bincount(values, minlength=256), 2, "data")


def test_one_object_is_enough():
    check_objects(np.bincount([0, 1], minlength=256), 2, "data")
