"""Own data in images/ and masks/."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.imaging.draw import voc_palette
from core.imaging.intensity import read_image
from core.sources.folder import FolderDataset
from core.support.errors import UserError


def write(folder, count=10, suffix=".png", kind="ids", size=(40, 48)):
    """Writes images, bright where the mask has class 1."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        mask = np.zeros(size, np.uint8)
        mask[:, : 10 + number] = 1
        noise = rng.integers(0, 100, (*size, 3))
        image = Image.fromarray((noise + 150 * mask[..., None]).astype(np.uint8))
        image.save(folder / f"images/leaf {number}{suffix}")
        values = {"ids": mask, "black-and-white": 255 * mask, "colours": voc_palette()[mask]}[kind]
        Image.fromarray(values).save(folder / f"masks/leaf {number}.png")
    return folder


def stems(dataset):
    return [info["image_path"].stem for info in dataset.image_info]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".TIF"])
@pytest.mark.parametrize("kind", ["ids", "black-and-white", "colours"])
def test_pairs_of_every_kind(tmp_path, suffix, kind):
    dataset = FolderDataset(write(tmp_path, 3, suffix, kind))
    assert dataset.reading == kind and len(dataset.image_info) == 3
    image, mask = dataset.load(2)
    assert image.shape == (40, 48, 3) and mask.mean() == 12 / 48


@pytest.mark.parametrize("kind", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_what_predict_takes_trains_too(tmp_path, kind):
    """Training sees the same image as predict.py."""
    write(tmp_path, 1)
    path = tmp_path / "images/leaf 0.png"
    file = Image.open(path).convert("L")
    path.unlink()
    if kind in ("I;16", "F"):
        values = np.asarray(file) / np.float32(255)
        file = Image.fromarray((values * 65535).astype(np.uint16) if kind != "F" else values)
    else:
        file = file.convert(kind)
    file.save(tmp_path / "images/leaf 0.tif")
    data = FolderDataset(tmp_path)
    image, mask = data.load(0)
    wanted = read_image(tmp_path / "images/leaf 0.tif", intensity=data.find_intensity())
    np.testing.assert_array_equal(image, wanted)
    assert image[mask == 1].mean() > image[mask == 0].mean() + 50


def test_images_on_their_side(tmp_path):
    write(tmp_path, 1)
    path = tmp_path / "images/leaf 0.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    image, mask = FolderDataset(tmp_path).load(0)
    assert image[mask == 1].min() > image[mask == 0].max()


def test_the_drawn_split(tmp_path):
    write(tmp_path)
    train, val = (FolderDataset(tmp_path, split) for split in ("train", "val"))
    assert len(stems(train)) == 8 and len(stems(val)) == 2
    assert set(stems(train)) | set(stems(val)) == set(stems(FolderDataset(tmp_path)))
    assert stems(val) == stems(FolderDataset(tmp_path, "val"))
    others = [stems(FolderDataset(tmp_path, "val", seed=seed)) for seed in range(1, 5)]
    assert any(drawn != stems(val) for drawn in others)
    assert "2 of 10 images are kept for validation, drawn with seed 0" in train.stated
    assert len(stems(FolderDataset(tmp_path, "train", val_fraction=0.99))) == 1


def test_chance_leaves_enough_to_validate_with(tmp_path):
    """Of 20 images and a fifth, seeds alone would draw from 0 on; three quarters of 4 are sure."""
    write(tmp_path, 20)
    drawn = [len(stems(FolderDataset(tmp_path, "val", seed=seed))) for seed in range(30)]
    assert min(drawn) == 3 and max(drawn) > 4


def test_a_folder_for_validation(tmp_path):
    write(tmp_path, 4)
    write(tmp_path / "val", 2, kind="ids")
    assert len(FolderDataset(tmp_path, "train").image_info) == 4
    val = FolderDataset(tmp_path, "val")
    assert len(val.image_info) == 2 and "val holds" in val.stated
    write(tmp_path / "val", 2, kind="black-and-white")
    with pytest.raises(UserError, match="val/masks: the masks look like black-and-white, but"):
        FolderDataset(tmp_path, "val", reading="ids")


def test_lists(tmp_path):
    write(tmp_path, 4)
    (tmp_path / "train.txt").write_text("leaf 3\r\n\r\nleaf 1.png \r\n", encoding="utf-8-sig")
    (tmp_path / "val.txt").write_text("images/leaf 0.png\n")
    (tmp_path / "other.txt").write_text("leaf 2")
    assert stems(FolderDataset(tmp_path, "train")) == ["leaf 3", "leaf 1"]
    assert stems(FolderDataset(tmp_path, "val")) == ["leaf 0"]
    other = {"lists": (None, tmp_path / "other.txt"), "reading": "ids"}
    assert stems(FolderDataset(tmp_path, "val", **other)) == ["leaf 2"]
    rest = FolderDataset(tmp_path, "train", lists=(None, tmp_path / "other.txt"))
    assert stems(rest) == ["leaf 0", "leaf 1", "leaf 3"]
    (tmp_path / "train.txt").unlink()
    assert stems(FolderDataset(tmp_path, "train")) == ["leaf 1", "leaf 2", "leaf 3"]
    (tmp_path / "val.txt").write_text("leaf 0\nleaf 0.png\n")
    assert stems(FolderDataset(tmp_path, "val")) == ["leaf 0"]
    for text, message in (("rose", "names rose, which images/ lacks"), ("", "is empty")):
        (tmp_path / "val.txt").write_text(text)
        with pytest.raises(UserError, match=f"val.txt: this list {message}"):
            FolderDataset(tmp_path, "val")


def test_lists_that_are_not_used_are_named(tmp_path):
    """With --images the folder may hold lists of other images."""
    write(tmp_path, 4)
    (tmp_path / "val.txt").write_text("leaf 0\n")
    data = FolderDataset(tmp_path, "val", images=tmp_path / "images", masks=tmp_path / "masks")
    assert f"{tmp_path / 'val.txt'}: not used with --images" in data.notes
    assert "drawn with seed 0" in data.division
    lists = (None, tmp_path / "val.txt")
    data = FolderDataset(tmp_path, "val", images=tmp_path / "images", lists=lists)
    assert "not used" not in data.notes and stems(data) == ["leaf 0"]


def test_an_image_in_both_lists_is_refused(tmp_path, call, voc):
    write(tmp_path / "own", 4)
    for name, text in (("train", "leaf 0\nleaf 1\nleaf 2\n"), ("val", "leaf 3\nleaf 1.png\n")):
        (tmp_path / f"own/{name}.txt").write_text(text)
    lists = voc / "ImageSets/Segmentation"
    (lists / "train.txt").write_text("picture2\npicture0\n")
    for folder, name in ((tmp_path / "own", "leaf 1.png"), (voc, "picture0.jpg")):
        status, out, err = call("train", "--data", folder)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"{name}: both for training and for validation. Leave each in one list." in err


def test_stacks(tmp_path):
    write(tmp_path, 1)
    for part, value in (("images", 100), ("masks", 1)):
        pages = [Image.fromarray(np.full((8, 8), value * (i > 0), np.uint8)) for i in range(3)]
        pages[0].save(tmp_path / part / "stack.tif", save_all=True, append_images=pages[1:])
    dataset = FolderDataset(tmp_path)
    assert [dataset.name(i) for i in range(4)] == ["leaf 0", "stack:0", "stack:1", "stack:2"]
    assert dataset.load(3)[1].all() and not dataset.load(1)[1].any()
    pages = [info for info in FolderDataset(tmp_path, "val").image_info if "page" in info]
    assert len(pages) in (0, 3)
    Image.new("L", (8, 8)).save(tmp_path / "masks/stack.tif")
    with pytest.raises(UserError, match="stack.tif: has 1 pages, its image 3"):
        FolderDataset(tmp_path)


def test_incomplete_folders(tmp_path):
    with pytest.raises(UserError, match="images: there is no such folder"):
        FolderDataset(tmp_path)
    write(tmp_path, 2)
    (tmp_path / "masks/leaf 1.png").unlink()
    with pytest.raises(UserError, match="leaf 1.png: there is no such mask"):
        FolderDataset(tmp_path)
    assert len(FolderDataset(tmp_path, strict=False).image_info) == 2
    Image.new("L", (4, 4)).save(tmp_path / "masks/leaf 1.png")
    Image.new("L", (4, 4)).save(tmp_path / "masks/leaf 1.bmp")
    with pytest.raises(UserError, match="leaf 1.bmp and .*leaf 1.png: two files of one name"):
        FolderDataset(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="images: this folder has no images"):
        FolderDataset(tmp_path)


@pytest.mark.deep
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ids", "black-and-white", "colours"])
def test_own_data_trains_at_once(call, tmp_path, kind):
    """From a folder to a report and a mask, without a setting for the data."""
    write(tmp_path / "leaves", kind=kind)
    names = ("--class-names", "ground,leaf") if kind == "ids" else ("--num-classes", 2)
    small = ("--size", 48, 48, "--filters", 2, "--epochs", 3, "--repeats", 4, "--lr", 0.03)
    status, out, err = call("train", "--data", tmp_path / "leaves", *names, *small)
    assert status == 0, err
    assert f"drawn with seed 0. Masks are read as {kind}." in err
    assert Path("runs/folder/best.keras").exists()
    status, out, _ = call("evaluate")
    assert status == 0 and "voc protocol, 2 images (folder, val)" in out
    assert float(out.split("Total MIOU: ")[1][:6]) > 0.6
    status, out, _ = call("evaluate", "--data", write(tmp_path / "others", 3, kind=kind))
    assert status == 0 and "voc protocol, 3 images (folder, all)" in out
    assert call("predict", tmp_path / "leaves/images/leaf 0.png")[0] == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--num-classes", 3, "--classes", "a"), "--classes chooses among classes of VOC data"),
        (("--num-classes", 3), "masks: the masks hold nothing but 0 and 255, and there are 3"),
    ],
)
def test_settings_that_cannot_work(call, tmp_path, args, message):
    write(tmp_path / "leaves", 3, kind="black-and-white")
    status, out, err = call("train", "--data", tmp_path / "leaves", *args)
    assert (status, out) == (2, "") and err.count("\n") == 1 and message in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("line", ["leaf 1", r"images\leaf 1.png", r"C:\my data\images\leaf 1.png"])
def test_lists_of_windows(tmp_path, encoding, line):
    write(tmp_path, 4)
    start = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    (tmp_path / "val.txt").write_bytes(start + f"{line}\r\nleaf 2\r\n".encode(encoding))
    assert stems(FolderDataset(tmp_path, "val")) == ["leaf 1", "leaf 2"]


@pytest.mark.parametrize("names", [("Images", "Masks", "Val"), ("IMAGES", "masks", "VAL")])
def test_folders_in_capitals(tmp_path, call, names):
    """They are taken as they are."""
    for folder in (tmp_path / "own", tmp_path / "own" / names[2]):
        write(folder, 3)
        for old, new in zip(("images", "masks"), names, strict=False):
            (folder / old).rename(folder / new)
    assert len(FolderDataset(tmp_path / "own", "train").image_info) == 3
    assert FolderDataset(tmp_path / "own", "val").where.name == names[2]
    args = ("--num-classes", 2, "--check-data", "--epochs", 1)
    status, out, err = call("train", "--data", tmp_path / "own", *args)
    assert (status, err) == (0, "") and out.count("3 images with masks") == 2
