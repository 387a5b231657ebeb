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

from core.imaging.image import read_mask
from core.prediction import table
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


def written(folder="predictions"):
    """All files but the table."""
    files = sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())
    return [name for name in files if name != table.NAME]


def rows(folder="predictions"):
    """The lines of the table that count, dictionaries by its header."""
    found = []
    with open(Path(folder, table.NAME), encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row["mask"]:  # of a program that was killed
                found = [other for other in found if other["file"] != row["file"]]
            else:
                found.append(row)
    return found


def assert_the_table_is_true(folder="predictions"):
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
    picture, mask = bands()
    picture.save("cat.png")
    status, out, err = predict("cat.png", "--precision", "float32")
    assert (status, out) == (0, "cat.png: background 33.3%, a 33.3%, b 33.3%\n")
    assert err == "predictions: masks and overlays by model.keras, in float32.\n"
    assert written() == ["cat_mask.png", "cat_overlay.png"]
    found = Image.open("predictions/cat_mask.png")
    assert found.mode == "P" and found.getpalette()[:9] == [0, 0, 0, 200, 0, 0, 0, 200, 0]
    np.testing.assert_array_equal(found, mask)
    overlay = np.asarray(Image.open("predictions/cat_overlay.png"))
    np.testing.assert_array_equal(
        overlay[0, [0, 20, 40]], [[128] * 3, [110, 10, 10], [116, 216, 116]]
    )


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
    found = read_mask("predictions/picture_mask.png")
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
    np.testing.assert_array_equal(read_mask("predictions/phone_mask.png"), np.rot90(mask, -1))
    assert Image.open("predictions/phone_overlay.png").size == (40, 48)


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3), (2, 33000)])
@pytest.mark.parametrize("tile", ["--tile", "--no-tile"])
def test_odd_sizes(predict, size, tile):
    Image.new("L", size, GREYS[2]).save("odd.png")
    assert predict("odd.png", tile)[0] == 0
    found = read_mask("predictions/odd_mask.png")
    assert found.shape == size[::-1] and (found == 2).all()


def test_folders_keep_their_shape(predict):
    for name in ("in/one.png", "in/süb folder/one.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        bands()[0].save(name)
    status, out, _ = predict("in")
    assert status == 0 and out.count("\n") == 2
    assert written() == [
        "one_mask.png",
        "one_overlay.png",
        "süb folder/one_mask.png",
        "süb folder/one_overlay.png",
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
            assert (read_mask(f"predictions/{stem}_mask.png") == class_id).all()


def test_what_others_wrote_stays(predict):
    bands()[0].save("cat.png")
    Path("predictions").mkdir()
    Image.new("L", (7, 7)).save("predictions/cat_mask.png")
    Path("predictions/cat-2_overlay.png").write_text("not a picture")
    Path("predictions/cat-3_probabilities.npy").write_text("not numbers")
    before = {name: Path("predictions", name).read_bytes() for name in written()}
    status, _, err = predict("cat.png")
    assert status == 0 and "cat-4" in err
    assert all(Path("predictions", name).read_bytes() == data for name, data in before.items())
    assert {"cat-4_mask.png", "cat-4_overlay.png"} == set(written()) - set(before)
    assert {row["mask"] for row in rows()} == {"cat-4_mask.png"}


@pytest.mark.parametrize("tile", ["--tile", "--no-tile"])
def test_probabilities(predict, tile):
    picture, mask = bands()
    picture.save("cat.png")
    assert predict("cat.png", "--probabilities", tile)[0] == 0
    found = np.load("predictions/cat_probabilities.npy")
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
        with Image.open(f"predictions/stack_{kind}.tif") as found:
            assert found.n_frames == 11
            for page in range(11):
                found.seek(page)
                assert found.mode == mode and found.size == (24 + page, 20)
                if kind == "mask":
                    assert (np.asarray(found)[:, 2:] == page % 3).all()
    assert np.load("predictions/stack_probabilities_03.npy").shape == (20, 27, 3)
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
    assert written() == ["cat_mask.png", "cat_overlay.png"]


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
    assert not Path("predictions").exists()
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
        found = read_mask("predictions/stripes_mask.png")
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
    Path("predictions/t_probabilities_0.npy").write_text("mine")
    status, _, err = predict("t.tif", "--probabilities")
    assert status == 0 and "the files are t-2_*" in err
    assert_the_table_is_true()
    assert Path("predictions/t_probabilities_0.npy").read_text() == "mine"


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
    np.testing.assert_array_equal(read_mask("predictions/x_mask.png"), mask)


def test_the_table(predict):
    Path("in/sub").mkdir(parents=True)
    stack("in/sub/stack.tif", 2)
    bands()[0].save("in/cat.png")
    for options in ((), ("--probabilities",), ()):
        assert predict("in", *options)[0] == 0
        cat, page = os.path.realpath("in/cat.png"), os.path.realpath("in/sub/stack.tif")
        has = "yes" if options else ""
        assert rows() == [
            dict(zip(table.COLUMNS, map(str, row), strict=True))
            for row in (
                (cat, 0, "background", 640, 0.333333, "cat_mask.png", has),
                (cat, 0, "a", 640, 0.333333, "cat_mask.png", has),
                (cat, 0, "b", 640, 0.333333, "cat_mask.png", has),
                (page, 0, "background", 480, 1.0, "sub/stack_mask.tif", has),
                (page, 1, "a", 480, 0.96, "sub/stack_mask.tif", has),
                (page, 1, "background", 20, 0.04, "sub/stack_mask.tif", has),
            )
        ]
        assert b"\n\n" not in Path("predictions", table.NAME).read_bytes()
        assert_the_table_is_true()


@pytest.mark.parametrize("content", ["", "name,pixels\ncat,3\n", "PK\x03\x04\0"])
def test_a_table_of_others_is_refused(predict, content):
    bands()[0].save("cat.png")
    Path("predictions").mkdir()
    path = Path("predictions", table.NAME)
    path.write_text(content)
    status, out, err = predict("cat.png")
    assert (status, out) == (2, "") and err.count("\n") == 1 and f"{path}: is not a table" in err
    assert path.read_text() == content and written() == []


def test_a_table_without_its_last_line_break(predict):
    bands()[0].save("cat.png")
    assert predict("cat.png")[0] == 0
    path = Path("predictions", table.NAME)
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
        assert written() == [f"t_mask.{suffix}", f"t_overlay.{suffix}"]
        assert_the_table_is_true()
    Path("predictions/t_mask.png").unlink()
    Path("a").mkdir()
    bands()[0].save("a/t.png")
    assert predict("a/t.png", "t.tif")[0] == 0
    assert {row["mask"]: Path(row["file"]).name for row in rows()} == {
        "t_mask.png": "t.tif",
        "t-2_mask.png": "t.png",
    }
    assert_the_table_is_true()


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
sources = collect(sys.argv[1:], "predictions")
for line in predict_files(Nearest(), config, palette, sources, Path("predictions"), {{}}):
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
            with alone_in(Path("predictions"), seconds=20):  # not just while it renames
                program.kill()
                program.wait()
        assert program.returncode == -signal.SIGKILL
        for hidden in Path("predictions").glob(".partial-*"):
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
    with alone_in(Path("predictions")):
        status, out, err = predict("cat.png")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "another program writes" in err
    assert written() == []


def test_the_work_for_an_image_does_not_grow_with_their_number():
    seconds = []
    for count in (200, 2000):
        listed = table.Table(Path(str(count)))
        began = time.perf_counter()
        for number in range(count):
            row = {"page": 0, "mask": f"{number}_mask.png"}
            with listed.locked(), listed.listing(f"/in/{number}.png", [row]):
                pass
        seconds.append((time.perf_counter() - began) / count)
        listed.close()
    assert seconds[1] < 4 * seconds[0]
