"""The layouts of own data, a test for each row of the table."""

import argparse
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import write_isbi
from PIL import Image

from core.config import PRESETS
from core.sources.detect import choose
from core.sources.folder import FolderDataset
from core.sources.own.layouts import find
from core.support.errors import UserError

DATA = Path(__file__).parents[2] / "shared/data"


@pytest.fixture
def data(tmp_path):
    """Returns a function that writes tiny images, named with braces: a{1,2}.png are two."""

    def write(*patterns):
        for pattern in patterns:
            start, _, rest = pattern.partition("{")
            inner, _, end = rest.partition("}")
            for number in inner.split(","):
                path = tmp_path / "own" / f"{start}{number}{end}"
                path.parent.mkdir(parents=True, exist_ok=True)
                value = (np.arange(64).reshape(8, 8) > 31) * np.uint8(255)
                Image.fromarray(value).save(path)
        return tmp_path / "own"

    return write


def names(folder, split, **options):
    """The files of a part: image and mask, from the data's folder."""
    data = FolderDataset(folder, split, **options)
    paths = ([info["image_path"], info["mask_path"]] for info in data.image_info)
    return {tuple(str(Path(p).relative_to(folder)) for p in pair) for pair in paths}, data.stated


@pytest.mark.parametrize("images", ["images", "imgs", "img", "IMAGE", "Images"])
@pytest.mark.parametrize(
    "masks",
    "masks mask labels Label annotations gt ground_truth 1st_manual Segmentations".split(),
)
def test_images_and_masks(data, images, masks):
    folder = data(f"{images}/{{1,2}}.png", f"{masks}/{{1,2}}_mask.png")
    wanted = {(f"{images}/{n}.png", f"{masks}/{n}_mask.png") for n in (1, 2)}
    found, said = names(folder, None)
    assert found == wanted
    assert f"2 images in {images}/, masks in {masks}/ as NAME_mask.png." in said


PARTS = [  # of each split: images, masks
    ("{}/images/", "{}/masks/"),
    ("{}/IMG/", "{}/Labels/"),
    ("images/{}/", "masks/{}/"),
    ("imgs/{}/", "annotations/{}/"),
    ("{}/", "{}_labels/"),
    ("{}/", "{}_masks/"),
    ("{}/", "{}annot/"),
    ("{}/", "masks/{}/"),
    ("{}_images/", "{}_masks/"),
    ("{}/", "{}/mask_"),
]


@pytest.mark.parametrize(("images", "masks"), PARTS)
@pytest.mark.parametrize(
    "splits",
    [("train", "val", "test"), ("Train", "Valid", "Test"), ("TRAINING", "validation", "testing")],
)
def test_divided(data, images, masks, splits):
    files = [f"{p.format(s)}{s.lower()}{{1,2}}.png" for s in splits for p in (images, masks)]
    folder = data(*files)
    for split, part, name in zip(("train", "val"), splits, ("", "val/"), strict=False):
        wanted = {
            (
                f"{images.format(part)}{part.lower()}{n}.png",
                f"{masks.format(part)}{part.lower()}{n}.png",
            )
            for n in (1, 2)
        }
        found, said = names(folder, split)
        assert found == wanted
        assert "holds the validation images" in said and "is for tests, so left out" in said
        assert f"evaluate.py --images {folder / images.format(splits[2])}" in said
        assert FolderDataset(folder, split).names == [f"{name}{part.lower()}{n}" for n in (1, 2)]
    assert len(FolderDataset(folder).names) == 4  # "all" has no test images, either


@pytest.mark.parametrize(("images", "masks"), PARTS)
def test_train_and_test_only(data, images, masks):
    """The validation images are drawn from train/; test images may lack their masks."""
    folder = data(f"{images.format('train')}{{1,2,3}}.png", f"{masks.format('train')}{{1,2,3}}.png")
    data(f"{images.format('test')}{{1,2}}.png")
    train, said = names(folder, "train")
    val, _ = names(folder, "val")
    assert len(train | val) == 3 and not train & val and all("train" in a for a, _ in train | val)
    assert "is for tests, so left out: it has no masks of its own." in said


@pytest.mark.parametrize("images", ["train/", "train_images/", "Training/images/"])
def test_masks_of_all_parts_in_one_folder(data, images):
    folder = data(f"{images}{{1,2,3}}.png", "masks/{1,2,3}_mask.png", "test/1.png")
    found, said = names(folder, "train")
    assert found < {(f"{images}{n}.png", f"masks/{n}_mask.png") for n in (1, 2, 3)}
    assert "3 images in" in said and "masks in masks/ as NAME_mask.png. " in said
    assert "test is for tests, so left out: it has no masks of its own." in said
    data("val/{4,5}.png", "masks/{4,5}_mask.png")
    assert names(folder, "val")[0] == {(f"val/{n}.png", f"masks/{n}_mask.png") for n in (4, 5)}
    assert len(names(folder, "train")[0]) == 3


def test_one_folder_deeper(data):
    """As archives unpack: with a folder of their own, and perhaps others beside it."""
    folder = data("all/train/{1,2}.png", "all/train/{1,2}_mask.png", "all/test/1.png")
    wanted = {(f"all/train/{n}.png", f"all/train/{n}_mask.png") for n in (1, 2)}
    assert names(folder, None)[0] == wanted and chosen(folder)[0] == "folder"
    (folder / "__MACOSX/all").mkdir(parents=True)
    folder = data("more/set/images/{1,2,3}.png", "more/set/masks/{1,2,3}.png", "more/x/1.png")
    (folder / "more/set/classes.csv").write_text("leaf,255\nbg,0\n")
    (folder / "more/set/train.txt").write_text("2\n3\n")
    opened = FolderDataset(folder / "more", "train", num_classes=0)
    assert "3 images in set/images/, masks in set/masks/ as NAME.png." in opened.stated
    assert opened.class_names == ("bg", "leaf") and opened.names == ["2", "3"]
    (folder / "more/classes.csv").write_text("tree,255\nbg,0\n")  # this one is nearer
    assert FolderDataset(folder / "more", num_classes=0).class_names == ("bg", "tree")
    data("more/other/images/1.png", "more/other/masks/1.png")
    with pytest.raises(UserError, match="more: the data may be in other/, set/. Name one of them"):
        find(folder / "more")


def programs():
    """The two programs of docs/own-data.md that copy a folder for each place, or for each image."""
    text = (Path(__file__).parent.parent / "docs/own-data.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]


def test_the_page_s_program_joins_places(data, monkeypatch):
    folder = data("my_places/{x,y}/images/1.png", "my_places/{x,y}/masks/1_mask.png")
    with pytest.raises(UserError, match="each image has a folder: x/, y/."):
        find(folder / "my_places")
    data("my_places/x/images/2.png", "my_places/x/masks/2_mask.png")
    with pytest.raises(UserError, match="be in x/, y/. .* docs/own-data.md has a program that"):
        find(folder / "my_places")
    monkeypatch.chdir(folder)
    exec(programs()[0], {})
    wanted = {(f"images/{n}.png", f"masks/{n}_mask.png") for n in ("x/1", "x/2", "y/1")}
    assert names(folder / "my_data", None)[0] == wanted


def test_the_page_s_program_makes_one_mask_of_many(data, monkeypatch):
    folder = data("stage1_train/{x,y}/images/0.png", "stage1_train/{x,y}/masks/{top}.png")
    for name in "xy":
        place = folder / "stage1_train" / name
        (place / "images/0.png").rename(place / f"images/{name}.png")
        first = np.zeros((8, 8), np.uint8)
        first[0, 3] = 255
        Image.fromarray(first).save(place / "masks/one.png")
    with pytest.raises(UserError, match="into masks/. docs/own-data.md has a program"):
        find(folder / "stage1_train")
    monkeypatch.chdir(folder)
    exec(programs()[1], {})
    opened = FolderDataset(folder / "my_data", num_classes=0)
    assert opened.names == ["x", "y"] and opened.class_names == ("background", "class1")
    wanted = np.arange(64).reshape(8, 8) > 31  # what data() draws, and the pixel
    wanted[0, 3] = True
    assert (opened.read_mask(1) == wanted).all()


def test_masks_that_may_be_of_two_images(data):
    folder = data("train/{1,2}.png", "val/{2,3}.png", "masks/{1,2,3}.png")
    with pytest.raises(UserError, match="masks: 2 may be of train/ or val/. Divide it, too."):
        find(folder)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("cat_{1,2}.png", "cat_{1,2}_mask.png"),
        ("{0001,0002}.jpg", "{0001,0002}_L.png"),
        ("train_{1,2}.png", "mask_{1,2}.png"),
        ("image{12,13}.png", "label{12,13}.png"),
        ("{1,2}.jpg", "{1,2}.png"),
        ("{1,2}.jpg", "{1,2}.jpg.png"),
        ("{a,b}/x.tif", "{a,b}/x_seg.tif"),
        ("I_{01L,02L}.jpg", "I_{01L,02L}_1stHO.png"),
    ],
)
def test_one_folder_for_all(data, image, mask):
    found, said = names(data(image, mask), None)
    assert len(found) == 2
    for own in found:
        assert own[0].endswith(Path(image).suffix) and own[1].endswith(Path(mask).suffix)
    assert "2 images" in said and "masks beside them as" in said


def test_the_first_person_s_masks(data):
    folder = data("images/{21,22}_training.tif", "1st_manual/{21,22}_manual1.gif")
    data("mask/{21,22}_training_mask.gif", "2nd_manual/{21,22}_manual2.gif")
    found, said = names(folder, None)
    assert found == {(f"images/{n}_training.tif", f"1st_manual/{n}_manual1.gif") for n in (21, 22)}
    text = "2 images in images/ as NAME_training.tif, masks in 1st_manual/ as NAME_manual1.gif."
    assert text in said


def test_two_persons_in_one_folder(data):
    folder = data("I_{01L,02L}.jpg", "I_{01L,02L}_1stHO.png", "I_{01L,02L}_2ndHO.png")
    found, said = names(folder, None)
    assert {mask for _, mask in found} == {"I_01L_1stHO.png", "I_02L_1stHO.png"}
    assert "Masks without an image, so left out: " in said


def test_second_masks_of_some_images_are_named(data):
    folder = data("x{1,2,3,4,5,6,7,8}.png", "x{1,2,3,4,5,6,7,8}_mask.png", "x{2,3,4,5}_mask_1.png")
    found, said = names(folder, None)
    assert found == {(f"x{n}.png", f"x{n}_mask.png") for n in range(1, 9)}
    left_out = ", ".join(f"own/x{n}_mask_1.png" for n in (2, 3, 4))
    assert f"Masks without an image, so left out: {left_out} and 1 more." in said


def test_masks_of_another_kind_are_not_those_of_the_tests(data):
    """DRIVE's archive: the test part has masks of the field of view only."""
    folder = data("training/images/{21,22}.tif", "training/1st_manual/{21,22}.gif")
    data("training/mask/{21,22}.gif", "test/images/{1,2}.tif", "test/mask/{1,2}.gif")
    said = FolderDataset(folder).notes
    assert "test/images is for tests, so left out: it has no masks of its own." in said
    assert "Not used, with as many files: mask/." in said
    data("test/1st_manual/{1,2}.gif", "test/2nd_manual/{1,2}.gif")
    assert f"--masks {folder / 'test/1st_manual'} scores" in FolderDataset(folder).notes


@pytest.mark.parametrize("split", ["", "train/"])
def test_masks_in_a_folder_among_the_images(data, split):
    """As tools.polygons leaves them beside what LabelMe and Roboflow write."""
    folder = data(f"{split}{{1,2,3}}.jpg", f"{split}masks/{{1,2,3}}.png")
    (folder / f"{split}1.json").touch()
    found, said = names(folder, None)
    assert found == {(f"{split}{n}.jpg", f"{split}masks/{n}.png") for n in (1, 2, 3)}
    assert "No images, so left out:" in said and "Not used" not in said
    assert chosen(folder)[0] == "folder"
    options = {"images": folder / split, "masks": folder / f"{split}masks"}
    assert names(folder, None, **options)[0] == found
    data(f"{split}4.jpg")
    with pytest.raises(UserError, match=f"{split}masks/4.png: there is no such mask"):
        FolderDataset(folder)


def test_validation_images_whose_masks_nobody_has(data):
    """DeepGlobe's archive: masks lie beside the images, those of valid/ and test/ are kept back."""
    folder = data("train/{1,2,3}_sat.jpg", "train/{1,2,3}_mask.png", "valid/{4,5}_sat.jpg")
    data("test/{6,7}_sat.jpg")
    train, said = names(folder, "train")
    val, _ = names(folder, "val")
    assert {image for image, _ in train | val} == {f"train/{n}_sat.jpg" for n in (1, 2, 3)}
    assert f"{folder}/valid has no masks, so left out." in said and "kept for validation" in said


@pytest.mark.parametrize(
    ("images", "others", "where", "what"),
    [
        (
            "x{1,2}.jpg",
            ("x1.json", "x2.json"),
            "images: there is",
            "2 .json files, such as x1.json",
        ),
        ("images/{1,2}.jpg", ("annotations/all.json",), "annotations: holds no", "1 .json file,"),
        ("images/{1,2}.jpg", ("labels/1.txt", "labels/2.txt"), "labels: holds no", "2 .txt files,"),
        ("train/images/{1,2}.jpg", ("train/labels/1.txt",), "train/labels: holds", "1 .txt file,"),
        ("train/{1,2}.jpg", ("train/_annotations.coco.json",), "images: there is", "1 .json file,"),
    ],
)
def test_annotations_that_are_no_masks(data, images, others, where, what):
    """As LabelMe, COCO, YOLO and Roboflow have them."""
    folder = data(images)
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for strict in (True, False):
        with pytest.raises(UserError) as caught:
            FolderDataset(folder, strict=strict)
        said = str(caught.value)
        assert f"{folder}/{where}" in said and f"Annotations seem to be in {what}" in said
        assert "python -m tools.polygons makes them of .json files of LabelMe and COCO." in said


def test_files_beside_masks_are_no_annotations(data):
    folder = data("images/{1,2}.jpg", "masks/{1,2}.png")
    (folder / "images/1.json").touch()
    found, said = names(folder, None)
    assert len(found) == 2 and "Annotations" not in said
    for path in (folder / "masks").iterdir():
        path.rename(folder / "masks/Thumbs.db")
    with pytest.raises(UserError, match="masks/1.png: there is no such mask"):
        FolderDataset(folder)


def test_images_are_preferred_to_originals(data):
    folder = data("images/{1,2}.png", "original/{1,2}.png", "masks/{1,2}.png")
    assert names(folder, None)[0] == {(f"images/{n}.png", f"masks/{n}.png") for n in (1, 2)}
    assert "Not used, with as many files: original/." in FolderDataset(folder).notes


def test_folders_that_are_not_used_are_named(data):
    folder = data("images/{1,2}.png", "mask/{1,2}_mask.png", "av/{1,2}.png", "more/1.png")
    assert "Not used, with as many files: av/." in FolderDataset(folder).notes
    named = FolderDataset(folder, images=folder / "images", masks=folder / "av").notes
    assert "Not used" not in named
    parts = data("x/train/{1,2}.png", "x/train_masks/{1,2}.png", "x/val/{1,2}.png")
    data("x/val_masks/{1,2}.png", "x/test/{1,2}.png", "x/test_masks/{1,2}.png")
    assert "Not used" not in FolderDataset(parts / "x").notes


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("train/Original", "train/Ground truth"),
        ("Original", "Ground Truth"),
        ("images_png", "masks_png"),
        ("images", "manual"),
        ("images", "gts"),
        ("images/train2017", "annotations/train2017"),
    ],
)
def test_folders_as_published_data_have_them(data, images, masks):
    folder = data(f"{images}/{{1,2}}.png", f"{masks}/{{1,2}}.png")
    wanted = {(f"{images}/{n}.png", f"{masks}/{n}.png") for n in (1, 2)}
    assert names(folder, None)[0] == wanted


def test_a_class_table_beside_the_images(data):
    """As Roboflow exports it: in each part."""
    folder = data("train/{1,2}.jpg", "train/{1,2}_mask.png", "valid/3.jpg", "valid/3_mask.png")
    (folder / "train/_classes.csv").write_text("Pixel Value, Class\n0, earth\n255, leaf\n")
    assert FolderDataset(folder, "val", num_classes=0).class_names == ("earth", "leaf")


def test_years_divide(data):
    folder = data("images/train2017/{1,2}.png", "images/val2017/{3,4}.png")
    data("annotations/train2017/{1,2}.png", "annotations/val2017/{3,4}.png")
    wanted = {(f"images/val2017/{n}.png", f"annotations/val2017/{n}.png") for n in (3, 4)}
    assert names(folder, "val")[0] == wanted
    data("images/val2014/5.png", "annotations/val2014/5.png")
    with pytest.raises(UserError, match="val2014/, val2017/ are named alike.*--images DIR"):
        find(folder)


def test_a_mask_is_never_its_own_image(data):
    folder = data("pool/a/{1,2}.png", "pool/b/{3,4}.png")
    with pytest.raises(UserError, match="png: its mask is not told apart .* --masks DIR"):
        FolderDataset(folder, images=folder / "pool", masks=folder / "pool")


def test_a_folder_for_each_image(data):
    folder = data(*(f"all/{n}/{part}/{n}.png" for n in "abc" for part in ("images", "masks")))
    with pytest.raises(UserError, match="each image has a folder: a/, b/, c/. Put the images"):
        find(folder / "all")


def test_images_that_are_named_like_tests_are_named(data):
    """They may be for tests; where all are, it is a name like others."""
    folder = data("{training,testing}.tif", "{training,testing}_groundtruth.tif")
    notes = FolderDataset(folder).notes
    assert "Taken, though named like tests: testing. List the training images with" in notes
    assert (
        "like tests"
        not in FolderDataset(data("b/images/test{1,2}.png", "b/gt/test{1,2}.png")).notes
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("train/a/{1,2}.png", "train/b/{1,2}.png", "test/{3,4}.png"),
            "Images are in test/ (2), train/a/ (2), train/b/ (2). Name the folders",
        ),
        (
            ("a/{1,2}.png", "b/{1,2}.png"),
            "known. Images are in a/ (2), b/ (2). If images and masks are there, name their",
        ),
        (
            ("images/{1,2}.png", "masks/{1,2}.png", "labels/{1,2}.png"),
            "labels/, masks/ are named alike",
        ),
        (
            ("images/{1,2}.png", "imgs/{1,2}.png", "masks/{1,2}.png"),
            "images/, imgs/ are named alike",
        ),
        (
            (
                "images/{1,2}.png",
                "masks/{1,2}.png",
                "train/images/{3,4}.png",
                "train/masks/{3,4}.png",
            ),
            "images may be in",
        ),
        (
            ("images/train/{1,2}.png", "images/{3,4}.png", "masks/train/{1,2}.png"),
            "images: has train/, and training images in no train/",
        ),
        (
            ("train/{1,2}.png", "train_masks/{1,2}.png", "val/{3,4}.png"),
            "no folder is known to have masks of these",
        ),
        (
            ("images/train/{1,2}.png", "images/val/{3,4}.png", "masks/val/{3,4}.png"),
            "train: no folder is known to have masks of these",
        ),
        (("test/images/{1,2}.png", "test/masks/{1,2}.png"), "no known folder of training images"),
        (("train/{1,2}.png", "masks/{1,2}.png", "labels/{1,2}.png"), "named alike"),
        (("images/{1,2}.png", "train_masks/{1,2}.png"), "own/masks: there is no such folder"),
        (("pool/{1,2}.png", "train_masks/{1,2}.png"), "laid out in no way that is known"),
        (("a/{1,2}.png", "a/{1,2}_mask.png", "test/{3,4}.png"), "no known folder of training"),
    ],
)
def test_what_is_left_open_is_asked_for(data, call, files, message):
    status, out, err = call("train", "--data", data(*files), "--num-classes", 2)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert message in err and "--images DIR --masks DIR" in err


def test_masks_in_a_folder_without_images_do_not_count(data):
    folder = data("images/{1,2}.png", "masks/{1,2}.png")
    (folder / "labels").mkdir()
    (folder / "labels/1.txt").touch()
    assert len(names(folder, None)[0]) == 2


def test_folders_that_are_named(data, call):
    folder = data("photos/{1,2,3,4}.png", "truth/{1,2,3,4}.png", "masks/{1,2,3,4}.png")
    for place, start in ((("--data", folder), ""), ((), f"{folder}/")):
        flags = ("--images", f"{start}photos", "--masks", f"{start}truth")
        args = (*place, *flags, "--num-classes", 2, "--check-data", "--epochs", 1)
        status, out, err = call("train", *args)
        assert status == 0, err
        assert "4 images in photos/, masks in truth/ as NAME.png." in out
    args = ("--images", folder / "photos", "--num-classes", 2, "--check-data", "--epochs", 1)
    status, out, err = call("train", *args)
    assert status == 0 and "4 images in photos/, masks in masks/ as NAME.png." in out
    for args, message in (
        (("--masks", folder / "truth"), "--masks goes with --images"),
        (("--images", folder / "no"), "no: there is no such folder"),
        (("--images", folder / "photos", "--masks", folder / "no"), "no: there is no such folder"),
        (("--images", folder / "photos", "--dataset", "voc"), "add --dataset folder"),
    ):
        status, out, err = call("train", "--num-classes", 2, *args)
        assert (status, out) == (2, "") and err.count("\n") == 1 and message in err


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("train", "train_labels"),
        ("train/images", "train/masks"),
        ("images/a", "masks/a"),
        ("pool", "gt"),
    ],
)
def test_masks_are_looked_for_beside_the_images(data, images, masks):
    folder = data(f"{images}/{{1,2}}.png", f"{masks}/{{1,2}}.png", "x/1.png")
    found, _ = names(folder, None, images=folder / images)
    assert found == {(f"{images}/{n}.png", f"{masks}/{n}.png") for n in (1, 2)}


def test_named_folders_may_be_divided(data):
    folder = data("a/train/{1,2}.png", "a/val/{3,4}.png", "b/train/{1,2}.png", "b/val/{3,4}.png")
    found, _ = names(folder, "val", images=folder / "a", masks=folder / "b")
    assert found == {(f"a/val/{n}.png", f"b/val/{n}.png") for n in (3, 4)}


def test_lists_of_other_programs_do_not_count_where_folders_tell(data):
    folder = data("train/{1,2}.png", "trainannot/{1,2}.png", "val/{3,4}.png", "valannot/{3,4}.png")
    (folder / "train.txt").write_text("/SegNet/train/1.png /SegNet/trainannot/1.png\n")
    assert len(names(folder, "train")[0]) == 2
    (folder / "mine.txt").write_text("val/3.png\n1\n")
    found, _ = names(folder, "train", lists=(folder / "mine.txt", None))
    assert {image for image, _ in found} == {"train/1.png", "val/3.png"}


def chosen(folder, **flags):
    given = dict.fromkeys(
        "dataset images masks train_list val_list class_names num_classes class_table "
        "classes".split()
    )
    return choose(argparse.Namespace(**{**given, "data": str(folder), **flags}))


def test_the_data_set_is_chosen_by_the_layout(data, voc, isbi, tmp_path):
    assert chosen(voc, num_classes=3) == ("voc", "")
    assert chosen(data("images/1.png", "masks/1.png")) == ("folder", "")
    which, note = chosen(isbi)
    assert which == "isbi" and "With --dataset folder, they are own data" in note
    assert chosen(isbi, num_classes=2)[0] == "folder"
    assert chosen(isbi, dataset="folder") == ("folder", "")
    Image.new("RGB", (8, 8)).save(isbi / "image/10.png")
    (tmp_path / "stacks").mkdir()
    for name in ("train-volume.tif", "train-labels.tif"):
        (tmp_path / "stacks" / name).touch()
    assert chosen(tmp_path / "stacks")[0] == "isbi"
    (voc / "ImageSets").rename(voc / "lists")
    assert chosen(voc)[0] == "folder"
    assert len(names(voc, None, num_classes=3)[0]) == 6


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("img_dir/train/{}.jpg", "ann_dir/train/{}.png"),  # MMSegmentation
        ("training/image_2/{}_10.png", "training/semantic/{}_10.png"),  # KITTI
        ("train_img/{}.jpg", "train_lab/{}.png"),  # DeepCrack
        ("traindata/{}.jpg", "traindata/{}_mask.png"),  # Crack500
        ("images/{}.jpg", "SegmentationClass/{}.png"),  # CVAT, with images beside its export
        ("JPEGImages/{}.jpg", "SegmentationClassPNG/{}.png"),  # labelme2voc
    ],
)
def test_folders_of_other_programs(data, images, masks):
    folder = data(*(pattern.format("{1,2,3}") for pattern in (images, masks)))
    wanted = {(images.format(n), masks.format(n)) for n in (1, 2, 3)}
    assert names(folder, None)[0] == wanted and chosen(folder)[0] == "folder"


def test_cityscapes_has_four_masks_of_an_image(data):
    images, masks = "leftImg8bit/train/a/a_{1,2}_leftImg8bit.png", "gtFine/train/a/a_{1,2}_gtFine_"
    kinds = ["color", "instanceIds", "labelIds"]
    folder = data(images, *(f"{masks}{kind}.png" for kind in kinds))
    for kind in ("labelIds", "labelTrainIds"):
        data(f"{masks}{kind}.png")
        found, said = names(folder, None)
        assert {mask for _, mask in found} == {
            f"gtFine/train/a/a_{n}_gtFine_{kind}.png" for n in "12"
        }
        assert f"masks in gtFine/train/ as NAME_gtFine_{kind}.png." in said


def test_numbers_behind_names_in_a_list(data, tmp_path):
    """As in the lists of Oxford-IIIT Pet: class, species and breed."""
    folder = data("images/{a_1,a_2,a_3}.jpg", "annotations/trimaps/{a_1,a_2,a_3}.png")
    (tmp_path / "list.txt").write_text("a_1 1 1 1\na_3 2 2 1\n")
    found, _ = names(folder, "train", lists=(tmp_path / "list.txt", None))
    assert {image for image, _ in found} == {"images/a_1.jpg", "images/a_3.jpg"}
    long = f"a_1 {'0.25 ' * 40}\na_3 images/a_3.jpg\na_2 1\n"
    (tmp_path / "list.txt").write_text(long)
    assert len(names(folder, "train", lists=(tmp_path / "list.txt", None))[0]) == 3
    for copied in ("a_2 (2)", "a_2 - copy", "a_2 (2).jpg", "a_2 copy.jpg", "a_2 2.png"):
        (tmp_path / "list.txt").write_text(f"a_1\n{copied}\n")
        with pytest.raises(UserError, match="this list names a_2 .*, which images/ lacks"):
            names(folder, "train", lists=(tmp_path / "list.txt", None))


def test_tests_of_other_names_are_named(data):
    folder = data("train_{1,2}.bmp", "train_{1,2}_anno.bmp", "testA_{1,2}.bmp")
    notes = FolderDataset(data("testA_{1,2}_anno.bmp")).notes
    assert "Taken, though named like tests: testA_1, testA_2." in notes, folder


def test_own_classes_in_voc_s_layout(voc, monkeypatch):
    """Else id 1 would be called aeroplane. VOC's own masks hold a person, 15, among others."""
    kind, note = chosen(voc)
    assert kind == "folder" and "masks with the ids 0 to 2 only, so they are own data." in note
    assert chosen(voc, dataset="voc")[0] == chosen(voc, class_names=("a", "b", "c"))[0] == "voc"
    Path("data/VOCdevkit").mkdir(parents=True)
    Path("data/VOCdevkit/VOC2012").symlink_to(voc)
    kind, note = chosen("", data=None)
    assert kind == "voc" and note.endswith("If they are your own classes, name it with --data.")
    mask = voc / "SegmentationClass/picture3.png"
    for value in (4, 15):  # ids between are missing, as in a part of VOC
        Image.fromarray(np.full((40, 48), value, np.uint8)).save(mask)
        assert chosen(voc) == ("voc", "") == chosen("", data=None)
    Image.new("RGB", (48, 40)).save(mask)
    assert chosen(voc) == ("voc", "")


def test_a_class_table_counts_beside_voc_s_lists(voc):
    """As CVAT exports it; the lists tell training and validation images apart."""
    table = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,0,0::\ncar:0,128,0::\n"
    (voc / "labelmap.txt").write_text(table + "ignored:224,224,192::\n")
    assert chosen(voc) == ("folder", "")
    data = FolderDataset(voc, "train", num_classes=0)
    assert data.class_names == ("background", "road", "car") and len(data.image_info) == 4
    assert set(np.unique(data.load(0)[1])) == {0, 1, 2, 255}
    assert len(FolderDataset(voc, "val", num_classes=0).image_info) == 2
    for name in ("train", "val"):
        (voc / f"ImageSets/Segmentation/{name}.txt").unlink()
    assert len(FolderDataset(voc, None, num_classes=0).image_info) == 6


def test_images_for_tests_that_are_taken_are_named(data):
    """Where names alone tell masks from images, folders have no meaning that is known."""
    folder = data("ISIC_Train/{1,2}.png", "ISIC_Train/{1,2}_mask.png", "ISIC_Test/3.png")
    (folder / "ISIC_Test/3_mask.png").write_bytes((folder / "ISIC_Test/3.png").read_bytes())
    notes = FolderDataset(folder, None).notes
    assert "Taken, though in folders for tests: ISIC_Test/3. Name the folders with" in notes
    assert "for tests" not in FolderDataset(data("images/latest/4.png", "masks/latest/4.png")).notes


def test_folders_of_images_without_any_mask_are_left_out(data):
    """As ISIC has them: names alone tell masks from images, and tests have no masks."""
    data("A_Input/{a1,a2,a3,a5,a6}.jpg", "A_GroundTruth/{a1,a2,a3,a5,a6}_segmentation.png")
    folder = data("B_Input/{b1,b2}.jpg")
    opened = FolderDataset(folder)
    assert opened.names == [f"A_Input/a{n}" for n in (1, 2, 3, 5, 6)]
    alone = "Images in folders without masks, so left out: own/B_Input/b1.jpg, own/B_Input/b2.jpg."
    assert alone in opened.notes
    data("A_Input/a4.jpg")
    with pytest.raises(UserError, match="a4_segmentation.png: there is no such mask"):
        FolderDataset(folder)


def test_where_most_images_have_no_mask_yet_the_first_of_them_is_named(data):
    folder = data("images/x_{1,2,3,4,5}.jpg", "masks/x_{1,2}_mask.png")
    with pytest.raises(UserError, match="x_3_mask.png: there is no such mask"):
        FolderDataset(folder)


def test_colour_images_are_no_slices(tmp_path):
    isbi = write_isbi(tmp_path / "isbi", 2)
    for path in (isbi / "image").iterdir():
        Image.new("RGB", (32, 32)).save(path)
    assert chosen(isbi)[0] == "folder"


@pytest.mark.slow
def test_isbi_s_layout_trains_and_tests_are_scored(eagerly, call, isbi, data):
    small = ("--size", 16, 16, "--filters", 2, "--epochs", 1)
    status, out, err = call("train", "--data", isbi, *small, "--crop", 16, 16)
    assert status == 0 and "the data set is isbi" in err
    folder = data("train/{1,2,3,4}.png", "train_masks/{1,2,3,4}.png")
    data("test/{1,2,3}.png", "test_masks/{1,2,3}.png")
    status, out, err = call("train", "--data", folder, "--num-classes", 2, *small)
    assert status == 0 and "is for tests, so left out" in err
    flags = err.split("evaluate.py ")[1].split(" scores")[0].split()
    status, out, err = call("evaluate", "--weights", "runs/folder", *flags)
    assert status == 0 and "3 images (folder, all)" in out, err  # though names are the same
    assert "1 images (folder, val)" in call("evaluate", "--weights", "runs/folder")[1]
    status, _, err = call("evaluate", "--weights", "runs/folder", "--data", folder / "nowhere")
    assert status == 2 and "there is no such folder" in err


@pytest.mark.skipif(not DATA.exists(), reason="needs the real data")
def test_real_data():
    assert PRESETS["folder"].data is None
    drive = find(DATA / "drive")[1][""]
    assert (drive.images.name, drive.masks.name) == ("images", "1st_manual")
    infos, rule, _ = drive.pairs()
    assert rule == ("", "_training", "", "_manual1") and len(infos) == 20
    assert chosen(DATA / "isbi/train")[0] == "isbi"
    assert chosen(DATA / "voc-animals") == ("voc", "")
    data = FolderDataset(DATA / "isbi/train")
    assert len(data.names) == 25 and "masks in label/ as NAME.png" in data.stated
