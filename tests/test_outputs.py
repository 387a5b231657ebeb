"""predict.py as a whole, with a model that tells classes by their grey."""

import csv
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.imaging.image import read_mask, read_values
from core.prediction import inputs, table
from core.support.files import alone_in
from tests.conftest import GREYS, NAMES, save_grey_model, without_the_model

ROOT = Path(__file__).parent.parent


@pytest.fixture
def predict(call):
    """Returns a function that runs predict.py with the grey model."""

    def run(*args):
        return without_the_model(call("predict", "--weights", "model.keras", *args))

    save_grey_model("model.keras")
    return run


def bands(height=40, width=48, mode="RGB"):
    """A picture with a third of its width for each class, and its mask."""
    mask = np.repeat([0, 1, 2], width // 3)[None].repeat(height, 0).astype(np.uint8)
    return Image.fromarray(np.array(GREYS, np.uint8)[mask]).convert(mode), mask


def written(folder="predictions/model"):
    """All files but the table."""
    files = sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())
    return [name for name in files if name != table.NAME]


def rows(folder="predictions/model"):
    """The lines of the table that count, dictionaries by its header."""
    found = []
    with open(Path(folder, table.NAME), encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row["mask"]:  # of a program that was killed
                found = [other for other in found if other["file"] != row["file"]]
            else:
                found.append(row)
    return found


def assert_the_table_is_true(folder="predictions/model"):
    """It lists the masks that are there, each for one image, with its pixels."""
    listed = {row["mask"]: row["file"] for row in rows(folder)}
    assert sorted(listed) == [name for name in written(folder) if "_mask." in name]
    assert len(set(listed.values())) == len(listed)
    found = {
        (row["mask"], int(row["page"]), NAMES.index(row["class"])): int(row["pixels"])
        for row in rows(folder)
    }
    assert len(found) == len(rows(folder))
    for name in listed:
        with Image.open(Path(folder, name)) as mask:
            pages = range(getattr(mask, "n_frames", 1))
        masks = {page: read_mask(Path(folder, name), page) for page in pages}
        wanted = {
            (name, page, int(class_id)): int(pixels)
            for page, values in masks.items()
            for class_id, pixels in zip(*np.unique(values, return_counts=True), strict=True)
        }
        assert {key: pixels for key, pixels in found.items() if key[0] == name} == wanted


def test_a_picture(predict):
    picture, mask = bands(mode="L")
    picture.save("cat.png")
    status, out, err = predict("cat.png", "--precision", "float32")
    assert (status, out) == (0, "cat.png: background 33.3%, a 33.3%, b 33.3%\n")
    assert err == (
        "predictions/model: masks, overlays and predictions.csv by model.keras, in float32.\n"
    )
    assert written() == ["cat_mask.png", "cat_overlay.png"]
    found = Image.open("predictions/model/cat_mask.png")
    assert found.mode == "P" and found.getpalette()[:9] == [0, 0, 0, 200, 0, 0, 0, 200, 0]
    np.testing.assert_array_equal(found, mask)
    overlay = np.asarray(Image.open("predictions/model/cat_overlay.png"))
    np.testing.assert_array_equal(
        # Halves of the image and of the classes' colours, which are (255, 40, 40) and (0, 235, 0).
        overlay[0, [0, 20, 40]],
        [[128] * 3, [138, 30, 30], [116, 233, 116]],
    )


def test_the_legend_below_the_overlay(predict):
    """It has the classes that are painted; the mask keeps the image's size."""
    picture, _ = bands(mode="L")
    picture.resize((192, 160), Image.Resampling.NEAREST).save("cat.png")
    assert predict("cat.png")[0] == 0
    assert Image.open("predictions/model/cat_mask.png").size == (192, 160)
    strip = np.asarray(Image.open("predictions/model/cat_overlay.png"))[160:]
    assert 20 < len(strip) < 30
    for colour, there in (((90, 90, 90), False), ((255, 40, 40), True), ((0, 235, 0), True)):
        assert (strip == colour).all(-1).any() == there


def test_the_legend_names_what_the_terminal_names(predict):
    """Classes of less than 0.05 % are in predictions.csv only."""
    grey = np.full((160, 192), GREYS[1], np.uint8)
    grey[80, :10] = GREYS[2]
    Image.fromarray(grey).save("cat.png")
    assert predict("cat.png", "--tile")[:2] == (0, "cat.png: a 100.0%\n")
    assert "cat.png,0,b,10," in Path("predictions/model/predictions.csv").read_text()
    strip = np.asarray(Image.open("predictions/model/cat_overlay.png"))[160:]
    assert (strip == (255, 40, 40)).all(-1).any() and not (strip == (0, 235, 0)).all(-1).any()


@pytest.mark.parametrize("kind", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("tile", ["--tile", "--no-tile"])
def test_pictures_of_every_kind(predict, kind, tile):
    picture, mask = bands()
    if kind in ("I;16", "F"):
        grey = np.asarray(picture.convert("L"), np.float32) / 255
        picture = Image.fromarray((grey * 65535).astype(np.uint16) if kind == "I;16" else grey)
    else:
        picture = picture.convert(kind)
    picture.save("picture.tif")
    assert predict("picture.tif", tile)[0] == 0
    found = read_mask("predictions/model/picture_mask.png")
    if kind == "1":  # dithered to black and white: neither is as grey as background
        assert set(np.unique(found)) == {1, 2}
    else:
        np.testing.assert_array_equal(found, mask)


def test_the_mask_lies_as_a_viewer_shows_the_picture(predict):
    picture, mask = bands()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned a quarter clockwise
    picture.save("phone.png", exif=exif)
    assert predict("phone.png")[0] == 0
    np.testing.assert_array_equal(read_mask("predictions/model/phone_mask.png"), np.rot90(mask, -1))
    assert Image.open("predictions/model/phone_overlay.jpg").size == (40, 48)


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3), (2, 33000)])
@pytest.mark.parametrize("tile", ["--tile", "--no-tile"])
def test_odd_sizes(predict, size, tile):
    Image.new("L", size, GREYS[2]).save("odd.png")
    assert predict("odd.png", tile)[0] == 0
    found = read_mask("predictions/model/odd_mask.png")
    assert found.shape == size[::-1] and (found == 2).all()


def test_folders_keep_their_shape(predict):
    for name in ("in/one.png", "in/süb folder/one.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        bands()[0].save(name)
    status, out, _ = predict("in")
    assert status == 0 and out.count("\n") == 2
    assert written() == [
        "one_mask.png",
        "one_overlay.jpg",
        "süb folder/one_mask.png",
        "süb folder/one_overlay.jpg",
    ]


def test_names_do_not_collide(predict):
    """Three pictures of one name, twice in another order: each keeps its files."""
    greys = dict(zip(("a/cat.png", "b/cat.png", "b/cat.jpg"), GREYS, strict=True))
    for name, grey in greys.items():
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("L", (9, 9), grey).save(name)
    for order in (list(greys), list(greys)[::-1]):
        assert predict(*order)[0] == 0
        assert len(written()) == 6 and len(rows()) == 3
        for class_id, stem in enumerate(("cat", "cat-2", "cat-3")):
            assert (read_mask(f"predictions/model/{stem}_mask.png") == class_id).all()


def test_what_others_wrote_stays(predict):
    bands()[0].save("cat.png")
    Path("predictions/model").mkdir(parents=True)
    Image.new("L", (7, 7)).save("predictions/model/cat_mask.png")
    Path("predictions/model/cat-2_overlay.png").write_text("not a picture")
    Path("predictions/model/cat-3_probabilities.npy").write_text("not numbers")
    before = {name: Path("predictions/model", name).read_bytes() for name in written()}
    status, _, err = predict("cat.png")
    assert status == 0 and "cat-4" in err
    assert all(
        Path("predictions/model", name).read_bytes() == data for name, data in before.items()
    )
    assert {"cat-4_mask.png", "cat-4_overlay.jpg"} == set(written()) - set(before)
    assert {row["mask"] for row in rows()} == {"cat-4_mask.png"}


@pytest.mark.parametrize("tile", ["--tile", "--no-tile"])
def test_probabilities(predict, tile):
    picture, mask = bands()
    picture.save("cat.png")
    assert predict("cat.png", "--probabilities", tile)[0] == 0
    found = np.load("predictions/model/cat_probabilities.npy")
    assert found.shape == (40, 48, 3) and found.dtype == np.float16
    np.testing.assert_array_equal(found.argmax(-1), mask)
    assert predict("cat.png", "--probabilities")[0] == 0 and len(written()) == 3


def stack(path, pages=3):
    """Page i has the class i % 3 in all pixels but one column, and an own width."""
    images = []
    for page in range(pages):
        values = np.full((20, 24 + page), GREYS[page % 3], np.uint8)
        values[:, 0] = GREYS[0]
        images.append(Image.fromarray(values))
    images[0].save(path, save_all=True, append_images=images[1:])


@pytest.mark.parametrize("tile", ["--tile", "--no-tile"])
def test_a_stack(predict, tile):
    stack("stack.tif", 11)
    bands()[0].save("zebra.png")
    status, out, _ = predict("stack.tif", "zebra.png", "--probabilities", tile)
    assert status == 0
    assert [line.split(":")[:-1] for line in out.splitlines()[:2]] == [
        ["stack.tif", "0"],
        ["stack.tif", "1"],
    ]
    assert len(out.splitlines()) == 12
    for kind, mode in (("mask", "P"), ("overlay", "RGB")):
        with Image.open(f"predictions/model/stack_{kind}.tif") as found:
            assert found.n_frames == 11
            for page in range(11):
                found.seek(page)
                assert found.mode == mode and found.size == (24 + page, 20)
                if kind == "mask":
                    assert (np.asarray(found)[:, 2:] == page % 3).all()
    assert np.load("predictions/model/stack_probabilities_03.npy").shape == (20, 27, 3)
    before = written()
    assert predict("stack.tif", "--probabilities", tile)[0] == 0
    assert written() == before and len(before) == 2 + 11 + 2 + 1
    assert_the_table_is_true()


def test_a_stack_with_a_broken_page(predict):
    stack("stack.tif", 4)
    whole = Path("stack.tif").read_bytes()
    with Image.open("stack.tif") as image:
        image.seek(2)
        offset = image.tag_v2[273][0]  # where the page's pixels are
    Path("stack.tif").write_bytes(whole[:offset])
    bands()[0].save("cat.png")
    status, out, err = predict("stack.tif", "cat.png")
    assert status == 1 and out == "cat.png: background 33.3%, a 33.3%, b 33.3%\n"
    assert err.count("\n") == 2 and "stack.tif: cannot be read" in err
    assert written() == ["cat_mask.png", "cat_overlay.jpg"]


def test_bad_pictures_among_good_ones(predict):
    Path("in").mkdir()
    for name in ("a", "c", "e"):
        bands()[0].save(f"in/{name}.png")
    bands()[0].save("in/f.jpg")
    Path("in/b.png").touch()
    Path("in/d.jpg").write_text("no picture")
    Path("in/f.jpg").write_bytes(Path("in/f.jpg").read_bytes()[:-300])
    Path("in/g.png").write_bytes(Path("in/a.png").read_bytes()[:-40])
    status, out, err = predict("in")
    assert status == 1 and out.count("\n") == 3
    assert sorted(line.split(":")[0] for line in err.splitlines()[1:]) == [
        "in/b.png",
        "in/d.jpg",
        "in/f.jpg",
        "in/g.png",
    ]
    assert len(written()) == 6


def test_nothing_but_a_bad_picture(predict, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    Image.new("L", (9, 9)).save("bomb.png")
    status, out, err = predict("bomb.png")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "bomb.png: has more than the 50 pixels" in err
    assert not Path("predictions/model").exists()
    assert predict("bomb.png", "--tile")[0] == 0
    assert Image.MAX_IMAGE_PIXELS == 50


def test_an_output_that_cannot_be_written_to(predict):
    bands()[0].save("cat.png")
    Path("file").touch()
    for output in ("file", "file/sub", "/sys/kernel"):
        status, out, err = predict("cat.png", "--output", output)
        assert (status, out) == (2, "") and err.count("\n") == 1
        assert f"{output}: cannot be written to" in err


def test_tiles_are_the_default_of_models_trained_on_windows(call):
    """A picture wider than the canvas: fitted into it, its columns of one pixel would be lost."""
    stripes = np.tile(np.array(GREYS, np.uint8)[[0, 1]], (8, 100))
    Image.fromarray(stripes).save("stripes.png")
    for crop, exact in ((None, False), ((16, 16), True)):
        save_grey_model("model.keras", crop=crop)
        assert call("predict", "--weights", "model.keras", "stripes.png")[0] == 0
        found = read_mask("predictions/model/stripes_mask.png")
        assert (found == np.tile([0, 1], (8, 100))).all() == exact


def test_probabilities_come_and_go_with_their_mask(predict):
    """Those of others stay; ours go when they belong to no mask any more."""
    stack("t.tif", 3)
    assert predict("t.tif", "--probabilities")[0] == 0
    stack("t.tif", 2)
    assert predict("t.tif", "--probabilities")[0] == 0
    numbered = [f"t_probabilities_{page}.npy" for page in (0, 1)]
    assert written() == ["t_mask.tif", "t_overlay.tif", *numbered]
    assert predict("t.tif")[0] == 0
    assert written() == ["t_mask.tif", "t_overlay.tif"]
    Path("predictions/model/t_probabilities_0.npy").write_text("mine")
    status, _, err = predict("t.tif", "--probabilities")
    assert status == 0 and "the files are t-2_*" in err
    assert_the_table_is_true()
    assert Path("predictions/model/t_probabilities_0.npy").read_text() == "mine"


@pytest.mark.parametrize("name", ["stack.tif", "cat.png"])
@pytest.mark.parametrize("limit", [30000, 200000])
def test_a_full_disk_leaves_nothing(predict, name, limit):
    """Files may not become larger than `limit` bytes."""
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8)) for _ in range(6)]
    pages[0].save(name, **({"save_all": True, "append_images": pages[1:]} if "tif" in name else {}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        status, out, err = predict(name, "--probabilities")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "cannot be written (File too large)" in err
    assert written() == []


def test_names_that_are_no_text(predict):
    """Bytes that are not UTF-8, a line break, and a name too long for its predictions'."""
    Path("in").mkdir()
    for name in (b"a\xff.png", b"b\nc.png", b"x" * 240 + b".png"):
        with open(b"in/" + name, "wb") as file:
            bands()[0].save(file, "PNG")
    Path("in/bad\n.png").write_text("no picture")
    status, out, err = predict("in")
    assert status == 1 and out.count("\n") == 2 and len(written()) == 4
    assert err.count("\n") == 3 and "leaves no room" in err and "in/bad .png: cannot be" in err
    assert {row["mask"] for row in rows()} == {"a\\xff_mask.png", "b\nc_mask.png"}
    assert predict("in")[0] == 1 and len(written()) == 4 and len(rows()) == 6


def test_several_bad_pictures_are_all_named(predict):
    for name in ("a.png", "b.png"):
        Path(name).touch()
    status, out, err = predict("a.png", "b.png")
    assert (status, out) == (2, "")
    assert [line.count(".png: cannot") for line in err.splitlines()] == [1, 1]


def test_other_formats_with_a_tiff_s_suffix(predict):
    picture, mask = bands()
    picture.save("x.tif", "PNG")
    assert predict("x.tif")[0] == 0
    np.testing.assert_array_equal(read_mask("predictions/model/x_mask.png"), mask)


def test_the_table(predict):
    Path("in/sub").mkdir(parents=True)
    stack("in/sub/stack.tif", 2)
    bands()[0].save("in/cat.png")
    for options in ((), ("--probabilities",), ()):
        assert predict("in", *options)[0] == 0
        cat, page = os.path.realpath("in/cat.png"), os.path.realpath("in/sub/stack.tif")
        also = " probabilities.npy" if options else ""
        about_cat = "", 1.0, 0.0, "cat_mask.png", f"overlay.jpg{also}"
        about_page = "", 1.0, 0.0, "sub/stack_mask.tif", f"overlay.tif{also}"
        assert rows() == [
            dict(zip(table.COLUMNS, map(str, row), strict=True))
            for row in (
                (cat, 0, "background", 640, 0.333333, *about_cat),
                (cat, 0, "a", 640, 0.333333, *about_cat),
                (cat, 0, "b", 640, 0.333333, *about_cat),
                (page, 0, "background", 480, 1.0, *about_page),
                (page, 1, "a", 480, 0.96, *about_page),
                (page, 1, "background", 20, 0.04, *about_page),
            )
        ]
        assert b"\n\n" not in Path("predictions/model", table.NAME).read_bytes()
        assert_the_table_is_true()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "name,pixels\ncat,3\n",
        "PK\x03\x04\0",
        "file,page,class,pixels,share,mask,probabilities\ncat.png,0,a,1,1.0,cat_mask.png,\n",  # old
    ],
)
def test_a_table_of_others_is_refused(predict, content):
    bands()[0].save("cat.png")
    Path("predictions/model").mkdir(parents=True)
    path = Path("predictions/model", table.NAME)
    path.write_text(content)
    status, out, err = predict("cat.png")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert f"{path}: is not a table that this version of predict.py wrote" in err
    assert path.read_text() == content and written() == []


def test_a_table_without_its_last_line_break(predict):
    bands()[0].save("cat.png")
    assert predict("cat.png")[0] == 0
    path = Path("predictions/model", table.NAME)
    path.write_text(path.read_text().rstrip("\n"))
    bands()[0].save("dog.png")
    assert predict("dog.png")[0] == 0
    assert len(rows()) == 6
    assert_the_table_is_true()


def test_a_file_that_changes_takes_its_old_predictions_with_it(predict):
    """From one page to three: the PNG files go. And what is listed but gone is written again."""
    for pages in (1, 3, 1):
        stack("t.tif", pages)
        assert predict("t.tif")[0] == 0
        suffix = "png" if pages == 1 else "tif"
        assert written() == [f"t_mask.{suffix}", f"t_overlay.{suffix}"]  # greys: no JPEG
        assert_the_table_is_true()
    Path("predictions/model/t_mask.png").unlink()
    Path("a").mkdir()
    bands()[0].save("a/t.png")
    assert predict("a/t.png", "t.tif")[0] == 0
    assert {row["mask"]: Path(row["file"]).name for row in rows()} == {
        "t_mask.png": "t.tif",
        "t-2_mask.png": "t.png",
    }
    assert_the_table_is_true()


@pytest.mark.parametrize(
    ("size", "options", "halved"),
    [
        ((480, 640), ("--overlay-size", "320"), True),
        ((480, 640), ("--overlay-size", "200"), True),
        ((480, 640), ("--overlay-size", "512"), False),  # the half has too few pixels
        ((481, 640), ("--overlay-size", "320"), False),
        ((140, 186), ("--overlay-size", "64"), False),  # too few for the canvas
        ((480, 640), ("--overlay-size", "320", "--intensity", "0", "254"), False),
        ((480, 640), ("--overlay-size", "320", "--tile"), False),
    ],
)
def test_a_large_photograph_is_read_in_half_its_size(predict, monkeypatch, size, options, halved):
    read = []

    def spy(*args):
        values, white_is_zero = read_values(*args)
        read.append(values.shape[:2])
        return values, white_is_zero

    monkeypatch.setattr(inputs, "read_values", spy)
    image, _ = bands(size[1], 48)
    image.resize(size, Image.Resampling.NEAREST).save("photo.jpg", quality=95)
    code, _, err = predict("photo.jpg", *options)
    assert code == 0, err
    assert read == [tuple(n // (1 + halved) for n in size[::-1])]
    found = read_mask("predictions/model/photo_mask.png")
    assert found.shape == size[::-1]
    wanted = np.arange(size[0]) * 3 // size[0]
    assert (found == wanted).mean() > 0.9
    with Image.open("predictions/model/photo_overlay.jpg") as overlay:
        assert max(overlay.size) == int(options[1])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 9])
def test_a_large_photograph_is_turned_like_a_small_one(predict, orientation):
    image, mask = bands(32, 48)
    exif = image.getexif()
    exif[0x0112] = orientation
    for name, size in (("small", (48, 32)), ("large", (576, 384))):
        image.resize(size, Image.Resampling.NEAREST).save(f"{name}.jpg", exif=exif, quality=95)
    assert predict("small.jpg", "large.jpg", "--overlay-size", "288")[0] == 0
    small, large = (read_mask(f"predictions/model/{name}_mask.png") for name in ("small", "large"))
    assert large.shape == tuple(12 * n for n in small.shape)
    assert (large[6::12, 6::12] == small).mean() > 0.9
    for name in ("small", "large"):
        with Image.open(f"predictions/model/{name}_overlay.jpg") as overlay:
            assert (overlay.height > overlay.width) == (orientation in (6, 8))


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from core.config import Config
from core.prediction.inputs import collect
from core.prediction.files import predict_files

class Nearest:  # needs no Keras, which takes seconds to start
    layers = ()

    def predict_on_batch(self, batch):
        return -np.abs(batch[..., :1] - np.array({greys}, np.float32))

palette = ((0, 0, 0), (200, 0, 0), (0, 200, 0))
config = Config(class_names={names}, size=(48, 48))
sources = collect(sys.argv[1:], "predictions/model")
for line in predict_files(Nearest(), config, palette, sources, Path("predictions/model"), {{}}):
    print(line, flush=True)
"""


def start(*args):
    """Starts a program that predicts images, with a network that is no work."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(greys=GREYS, names=NAMES), *args],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_several_programs_in_one_folder():
    """Two with images of the same names, and two with the same images: nothing is lost."""
    for folder in ("a", "b"):
        Path(folder).mkdir()
        for number in range(60):
            grey = GREYS[1 + (number + (folder == "b")) % 2]
            Image.new("L", (9, 9), grey).save(f"{folder}/{number}.png")
    for _ in range(3):
        for program in [start(folder) for folder in ("a", "b", "a")]:
            out, err = program.communicate()
            assert program.returncode == 0 and out.count("\n") == 60, err
        assert len(written()) == 240 and len(rows()) == 120
        assert_the_table_is_true()
        for row in rows():
            assert NAMES[GREYS.index(read_mask(row["file"])[0, 0])] == row["class"]


def test_a_killed_program():
    """What is there is whole and listed, and the next run does the rest."""
    Path("in").mkdir()
    for number in range(200):
        Image.new("L", (64, 64), GREYS[number % 3]).save(f"in/{number:03}.png")
    for wanted in (50, 120):  # the second replaces what the first has written
        with start("in") as program:
            for _ in range(wanted):
                program.stdout.readline()
            with alone_in(Path("predictions/model"), seconds=20):  # not just while it renames
                program.kill()
                program.wait()
        assert program.returncode == -signal.SIGKILL
        for hidden in Path("predictions/model").glob(".partial-*"):
            hidden.unlink()
        assert_the_table_is_true()
        assert wanted <= len(rows()) < 200
    program = start("in")
    assert program.communicate()[0].count("\n") == 200
    assert len(written()) == 400 and len(rows()) == 200
    assert_the_table_is_true()


def test_a_folder_that_another_program_keeps(predict, monkeypatch):
    bands()[0].save("cat.png")
    monkeypatch.setattr(table, "_PATIENCE", 0.1)
    with alone_in(Path("predictions/model")):
        status, out, err = predict("cat.png")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "another program writes" in err
    assert written() == []


def test_the_work_for_an_image_does_not_grow_with_their_number():
    seconds = []
    for count in (200, 2000):
        listed = table.Table(Path(str(count)))
        began = time.perf_counter()
        for number in range(count):
            row = *[0] * 7, f"{number}_mask.png", ""
            with listed.locked(), listed.listing(f"/in/{number}.png", [row]):
                pass
        seconds.append((time.perf_counter() - began) / count)
        listed.close()
    assert seconds[1] < 4 * seconds[0]


def read_objects():
    """The lines of objects.csv that count, dictionaries by its header."""
    with open("predictions/model/objects.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def spots(grey=False):
    """An image of background with regions of a, of 9 pixels and 1, and of b, of 4; its mask."""
    mask = np.zeros((40, 48), np.uint8)
    mask[2:5, 3:6] = mask[30, 40] = 1
    mask[20:22, 10:12] = 2
    image = Image.fromarray(np.array(GREYS, np.uint8)[mask])
    return (image if grey else image.convert("RGB")), mask


@pytest.mark.parametrize("tile", ["--tile", "--no-tile"])
def test_objects(predict, tile):
    image, mask = spots()
    image.save("cat.png")
    stack("stack.tif", 2)
    status, out, _ = predict("cat.png", "stack.tif", "--objects", tile)
    assert status == 0 and out.splitlines()[0].endswith("b 0.2%; objects: 3")
    labels = np.asarray(Image.open("predictions/model/cat_objects.tif"))
    assert labels.dtype == np.uint16 and labels.max() == 3
    assert labels[2:5, 3:6].min() == labels[2:5, 3:6].max() == 1 and labels[30, 40] == 2
    with Image.open("predictions/model/stack_objects.tif") as found:
        assert found.n_frames == 2 and not np.asarray(found).any()
        found.seek(1)
        assert np.unique(np.asarray(found)[:, 2:]).tolist() == [1]
    names = "class", "label", "area", "x", "y", "left", "top", "width", "height", "mean_intensity"
    of_cat = [row for row in read_objects() if row["file"].endswith("cat.png")]
    assert [tuple(row[name] for name in names) for row in of_cat] == [
        ("a", "1", "9", "4", "3", "3", "2", "3", "3", "21"),
        ("a", "2", "1", "40", "30", "40", "30", "1", "1", "21"),
        ("b", "3", "4", "10.5", "20.5", "10", "20", "2", "2", "231"),
    ]
    assert all(0.9 < float(row["mean_probability"]) <= 1 for row in of_cat)
    assert [row["page"] for row in read_objects()] == ["0", "0", "0", "1"]
    counts = {(Path(r["file"]).name, r["page"], r["class"]): r["objects"] for r in rows()}
    assert counts == {
        ("cat.png", "0", "background"): "",
        ("cat.png", "0", "a"): "2",
        ("cat.png", "0", "b"): "1",
        ("stack.tif", "0", "background"): "",
        ("stack.tif", "1", "a"): "1",
        ("stack.tif", "1", "background"): "",
    }
    assert_the_table_is_true()


def test_objects_come_and_go_with_their_mask(predict):
    spots()[0].save("cat.png")
    stack("stack.tif", 2)
    for objects in (True, True, False):
        status, _, err = predict("cat.png", "stack.tif", *["--objects"] * objects)
        assert status == 0 and ("predictions.csv and objects.csv by" in err) == objects
        kept = {name for name in written() if "objects" in name}
        files = {"cat_objects.tif", "stack_objects.tif"} if objects else set()
        assert kept == files | {"objects.csv"} and len(read_objects()) == 4 * objects
    Path("predictions/model/cat_objects.tif").write_text("mine")
    status, _, err = predict("cat.png", "--objects")
    assert status == 0 and "the files are cat-2_*" in err


def test_a_table_of_objects_of_others_is_refused(predict):
    spots()[0].save("cat.png")
    Path("predictions/model").mkdir(parents=True)
    path = Path("predictions/model/objects.csv")
    path.write_text("mine")
    status, out, err = predict("cat.png")
    assert (status, out) == (2, "") and f"{path}: is not a table" in err
    assert path.read_text() == "mine"


def test_small_objects_become_background(predict):
    image, mask = spots()
    image.save("cat.png")
    status, out, _ = predict("cat.png", "--objects", "--min-area", 4)
    assert status == 0 and out.endswith("; objects: 2 (1 smaller became background)\n")
    mask[30, 40] = 0
    np.testing.assert_array_equal(read_mask("predictions/model/cat_mask.png"), mask)
    assert [row["area"] for row in read_objects()] == ["9", "4"]
    assert_the_table_is_true()


@pytest.mark.parametrize(
    ("names", "args", "message"),
    [
        (NAMES, (), "--min-area goes with --objects"),
        (
            ("membrane", "cell", "b"),
            ("--objects",),
            "none of the model's classes (membrane, cell, b)",
        ),
    ],
)
def test_a_least_area_without_meaning(call, names, args, message):
    save_grey_model("model.keras", class_names=names)
    bands()[0].save("cat.png")
    status, out, err = call(
        "predict", "--weights", "model.keras", "cat.png", "--min-area", 4, *args
    )
    assert (status, out) == (2, "") and err.count("\n") == 1 and message in err
    assert not Path("predictions").exists()


def test_without_a_background_every_class_has_objects(call):
    save_grey_model("model.keras", class_names=("membrane", "a", "b"))
    spots()[0].save("cat.png")
    assert call("predict", "--weights", "model.keras", "cat.png", "--objects")[0] == 0
    assert [row["class"] for row in read_objects()] == ["membrane", "a", "a", "b"]
    assert [row["objects"] for row in rows()] == ["1", "2", "1"]


def test_rare_classes_are_not_named(predict):
    """A class of less than 0.05 %; the table has it."""
    image = np.full((50, 50), GREYS[0], np.uint8)
    image[0, 0], image[1, :2] = GREYS[1], GREYS[2]
    Image.fromarray(image).save("rare.png")
    assert predict("rare.png", "--tile")[1] == "rare.png: background 99.9%, b 0.1%\n"
    assert [row["class"] for row in rows()] == ["background", "b", "a"]


@pytest.mark.parametrize(
    ("mode", "name"),
    [("RGB", "jpg"), ("CMYK", "jpg"), ("L", "png"), ("P", "png"), ("I;16", "png"), ("1", "png")],
)
def test_overlays_are_small_and_masks_are_not(predict, mode, name):
    image = bands(400, 900)[0].convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, np.uint16) * 257)
    image.save("large.tif")
    assert predict("large.tif", "--overlay-size", 300)[0] == 0
    assert written() == ["large_mask.png", f"large_overlay.{name}"]
    with Image.open(f"predictions/model/large_overlay.{name}") as overlay:
        assert overlay.size[0] == 300 and 133 < overlay.size[1] < 170  # with a legend
        assert overlay.mode == "RGB"
        assert overlay.format == ("JPEG" if name == "jpg" else "PNG")
    assert Image.open("predictions/model/large_mask.png").size == (900, 400)


@pytest.mark.parametrize("size", [(290, 150), (299, 150), (300, 150), (310, 150), (300, 300)])
def test_an_overlay_and_its_legend_fit_together(predict, size):
    """Also an upright image that leaves less room than the legend needs."""
    bands(*size)[0].save("cat.png")
    assert predict("cat.png", "--overlay-size", 300)[0] == 0
    with Image.open("predictions/model/cat_overlay.jpg") as overlay:
        assert overlay.height <= 300 and overlay.width <= 300 and overlay.height > 280


def test_a_photograph_that_becomes_grey_leaves_no_second_overlay(predict):
    for mode, name in (("RGB", "jpg"), ("L", "png"), ("RGB", "jpg")):
        bands(mode=mode)[0].save("cat.png")
        assert predict("cat.png")[0] == 0
        assert written() == ["cat_mask.png", f"cat_overlay.{name}"]


def test_the_least_certain_images(predict):
    """A colour halfway between two classes is uncertain; the most certain of four is left out."""
    greys = (245, 200, 215, 231)
    for number, (grey, width) in enumerate(zip(greys, (0, 30, 20, 10), strict=True)):
        values = np.full((20, 40, 3), grey, np.uint8)
        values[:, :width] = 74, 75, 75  # a has 0.588 there, background the rest
        Image.fromarray(values).save(f"{number}.png")
    files = [f"{number}.png" for number in range(4)]
    flags = ("--uncertain", 3, "--tile", "--precision", "float32")
    status, _, err = predict(*files, *flags)
    assert status == 0
    assert ": masks, overlays, predictions.csv and uncertain.png by model.keras" in err
    listed = {Path(row["file"]).name: row for row in rows()}
    for number, share in enumerate((0, 0.75, 0.5, 0.25)):
        row = listed[f"{number}.png"]
        assert float(row["below_0.6"]) == share
        assert float(row["mean_probability"]) == pytest.approx(1 - 0.412 * share, abs=1e-3)
    sheet = np.asarray(Image.open("predictions/model/uncertain.png")).astype(int)
    found = {grey: np.argwhere((sheet == grey).all(-1)) for grey in greys}
    assert [len(found[grey]) > 1000 for grey in greys] == [False, True, True, True]
    order = sorted(greys[1:], key=lambda grey: tuple(found[grey].mean(0) // 100))
    assert order == [200, 215, 231]


def test_a_picture_of_others_stays(predict):
    bands()[0].save("cat.png")
    Path("predictions/model").mkdir(parents=True)
    Path("predictions/model/uncertain.png").write_text("mine")
    status, out, err = predict("cat.png", "--uncertain", 1)
    assert (status, out) == (2, "") and "uncertain.png: predict.py did not write" in err
    assert predict("cat.png")[0] == 0
    assert predict("cat.png", "--uncertain", 1)[0] == 2  # also beside a table
    assert Path("predictions/model/uncertain.png").read_text() == "mine"
    Path("predictions/model/uncertain.png").unlink()
    for _ in range(2):  # its own is replaced
        assert predict("cat.png", "--uncertain", 1)[0] == 0
