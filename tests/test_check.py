"""train.py --check-data: its output, and that no damage stops it."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.imaging.draw import voc_palette
from core.support.errors import UserError, together
from tests.conftest import write_voc


@pytest.fixture
def check(call):
    """Returns a function that checks a folder in VOC's layout with three classes."""

    def run(folder, *args):
        names = ("--class-names", "background,a,b")
        return call("train", "--dataset", "voc", "--data", folder, *names, "--check-data", *args)

    return run


def test_sound_data(check, voc):
    status, out, err = check(voc)
    assert (status, err) == (0, "")
    train, val = out.split("\nval:")
    nothing = "0 unreadable, 0 missing, 0 of sizes that differ, 0 with values outside the classes"
    assert f"4 images with masks; {nothing}" in train
    assert "height 40 to 40, median 40; width 48 to 48, median 48" in train
    rows = {line.split()[0]: line.split()[-3:] for line in train.splitlines() if line.endswith("%")}
    assert rows == {name: ["4", "1,920", "33.3%"] for name in ("background", "a", "b")}
    assert "255 (ignored): 1,920 pixels in 4 images, 25.0% of all" in train
    assert "no pixel of: -" in train and "2 images with masks" in val
    assert out.endswith(
        "val images also in train: 0\n\nImages keep their resolution.\n"
        "runs/voc/check.png: images as the network will see them.\n"
    )
    assert [path.name for path in Path("runs/voc").iterdir()] == ["check.png"]


def test_duplicates_are_found_by_content(check, voc):
    """The images of `write_voc` differ but for one that is copied under another name."""
    copy = voc / "JPEGImages/picture5.jpg"
    copy.write_bytes((voc / "JPEGImages/picture1.jpg").read_bytes())
    status, out, _ = check(voc)
    assert status == 0
    assert "val images also in train: 1\n  picture5 = picture1\n\n" in out


def test_every_problem_is_named(check, voc):
    masks = voc / "SegmentationClass"
    Image.new("L", (48, 40), 3).save(masks / "picture0.png")
    Image.new("L", (48, 40), 3).save(masks / "picture1.png")
    Image.new("L", (40, 48), 1).save(masks / "picture2.png")
    Image.new("RGB", (48, 40), (128, 0, 0)).save(masks / "picture3.png")
    (masks / "picture4.png").unlink()
    (voc / "JPEGImages/picture5.jpg").write_bytes(b"\xff\xd8")
    status, out, err = check(voc)
    assert status == 2 and err.count("\n") == 1
    assert "Training would fail." in err and "And 5 more files." in err
    lines = out.splitlines()
    for number, message in enumerate(
        (
            "pixel value 3 is neither a class (0..2) nor 255 (ignored). The ids seem to be off",
            "pixel value 3",
            "the mask is 40x48 pixels, its image 48x40",
            "this file has colours",
            "there is no such mask",
            "cannot be read as an image",
        )
    ):
        assert sum(f"picture{number}." in line and message in line for line in lines) == 1
    assert sum(line.startswith("All together: pixel value 3 is neither") for line in lines) == 1
    assert (
        "0 images with masks; 2 unreadable, 1 missing, 1 of sizes that differ, 0 with values "
        "outside the classes" in out
    )
    assert "0 images with masks; 0 unreadable, 0 missing, 0 of sizes that differ, 2 with" in out


@pytest.mark.parametrize(
    ("value", "message"),
    [(255, "nothing but 255"), (0, "hold no object, only 0.")],
)
def test_masks_without_objects(check, call, voc, value, message):
    for path in (voc / "SegmentationClass").iterdir():
        Image.new("L", (48, 40), value).save(path)
    status, out, err = check(voc)
    assert status == 2 and message in err and "train.txt" in err and err.count("\n") == 1
    assert "no pixel of:" in out
    args = ("--class-names", "background,a,b", "--filters", 2, "--epochs", 1)
    status, out, err = call("train", "--data", voc, *args)
    assert (status, out) == (2, "") and message in err and not Path("runs").exists()


def test_own_data_and_classes_without_a_pixel(call, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for number in range(5):
        Image.new("L", (9, 9), 40 * number).save(tmp_path / f"images/{number}.png")
        Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / f"masks/{number}.png")
    names = ("--class-names", "ground,leaf,stem")
    status, out, err = call("train", "--data", tmp_path, *names, "--check-data")
    assert status == 0 and "no pixel of: stem" in out
    assert "1 of 5 images are kept for validation, drawn with seed 0." in out


def flip(rng, data):
    """Changes some bytes."""
    data = bytearray(data)
    for place in rng.integers(0, max(1, len(data)), rng.integers(1, 20)):
        if data:
            data[place] = rng.integers(256)
    return bytes(data)


def cut(rng, data):
    """Cuts off the end."""
    return data[: rng.integers(0, max(1, len(data)))]


LINES = {
    "blank": lambda ids: [ids[0], "", "   ", *ids[1:]],
    "trailing": lambda ids: [f"{ids[0]}  \t", *ids[1:]],
    "absolute": lambda ids: [f"/nowhere/{ids[0]}", *ids[1:]],
    "subfolder": lambda ids: [f"JPEGImages/{ids[0]}", *ids[1:]],
    "outside": lambda ids: [f"../../{ids[0]}", *ids[1:]],
    "columns": lambda ids: [f"{name} 1 -1" for name in ids],
    "with suffix": lambda ids: [f"{name}.jpg" for name in ids],
    "zero": lambda ids: [f"{ids[0]}\0", *ids[1:]],
    "long": lambda ids: [ids[0] * 500, *ids[1:]],
}


def damage(rng, folder):
    """Damages one file of a data set, in one of many ways."""
    kind = rng.choice(["JPEGImages", "SegmentationClass", "bytes of a list", "lines of a list"])
    part = folder / (kind if "list" not in kind else "ImageSets/Segmentation")
    path = sorted(part.iterdir())[rng.integers(len(list(part.iterdir())))]
    if kind != "lines of a list":
        path.write_bytes((flip if rng.random() < 0.6 else cut)(rng, path.read_bytes()))
        return f"{path.name} {kind}"
    change = rng.choice(sorted(LINES))
    lines = LINES[change](path.read_text(errors="replace").split() or [""])
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16"])
    path.write_bytes(rng.choice(["\n", "\r\n"]).join(lines).encode(encoding))
    return f"{path.name} {change} {encoding}"


@pytest.mark.parametrize("seed", range(300))
def test_no_damage_stops_it(check, tmp_path, seed):
    """300 data sets, each damaged in one to three places."""
    rng = np.random.default_rng(seed)
    folder = write_voc(tmp_path / "voc", count=4, size=(9, 11))
    done = [damage(rng, folder) for _ in range(rng.integers(1, 4))]
    status, out, err = check(folder)
    assert status in (0, 2), done
    assert "Traceback" not in out + err
    assert re.search(r"[^\s/]+\.(txt|jpg|png)", err if status else out), (done, out, err)
    assert err.count("\n") == (1 if status else 0), (done, err)


def test_thirty_equal_problems_are_one_line(check, call, voc):
    """With a count and three of the files; what differs is in lines of its own."""
    lists = voc / "ImageSets/Segmentation"
    (lists / "train.txt").write_text("".join(f"gone{i:02}\n" for i in range(30)) + "picture2\n")
    Image.new("L", (9, 9)).save(voc / "SegmentationClass/picture2.png")
    status, out, err = check(voc)
    missing = [line for line in out.splitlines() if "no such image" in line]
    three = "(The same in 30 files: gone00.jpg, gone01.jpg, gone02.jpg, ...)"
    assert len(missing) == 1 and missing[0].endswith(f"lists 'gone00'. Add the file. {three}")
    assert "picture2.png: the mask is 9x9 pixels, its image 48x40" in out
    assert status == 2 and err.count("\n") == 1
    assert "Training would fail." in err and err.endswith(f"{three} And 1 more files.\n")
    status, out, err = call("train", "--data", voc, "--class-names", "background,a,b")
    assert (status, out, err.count("\n")) == (2, "", 1) and three in err


def test_training_names_all_masks_that_cannot_be_used(call, voc):
    for number in (2, 4, 5):
        Image.new("L", (48, 40), 10 + number).save(voc / f"SegmentationClass/picture{number}.png")
    Image.new("L", (9, 9)).save(voc / "SegmentationClass/picture3.png")
    status, out, err = call("train", "--data", voc, "--class-names", "background,a,b")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "picture2.png: pixel value 12 is neither" in err
    assert "3 files: picture2.png, picture4.png, picture5.png)" in err
    assert err.endswith(" And 1 more files. --check-data names them.\n")


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["a/b.png: x.", "a/c.png: x."], {"a/b.png: x. (The same in 2 files: b.png, c.png)": 2}),
        (["b: 3 of 4", "c: 5 of 6", "d: 5 or 6"],
         {"b: 3 of 4 (The same in 2 files: b, c)": 2, "d: 5 or 6": 1}),
        (["b: lists 'b'", "c: lists 'd 1'"], {"b: lists 'b' (The same in 2 files: b, c)": 2}),
        (["b: 2, 30 and 10 others", "c: 4"],
         {"b: 2, 30 and 10 others (The same in 2 files: b, c)": 2}),
        (["no place", "no place"], {"no place (The same in 2 files: no place, no place)": 2}),
    ],
)  # fmt: skip
def test_what_is_equal(texts, lines):
    assert together(map(UserError, texts)) == lines


@pytest.fixture
def own(call, tmp_path):
    """Returns a function that trains on own data: `files` by name, arrays of masks or of images."""

    def run(files, *args):
        for name, values in files.items():
            path = tmp_path / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(values, np.uint8)).save(path, **JPEG.get(path.suffix, {}))
        args = args or ("--num-classes", 2)
        status, out, err = call("train", "--data", tmp_path / "own", "--filters", 1, *args)
        assert (status, out, err.count("\n")) == (2, "", 1) and not Path("runs").exists()
        return err

    return run


JPEG = {".jpg": {"quality": 90}, ".jpeg": {"quality": 90}}
SPOT = np.zeros((16, 16), np.uint8)
SPOT[5:11, 3:9] = 1
CELLS = np.zeros((16, 16), np.uint8)
for number in range(9):
    CELLS[1 + 5 * (number // 3) :, 5 * (number % 3) :][:3, :3] = number + 1
STRIPES = np.indices((16, 16))[0].astype(np.uint8) % 10  # many regions of each id


def pairs(mask, suffix=".png", count=4):
    """Images and masks of these values."""
    images = {f"images/{i}.png": np.full((*mask.shape[:2], 3), 9 * i) for i in range(count)}
    return images | {f"masks/{i}{suffix}": mask for i in range(count)}


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
@pytest.mark.parametrize("kind", ["black-and-white", "colours"])
def test_masks_that_are_jpeg_files(own, suffix, kind):
    mask = 255 * SPOT if kind == "black-and-white" else voc_palette()[SPOT]
    assert "A JPEG file does not keep ids" in own(pairs(mask, suffix))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (CELLS, "Each of the 9 ids from 1 on is one connected region: they seem to number objects"),
        (STRIPES, "others is neither a class (0..1) nor 255 (ignored). Write class ids"),
        (np.where(CELLS > 8, 255, 128 * SPOT),
         "The three values 0, 128 and 255 need the ids 0, 1 and 2"),
        (127 * SPOT, "The three values 0, 127 and 255 need the ids 0, 1 and 2"),
        (np.dstack(3 * [0 * SPOT + 255] + [255 * SPOT]), "in the transparency (alpha) alone"),
        (np.dstack([0 * SPOT, 255 * SPOT]), "in the transparency (alpha) alone"),
    ],
    ids=["numbered", "striped", "three greys", "two of them", "alpha of colours", "alpha of greys"],
)  # fmt: skip
def test_masks_that_are_no_class_ids(own, mask, message):
    assert message in own(pairs(mask))


def test_ids_of_more_than_8_bits(own, tmp_path):
    files = pairs(SPOT)
    own({**files, "masks/0.png": 5 * SPOT})  # writes the folder
    for path in (tmp_path / "own/masks").iterdir():
        Image.fromarray(SPOT.astype(np.uint16) * 700).save(path)
    err = own({})
    assert "values up to 700" in err and "numbers objects" in err and "4 files" not in err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("images/{}_mask.png", "Images are 0.png, 0_mask.png, 1.png and 5 more; masks are x.png."),
        ("masks/1{}.png", "masks are 10.png, 11.png, 12.png and 2 more."),  # another name
    ],
)
def test_masks_of_other_names(own, names, message):
    files = {name: mask for name, mask in pairs(SPOT).items() if "images" in name}
    files |= {names.format(i): SPOT for i in range(4)} | {"masks/x.png": SPOT}
    assert message in own(files)


def test_masks_of_other_images_are_none_that_are_named_alike(own):
    files = {**pairs(SPOT), "images/0_b.png": SPOT, "masks/0_b.png": SPOT}
    del files["masks/0.png"]
    assert own(files, "--num-classes", 2, "--seed", 1).endswith("no such mask. Add the file.\n")


def test_a_folder_of_no_layout(own, tmp_path):
    err = own({"frames/0.png": SPOT, "labels/0.png": SPOT})
    for words in ("images/", "masks/", "image/ and label/", "train-volume.tif", "--dataset isbi"):
        assert words in err
    assert "SegmentationClassAug" not in err
