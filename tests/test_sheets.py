import numpy as np
import pytest

from core.imaging.draw import vivid
from core.prediction.sheets import cell_width, compare, fitted, outlines

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
MISSED, FALSE, WRONG, PALE = (0, 114, 178), (230, 120, 0), (190, 60, 150), (250, 240, 200)
NAMES = ("background", "cat", "dog")


def pixels(sheet, colour):
    return (sheet == tuple(colour)).all(-1)


def bands(*values):
    """A mask with a vertical band of 40 pixels for each value."""
    return np.repeat(np.uint8(values), 40)[None].repeat(240, 0)


def shown(names=NAMES, truth=(0, 1, 0, 1, 1, 255, 1, 0), prediction=(0, 1, 1, 0, 2, 2, 1, 0)):
    """A sheet of one row of 320x240 pixels, without the legend."""
    image = np.full((240, 320, 1), 60, np.uint8)
    sheet = compare([(image, bands(*truth), bands(*prediction), "cat1")], names, (BLUE, RED, GREEN))
    assert sheet.shape[1] == 4 * 328 + 8
    cells = [sheet[-248:-8, left : left + 320] for left in range(8, 1300, 328)]
    return sheet[:-248], cells


def test_the_four_columns():
    """Cells have the image's size and no padding; the errors are counted by hand."""
    above, (image, truth, prediction, errors) = shown()
    assert (image == 60).all()
    for cell, classes in ((truth, {1: 4}), (prediction, {1: 3, 2: 2})):
        for class_id, colour in enumerate(vivid((BLUE, RED, GREEN))):
            outlined = pixels(cell, colour)
            assert outlined.any() == (class_id in classes)
            assert outlined.sum() < 2 * 4 * 2 * 240  # the inside is free
    band = 40 * 240
    found = [pixels(errors, colour).sum() for colour in (MISSED, FALSE, WRONG, PALE)]
    assert found == [band] * 4
    assert pixels(errors, (177, 177, 177)).sum() == 4 * band  # the image paled: 255 - 0.4 * 195
    for colour in (MISSED, FALSE, WRONG, PALE, *vivid((RED, GREEN))):
        assert pixels(above, colour).any()  # in the legend
    assert not pixels(above, vivid([BLUE])[0]).any()


def test_two_classes_without_a_background():
    """The outlines of one show the other; missed and false are meant of the second one."""
    truth, prediction = (0, 1, 1, 1), (0, 0, 1, 1)
    _, (*_, outlines_of_prediction, errors) = shown(("membrane", "cell"), truth * 2, prediction * 2)
    assert not pixels(outlines_of_prediction, vivid([BLUE])[0]).any()
    assert pixels(errors, MISSED).sum() == 2 * 40 * 240


def test_classes_without_a_background_have_outlines_and_are_only_wrong():
    above, (_, truth, _, errors) = shown(("sky", "cat", "dog"))
    assert pixels(truth, vivid([BLUE])[0]).any()
    assert pixels(errors, WRONG).sum() == 3 * 40 * 240 and not pixels(errors, MISSED).any()


@pytest.mark.parametrize(
    "shape, wide, cell",
    [
        ((100, 200), 320, (160, 320)),  # enlarged
        ((1000, 2000), 448, (224, 448)),  # shrunk
        ((400, 330), 330, (400, 330)),
        ((3000, 10), 320, (960, 3)),  # not higher than three times the width
    ],
)
def test_cells_keep_the_proportions(rng, shape, wide, cell):
    image = rng.integers(0, 256, (*shape, 1), np.uint8)
    assert cell_width([image]) == wide
    assert fitted(image, wide).shape == (*cell, 3)
    mask = fitted(image[..., 0] // 128, wide)
    assert mask.shape == cell and set(np.unique(mask)) <= {0, 1}


def test_images_of_any_sizes_share_a_sheet():
    rows = [
        (np.zeros((*s, 3), np.uint8), *np.zeros((2, *s), np.uint8), "x" * 300)
        for s in ((20, 30), (2000, 500), (3, 5000))
    ]
    sheet = compare(rows, NAMES, (BLUE, RED, GREEN))
    assert sheet.shape[1] == 4 * (448 + 8) + 8  # the median of 30, 500 and 5000 at most


def test_masks_in_outlines():
    """Twelve images of a network's canvas; a caption that is too long is cut."""
    image, mask = np.full((240, 320, 3), 60, np.uint8), bands(0, 0, 1, 1, 1, 0, 0, 255)
    sheet = outlines([(image, mask, "x" * 100)] * 6, NAMES, (BLUE, RED, GREEN))
    assert sheet.shape[1] == 4 * 328 + 8
    assert 500 < len(sheet) < 600  # two rows
    pale = np.array((60, 60, 60)) / 3 + np.array(PALE) * 2 / 3  # what is ignored
    assert pixels(sheet, pale.astype(np.uint8)).sum() == 6 * 40 * 240
    assert pixels(sheet, vivid([RED])[0]).sum() > 6 * 2 * 240
