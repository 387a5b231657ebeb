import io

import cv2
import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from core.imaging.draw import (
    class_shares,
    colorize,
    encode_image,
    legend,
    outlined,
    overlay,
    palette_image,
    vivid,
    voc_palette,
)


def test_voc_palette():
    palette = voc_palette()
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {class_id: tuple(map(int, palette[class_id])) for class_id in known} == known
    assert len({tuple(colour) for colour in palette.tolist()}) == 256


def test_colorize_takes_the_model_s_own_colours():
    mask = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(
        colorize(mask, [(1, 2, 3), (4, 5, 6)])[0], [(1, 2, 3), (4, 5, 6), (224, 224, 192)]
    )


def test_the_file_of_a_mask_is_small():
    """Less than four fifths of what Pillow's own quickest way takes, and the same mask."""
    mask = np.zeros((512, 512), np.uint8)
    for n in range(12):
        cv2.circle(mask, (40 * n + 30, 37 * n + 40), 30, n + 1, 3)
    image, usual = palette_image(mask, voc_palette()), io.BytesIO()
    image.save(usual, "PNG", compress_level=1)
    data = encode_image(image)
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), mask)
    assert len(data) < 0.8 * len(usual.getvalue())


ORANGE, BLUE = (255, 94, 0), (100, 123, 255)  # of a middle brightness: `vivid` keeps them


def test_overlay_by_hand():
    """A square of 4x4: its edge is opaque, its inside is mixed, the background stays."""
    image = np.full((6, 6, 3), 100, np.uint8)
    mask = np.zeros((6, 6), np.uint8)
    mask[1:5, 1:5] = 1
    wanted = image.copy()
    wanted[1:5, 1:5] = ORANGE
    wanted[2:4, 2:4] = (139, 98, 75)  # a quarter of orange; 138.75 and 98.5 are rounded
    for given in (image, image[..., :1]):
        np.testing.assert_array_equal(overlay(given, mask, [(0, 0, 0), ORANGE], 0.25), wanted)


def test_a_class_0_that_is_no_background_is_painted():
    mask = np.zeros((3, 6), np.uint8)
    mask[:, 3:] = 1
    laid = overlay(np.zeros((3, 6, 1), np.uint8), mask, [BLUE, ORANGE], 0.5, background=False)
    blue, orange = (50, 62, 128), (128, 47, 0)
    wanted = [blue, blue, BLUE, ORANGE, orange, orange]
    np.testing.assert_allclose(laid, np.broadcast_to(wanted, laid.shape), atol=1)


def test_the_overlay_has_no_seams(rng, monkeypatch):
    """Blocks of every number of rows, against one of all; the outlines also by scikit-image."""
    image = rng.integers(0, 256, (23, 31, 3), np.uint8)
    mask = cv2.resize(
        rng.integers(0, 4, (6, 7), np.uint8), (31, 23), interpolation=cv2.INTER_NEAREST
    )
    palette = voc_palette()[:4]
    whole = overlay(image, mask, palette, 0)
    edges = find_boundaries(mask, mode="thick") & (mask > 0)
    np.testing.assert_array_equal(whole, np.where(edges[..., None], vivid(palette)[mask], image))
    whole = overlay(image, mask, palette)
    for step in (1, 2, 7, 22):
        parts = [slice(first, first + step) for first in range(0, 23, step)]
        monkeypatch.setattr("core.imaging.draw.blocks", lambda mask, parts=parts: parts)
        np.testing.assert_array_equal(overlay(image, mask, palette), whole)


def test_overlays_of_objects_anywhere(rng):
    """None, in the middle, at each edge and in thin masks; the outlines also by scikit-image."""
    palette = voc_palette()[:2]
    colour = vivid(palette)[1].astype(float)
    for shape in ((9, 11), (9, 2), (1, 11), (9, 1)):
        image = rng.integers(0, 256, (*shape, 1), np.uint8)
        mask = np.zeros(shape, np.uint8)
        np.testing.assert_array_equal(overlay(image, mask, palette), image.repeat(3, 2))
        for row, column in np.ndindex(shape):
            mask[:] = 0
            mask[row : row + 4, column : column + 3] = 1
            edges = find_boundaries(mask, mode="inner")[..., None]
            colours = np.where(edges, 1.0, 0.5) * (mask[..., None] > 0) * (colour - image)
            np.testing.assert_allclose(
                overlay(image, mask, palette), image + colours, atol=0.5, err_msg=f"{shape}"
            )


def test_colours_lighten_and_darken():
    """Every colour of VOC, black and white: brighter on black, darker on white, and all differ."""
    palette = [*voc_palette()[:21].tolist(), (255, 255, 255), ORANGE]
    shown = vivid(palette)
    assert len({tuple(colour) for colour in shown.tolist()}) == len(palette)
    assert tuple(shown[-1]) == ORANGE and len(set(shown[0])) == 1
    luma = shown @ (0.299, 0.587, 0.114)
    assert luma.min() > 80 and luma.max() < 180


def test_outlines_alone():
    image = np.full((5, 9, 3), 50, np.uint8)
    mask = np.zeros((5, 9), np.uint8)
    mask[:, 1:4], mask[:, 4:8] = 1, 255
    shown = outlined(image, mask, [(0, 0, 0), ORANGE], hidden=(0, 255))
    assert (shown == ORANGE).all(-1)[2].tolist() == [False, True, False, True, *[False] * 5]
    assert (shown[:, 4:] == 50).all()


def test_the_outlines_of_large_objects_are_two_pixels_wide():
    mask = np.zeros((60, 60), np.uint8)
    mask[5:55, 5:55] = 1
    shown = outlined(np.zeros((60, 60, 1), np.uint8), mask, [(0, 0, 0), ORANGE], hidden=(0,))
    assert (shown == ORANGE).all(-1)[30, :9].tolist() == [*[False] * 5, True, True, False, False]


def test_the_legend_stands_below():
    image = np.full((100, 150, 3), 77, np.uint8)
    laid = legend(image, ["cat", "dog"], [(128, 0, 0), ORANGE])
    np.testing.assert_array_equal(laid[:100], image)
    strip = laid[100:]
    assert len(strip) < 30 and (strip == ORANGE).all(-1).sum() >= 100
    assert (strip == vivid([(128, 0, 0)])[0]).all(-1).sum() >= 100
    assert len(legend(image, ["cat"] * 6, [ORANGE] * 6)) - 100 > len(strip)  # in two lines
    large = legend(image.repeat(20, 0).repeat(20, 1), ["cat"], [ORANGE])
    assert len(large) - 2000 > 50


def test_no_legend_where_nothing_fits():
    image = np.zeros((100, 40, 3), np.uint8)
    assert legend(image, ["a long name"], [ORANGE]) is image
    assert legend(image, [], []) is image
    assert (
        len(legend(image, ["a"], [ORANGE])) > 100 and len(legend(image[:40], ["a"], [ORANGE])) == 40
    )


def test_class_shares():
    mask = np.array([[1, 1, 1, 0]], np.uint8)
    found = class_shares(mask, ("background", "cat", "dog"))
    assert found == [("cat", 3, 0.75), ("background", 1, 0.25)]


def test_shares_are_those_of_all_blocks(rng, monkeypatch):
    """Also where blocks are empty, or hold none of the background."""
    mask = np.zeros((12, 5), np.uint8)
    mask[3:7] = rng.integers(1, 3, (4, 5))
    wanted = np.bincount(mask.ravel(), minlength=3)
    for step in (1, 3, 12):
        parts = [slice(first, first + step) for first in range(0, 12, step)]
        monkeypatch.setattr("core.imaging.draw.blocks", lambda mask, parts=parts: parts)
        found = {name: pixels for name, pixels, _ in class_shares(mask, ("a", "b", "c"))}
        assert [found[name] for name in "abc"] == wanted.tolist()
