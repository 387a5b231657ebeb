"""Masks with palettes: read by index, by colour where indices differ, refused where both fail."""

import numpy as np
import pytest
from PIL import Image

from core.evaluation.check import survey
from core.imaging.draw import voc_palette
from core.imaging.image import read_indexed
from core.imaging.mask import find_clash
from core.sources.folder import FolderDataset
from core.sources.own.palettes import find_out
from core.support.errors import UserError
from tests.conftest import save_grey_model, write_voc

VOC = [tuple(colour) for colour in voc_palette()[:4].tolist()]  # black, red, green, yellow
BLACK, RED, GREEN = (0, 0, 0), (220, 40, 40), (40, 220, 40)
WHITE, GREY1, GREY2 = (255, 255, 255), (1, 1, 1), (2, 2, 2)


def write_mask(path, indices, palette):
    """Writes a mask of one row of pixels with a palette of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array([indices], np.uint8))
    image.putpalette([part for colour in palette for part in colour])
    image.save(path)


def write(folder, *masks):
    """Writes images and their masks, `(indices, palette)` of each, or an array of greys or RGB."""
    (folder / "images").mkdir(parents=True)
    for number, mask in enumerate(masks):
        path = folder / f"masks/{number}.png"
        path.parent.mkdir(exist_ok=True)
        if isinstance(mask, tuple):
            write_mask(path, *mask)
        else:
            Image.fromarray(np.array([mask], np.uint8)).save(path)
        width = Image.open(path).width
        Image.new("RGB", (width, 1), (9 * number, 0, 0)).save(folder / f"images/{number}.png")
    return folder


def ids(dataset):
    return [dataset.load(i)[1][0].tolist() for i in range(len(dataset.image_info))]


CASES = [
    # one palette, also one that is cut short: by index, whatever the colours
    ([([0, 1], [BLACK, RED]), ([0, 2], [BLACK, RED, GREEN])], "ids", [[0, 1], [0, 2]]),
    # an entry that no pixel uses may be anything
    ([([0, 1], [BLACK, RED]), ([0, 2], [BLACK, WHITE, GREEN])], "ids", [[0, 1], [0, 2]]),
    # two classes of one colour, in one palette: the index tells
    ([([0, 1], [BLACK, RED, RED]), ([0, 2], [BLACK, RED, RED])], "ids", [[0, 1], [0, 2]]),
    # greys, or a palette of the indices' own greys, beside colours
    ([([0, 1], [BLACK, RED]), [0, 2], ([0, 1, 2], [BLACK, GREY1, GREY2])], "ids",
     [[0, 1], [0, 2], [0, 1, 2]]),
    # 255 is ignored, however it is shown
    ([([0, 255, 1], [BLACK, RED] + 254 * [BLACK]),
      ([0, 255, 2], [BLACK, RED, GREEN] + 252 * [BLACK] + [WHITE])],
     "ids", [[0, 255, 1], [0, 255, 2]]),
    # VOC's colours, quantized one by one
    ([([0, 1, 1], [VOC[0], VOC[1]]), ([0, 1, 1], [VOC[2], VOC[0]])], "colours",
     [[0, 1, 1], [2, 0, 0]]),
    # one colour with two indices; the other index is not used
    ([([0, 1], [VOC[0], VOC[1]]), ([0, 2], [VOC[0], VOC[3], VOC[1]])], "colours", [[0, 1], [0, 1]]),
    # VOC's colours with and without palettes
    ([([0, 1, 2], VOC), [VOC[2], VOC[0]]], "colours", [[0, 1, 2], [2, 0]]),
    # greys that are ids, quantized one by one
    ([([0, 1], [BLACK, GREY2]), ([0, 1, 0], [GREY1, BLACK])], "ids", [[0, 2], [1, 0, 1]]),
]  # fmt: skip


@pytest.mark.parametrize(("masks", "reading", "wanted"), CASES)
def test_masks_are_read_as_they_are_meant(tmp_path, masks, reading, wanted):
    dataset = FolderDataset(write(tmp_path, *masks), num_classes=3)
    assert (dataset.reading, ids(dataset)) == (reading, wanted)
    flat = sum(wanted, [])
    pixels = survey(dataset).pixels[:3]
    assert dataset.check().any() and pixels.tolist() == [flat.count(i) for i in range(3)]


def test_black_and_white_of_any_order(tmp_path):
    masks = ([0, 1, 1], [BLACK, WHITE]), ([0, 1, 1], [WHITE, BLACK])
    dataset = FolderDataset(write(tmp_path, *masks), num_classes=2)
    assert (dataset.reading, ids(dataset)) == ("black-and-white", [[0, 1, 1], [1, 0, 0]])
    again = FolderDataset(tmp_path, num_classes=2, reading="black-and-white")
    assert ids(again) == ids(dataset)
    with pytest.raises(UserError, match="look like black-and-white, but .* read as ids"):
        FolderDataset(tmp_path, num_classes=2, reading="ids")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (([0, 1], [BLACK, RED]), ([0, 1], [BLACK, GREEN]),
         "index 1 is #dc2828 in .*0.png, and #28dc28 in .*1.png"),
        (([0, 1], [BLACK, RED]), ([0, 2], [BLACK, GREEN, RED]),
         "#dc2828 is index 1 in .*0.png, and 2 in .*1.png"),
        (([0, 1], VOC), ([0, 1, 2], [VOC[0], VOC[3], VOC[1]]),
         "index 1 is #800000 in .*0.png, and #808000 in .*1.png"),  # which is VOC's fourth class
    ],
)  # fmt: skip
@pytest.mark.parametrize("reading", [None, "ids"])
def test_colours_that_nobody_explains_are_refused(tmp_path, first, second, message, reading):
    write(tmp_path, first, second)
    with pytest.raises(UserError, match=f"masks: {message}[.] It is not known which class"):
        FolderDataset(tmp_path, num_classes=3, reading=reading)


def test_pages_have_palettes_of_their_own(tmp_path):
    for name, palettes in (("masks", ([BLACK, RED], [RED, BLACK])), ("images", 2 * [[BLACK, RED]])):
        pages = [Image.fromarray(np.array([[0, 1]], np.uint8)) for _ in palettes]
        for page, palette in zip(pages, palettes, strict=True):
            page.putpalette([part for colour in palette for part in colour])
        (tmp_path / name).mkdir()
        pages[0].save(tmp_path / name / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="index 0 is #000000 in .*a.tif, and #dc2828 in .*a.tif"):
        FolderDataset(tmp_path)


def test_training_and_validation_are_compared(tmp_path, call):
    write(tmp_path / "own", ([0, 1], [BLACK, RED]), ([0, 1], [BLACK, RED]))
    write(tmp_path / "own/val", ([0, 1], [RED, BLACK]))
    args = ("train", "--data", tmp_path / "own", "--num-classes", 2, "--filters", 1)
    for flag in ("--epochs=1", "--check-data"):
        status, _, err = call(*args, flag)
        assert (status, err.count("\n")) == (2, 1)
        assert "index 0 is #000000" in err and "#dc2828" in err


def test_masks_in_voc_s_layout(tmp_path, call):
    """They are read by index; where that means two things, it is refused."""
    voc = write_voc(tmp_path / "voc", size=(8, 8))
    names = ("--class-names", "background,a,b", "--filters", 1)
    assert call("train", "--data", voc, *names, "--check-data")[0] == 0
    path = voc / "SegmentationClass/picture1.png"  # of validation
    image = Image.open(path)
    image.load()
    colours = voc_palette()
    colours[[1, 2]] = colours[[2, 1]]
    image.putpalette(colours.tobytes())
    image.save(path)
    for flag in ("--epochs=1", "--check-data"):
        status, _, err = call("train", "--data", voc, *names, flag)
        assert (status, err.count("\n")) == (2, 1)
        assert "index 1 is #800000 in" in err or "index 1 is #008000 in" in err
        assert "picture1.png" in err and "Save class ids" in err
    save_grey_model("model.keras", data=str(voc))
    status, out, err = call("evaluate", "--weights", "model.keras")
    assert (status, out) == (2, "") and "picture1.png. Save class ids" in err


def test_one_palette_is_not_compared(tmp_path, monkeypatch):
    """It costs nothing then: no mask is read again."""
    voc = write_voc(tmp_path / "voc", size=(8, 8))
    monkeypatch.setattr("core.imaging.mask.read_indexed", None)
    from core.VOCdataset import VOCDataset

    data = VOCDataset(voc / "ImageSets/Segmentation/train.txt", num_classes=3, workers=2)
    assert data.check().all() and len(data.palettes) == 1


def test_palettes_are_those_of_the_file(tmp_path):
    write_mask(tmp_path / "a.png", [0, 2], [BLACK, RED, GREEN])
    values, palette = read_indexed(tmp_path / "a.png")
    assert (values.tolist(), palette.tolist()) == ([[0, 2]], [[*BLACK], [*RED], [*GREEN]])
    Image.new("L", (2, 1), 3).save(tmp_path / "b.png")
    assert read_indexed(tmp_path / "b.png")[1] is None
    assert find_clash([("a", [0, 2], palette), ("b", [3], None)]) is None


def test_unreadable_masks_are_left_to_the_check(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    infos = [{"mask_path": tmp_path / "a.png"}, {"mask_path": tmp_path / "none.png"}]
    assert find_out(infos, ("a", "b"), tmp_path)[:2] == ("ids", False)
