import numpy as np
from PIL import Image

from core.imaging.draw import (
    class_shares,
    colorize,
    contact_sheet,
    draw_curves,
    overlay,
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


def test_overlay_leaves_the_background():
    image = np.full((1, 2, 3), 100, np.uint8)
    mask = np.array([[0, 1]], np.uint8)
    laid = overlay(image, mask, [(0, 0, 0), (200, 0, 0)], alpha=0.25)
    np.testing.assert_array_equal(laid[0], [(100, 100, 100), (125, 75, 75)])
    assert overlay(image[..., :1], mask, [(0, 0, 0), (200, 0, 0)]).shape == (1, 2, 3)


def test_overlay_lightens_dark_colours():
    """Also black of a class that is not the background."""
    palette = [(0, 0, 0), (64, 0, 16), (0, 128, 0)]
    mask = np.array([[0, 1, 2]], np.uint8)
    laid = overlay(np.zeros((1, 3, 3), np.uint8), mask, palette, alpha=1, background=False)
    np.testing.assert_array_equal(laid[0], [(128, 128, 128), (128, 64, 80), (0, 128, 0)])
    np.testing.assert_array_equal(colorize(mask, palette)[0], palette)


def test_class_shares():
    mask = np.array([[1, 1, 1, 0]], np.uint8)
    found = class_shares(mask, ("background", "cat", "dog"))
    assert found == [("cat", 3, 0.75), ("background", 1, 0.25)]


def test_contact_sheet_shows_every_row(tmp_path):
    palette = [(0, 0, 0), (250, 0, 0), (0, 250, 0)]
    image = np.full((20, 30, 3), 77, np.uint8)
    rows = [
        (image, np.full((20, 30), 1, np.uint8), np.full((20, 30), 2, np.uint8), f"row {i}")
        for i in range(3)
    ]
    contact_sheet(tmp_path / "sheet.png", rows, ("background", "cat", "dog"), palette, cell=40)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    shares = {
        colour: (sheet == colour).all(-1).sum()
        for colour in ((77, 77, 77), (250, 0, 0), (0, 250, 0))
    }
    # 3 rows of 40 x 27 pixels each, and 11 x 11 of the legend's squares
    assert shares == {(77, 77, 77): 3240, (250, 0, 0): 3240 + 121, (0, 250, 0): 3240 + 121}


def test_curves_for_one_epoch_many_and_nan(tmp_path):
    rows = [
        {"epoch": i, "loss": 1 / i, "val_loss": float("nan"), "miou": 0.1 * i, "val_miou": 0.1 * i}
        for i in range(1, 8)
    ]
    for count in (1, 7):
        draw_curves(tmp_path / "curves.png", rows[:count])
        sheet = np.asarray(Image.open(tmp_path / "curves.png"))
        assert sheet.shape == (380, 1000, 3)
    assert ((sheet == (31, 119, 180)).all(-1)).sum() > 500
