"""Masks from what LabelMe and COCO files hold; the files are as those programs write them."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from core.evaluation.check import survey
from core.imaging.image import read_mask
from core.sources.folder import FolderDataset
from tools.polygons import fill, run_lengths


def labelme(shapes, image="..\\images\\leaf.jpg", size=(6, 8)):
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": [
            {"label": label, "points": points, "group_id": None, "description": "",
             "shape_type": kind, "flags": {}, "mask": mask}
            for label, kind, points, mask in shapes
        ],
        "imagePath": image,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }  # fmt: skip


def coco(annotations, names=("cat", "dog"), files=("a.jpg",)):
    return {
        "info": {"description": "", "version": "1.0", "year": 2024},
        "licenses": [],
        "images": [
            {"id": 10 + i, "file_name": file, "height": 6, "width": 7, "license": 0}
            for i, file in enumerate(files)
        ],
        "annotations": [
            {"id": i, "image_id": 10, "category_id": category, "segmentation": area,
             "area": 1.0, "bbox": [0, 0, 1, 1], "iscrowd": int(isinstance(area, dict))}
            for i, (category, area) in enumerate(annotations)
        ],
        "categories": [
            {"id": 3 * i + 1, "name": name, "supercategory": ""} for i, name in enumerate(names)
        ],
    }  # fmt: skip


@pytest.fixture
def convert(call, tmp_path):
    def run(content, *args, name="file.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return call("tools.polygons", path, "--output", "data", *args)

    return run


def test_runs_of_pycocotools():
    """What `pycocotools.mask.encode` makes of the mask, compressed; and the same runs."""
    mask = np.zeros((6, 7), bool)
    mask[1:4, 2:5] = mask[5, 0] = True
    np.testing.assert_array_equal(run_lengths("5172L000;", (6, 7)), mask)
    np.testing.assert_array_equal(run_lengths([5, 1, 7, 3, 3, 3, 3, 3, 14], (6, 7)), mask)
    assert run_lengths([0, 42], (6, 7)).all() and not run_lengths([42], (6, 7)).any()


def test_corners_are_those_of_pixels():
    mask = np.zeros((8, 8), np.uint8)
    fill(mask, np.array([(1, 2), (5, 2), (5, 6), (1, 6)], float), 3)
    wanted = np.zeros((8, 8), np.uint8)
    wanted[2:6, 1:5] = 3
    np.testing.assert_array_equal(mask, wanted)
    fill(mask, np.array([(-9, -9), (20, -9), (20, 20), (-9, 20)], float), 1)
    assert (mask == 1).all()
    fill(mask, np.array([(30, 30), (40, 30), (40, 40)], float), 2)
    assert (mask == 1).all()


def test_polygons_as_scikit_image_fills_them(rng):
    """It asks whether a pixel's centre is inside; ours may differ within a tenth of a pixel."""
    different = total = 0
    for _ in range(50):
        angles = np.sort(rng.random(7)) * 2 * np.pi
        radius = rng.uniform(12, 45, (7, 1))
        corners = 40 + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
        mask = np.zeros((80, 80), np.uint8)
        fill(mask, corners, 1)
        wanted = polygon2mask((80, 80), corners[:, ::-1] - 0.5)
        different, total = different + (mask != wanted).sum(), total + wanted.sum()
    assert total > 50_000 and different / total < 0.02


def test_labelme(convert, tmp_path):
    circle = np.uint8([[1, 1], [0, 1]])
    file = io.BytesIO()
    Image.fromarray(circle * 255).save(file, "PNG")
    shapes = [
        ("leaf", "polygon", [[0, 0], [8, 0], [8, 3], [0, 3]], None),
        ("stem", "rectangle", [[6, 1], [4, 6]], None),  # on top of the leaf
        ("hole", "mask", [[1, 4], [2, 5]], base64.b64encode(file.getvalue()).decode()),
        ("__ignore__", "polygon", [[0, 0], [1, 0], [1, 1], [0, 1]], None),
        ("leaf", "line", [[0, 0], [8, 6]], None),
    ]
    status, out, err = convert(labelme(shapes), name="labels/leaf.json")
    assert status == 0, err
    assert out.splitlines() == [
        "data/masks: 1 masks of 4 classes: background, hole, leaf, stem.",
        "Ignored (255): 1 __ignore__.",
        "Left out, without an area: 1 leaf.",
    ]
    np.testing.assert_array_equal(
        read_mask("data/masks/leaf.png"),
        [
            [255, 2, 2, 2, 2, 2, 2, 2],
            [2, 2, 2, 2, 3, 3, 2, 2],
            [2, 2, 2, 2, 3, 3, 2, 2],
            [0, 0, 0, 0, 3, 3, 0, 0],
            [0, 1, 1, 0, 3, 3, 0, 0],
            [0, 0, 1, 0, 3, 3, 0, 0],
        ],
    )
    assert Path("data/classes.csv").read_text() == (
        "name,value\nbackground,0\nhole,1\nleaf,2\nstem,3\n"
    )


def test_a_circle_and_a_size_that_is_not_in_the_file(convert, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "c.png")
    content = labelme([("dot", "circle", [[20, 20], [30, 20]], None)], "c.png")
    content["imageHeight"] = content["imageWidth"] = None
    assert convert(content)[0] == 0
    mask = read_mask("data/masks/c.png")
    assert mask.shape == (40, 40) and mask.sum() == pytest.approx(np.pi * 100, rel=0.03)


def test_coco(convert):
    square = [1, 1, 4, 1, 4, 4, 1, 4]
    annotations = [
        (4, [[0, 0, 7, 0, 7, 6, 0, 6]]),
        (1, [square, [5, 0, 7, 0, 7, 2, 5, 2]]),  # two parts of one object
        (4, {"counts": "5172L000;", "size": [6, 7]}),
        (1, []),
    ]
    status, out, err = convert(coco(annotations, files=("a.jpg", "more/b.jpg")))
    assert status == 0, err
    assert out.splitlines()[0].endswith("2 masks of 3 classes: background, cat, dog.")
    assert out.splitlines()[1] == "Left out, without an area: 1 cat."
    np.testing.assert_array_equal(
        read_mask("data/masks/a.png"),
        [
            [2, 2, 2, 2, 2, 1, 1],
            [2, 1, 2, 2, 2, 1, 1],
            [2, 1, 2, 2, 2, 2, 2],
            [2, 1, 2, 2, 2, 2, 2],
            [2, 2, 2, 2, 2, 2, 2],
            [2, 2, 2, 2, 2, 2, 2],
        ],
    )
    assert not read_mask("data/masks/more/b.png").any()


def test_classes_without_objects_keep_their_numbers(convert):
    """So a COCO file of validation images, which lacks a class, has the ids of the other file."""
    status, out, _ = convert(coco([(4, [[0, 0, 7, 0, 7, 6, 0, 6]])]))
    assert status == 0 and "3 classes: background, cat, dog" in out and "Left out" not in out
    assert (read_mask("data/masks/a.png") == 2).all()


def test_background_and_void_by_name(convert):
    names = "bg", "Unlabeled", "dog"
    annotations = [
        (7, [[0, 0, 7, 0, 7, 6, 0, 6]]),
        (1, [[0, 0, 2, 0, 2, 6, 0, 6]]),
        (4, [[5, 0, 7, 0, 7, 6, 5, 6]]),
    ]
    status, out, _ = convert(coco(annotations, names))
    assert status == 0 and "Ignored (255): 1 Unlabeled." in out
    assert read_mask("data/masks/a.png")[0].tolist() == [0, 0, 1, 1, 1, 255, 255]


def test_a_turned_rectangle_and_a_table_that_is_there(convert):
    Path("data").mkdir()
    Path("data/classes.csv").write_text("mine")
    content = labelme([("a", "oriented_rectangle", [[0, 0], [8, 0], [8, 6], [0, 6]], None)])
    status, _, err = convert(content)
    assert status == 2 and "data/classes.csv: is there already" in err
    assert Path("data/classes.csv").read_text() == "mine"
    Path("data/classes.csv").unlink()
    assert convert(content)[0] == 0 and (read_mask("data/masks/leaf.png") == 1).all()


def test_named_classes(convert):
    annotations = [(1, [[0, 0, 3, 0, 3, 6, 0, 6]]), (4, [[4, 0, 7, 0, 7, 6, 4, 6]])]
    status, out, _ = convert(coco(annotations), "--class-names", "ground,dog,bird")
    assert status == 0 and "Ignored (255): 1 cat." in out
    assert read_mask("data/masks/a.png")[0].tolist() == [255, 255, 255, 0, 1, 1, 1]


def test_the_first_class_is_what_nothing_is_drawn_on(convert):
    annotations = [(1, [[0, 0, 3, 0, 3, 6, 0, 6]]), (4, [[4, 0, 7, 0, 7, 6, 4, 6]])]
    for names in ("cat,dog", "dog,background,cat"):
        status, out, err = convert(coco(annotations), "--class-names", names)
        assert (status, out) == (2, "") and "is drawn, but the first class is that of all" in err
        assert err.count("\n") == 1 and not Path("data").exists()
    status, out, _ = convert(coco(annotations), "--class-names", "background,dog,bird,cow")
    assert status == 0 and "Nothing is drawn of: bird, cow." in out


def test_polygons_without_an_area_or_beyond_the_image(convert):
    """LabelMe's null is a polygon; one or two corners have no area; corners may be far away."""
    far = [[-1e7, -1e7], [1e7, -1e7], [1e7, 1e7], [-1e7, 1e7]]
    shapes = [("leaf", None, far, None), ("stem", "polygon", [[1, 1], [5, 5]], None)]
    status, out, err = convert(labelme(shapes), name="labels/leaf.json")
    assert status == 0 and "Left out, without an area: 1 stem." in out, err
    assert (read_mask("data/masks/leaf.png") == 1).all()


def changed(content, **changes):
    return {**content, **changes}


LEAF = [("leaf", "polygon", [[0, 0], [8, 0], [8, 3]], None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            changed(labelme(LEAF), imageHeight="6"),
            "its size is 6x8. Height and width must",
        ),
        (changed(labelme(LEAF), imageHeight=6.0), "its size is 6.0x8"),
        (changed(labelme(LEAF), imageHeight=-6), "its size is -6x8"),
        (labelme([(5, *LEAF[0][1:])]), "a class is called 5. Names must be texts"),
        (labelme([("leaf", "polygon", [[0, 0], [float("nan"), 0], [8, 3]], None)]), "is no number"),
        (coco([(1, {"counts": [2, 2], "size": [2, 2]})]), "a: a mask of cat has another size"),
        (changed(coco([]), images=2 * coco([])["images"]), "two images have one id"),
    ],
)
def test_what_cannot_be_drawn_is_said(convert, content, message):
    Path("data").mkdir()
    status, out, err = convert(content)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "file.json: " in err and message in err
    assert Path("data").is_dir() and not [*Path("data").iterdir()]


def test_what_comes_out_is_a_data_set(convert):
    Path("data/images").mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (7, 6)).save(f"data/images/{name}.jpg")
    content = coco([(1, [[0, 0, 3, 0, 3, 6, 0, 6]])], ("cat",), ("a.jpg", "b.jpg"))
    assert convert(content)[0] == 0
    dataset = FolderDataset("data", num_classes=2)
    assert survey(dataset).pixels[:2].tolist() == [42 + 24, 18]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("train\\a.jpg", "train/a"),
        ("C:\\photos\\a.jpg", "a"),
        ("/home/me/a.jpg", "a"),
        ("https://x.y/b/a.jpg", "a"),
        ("b/a.x.jpg", "b/a.x"),
    ],
)
def test_paths_of_other_machines(convert, file, name):
    assert convert(coco([], files=(file,)))[0] == 0
    masks = [path for path in Path("data/masks").rglob("*") if path.is_file()]
    assert masks == [Path(f"data/masks/{name}.png")]


def test_a_file_that_begins_with_a_byte_order_mark(call, tmp_path):
    (tmp_path / "coco.json").write_text(json.dumps(coco([])), encoding="utf-8-sig")
    status, out, err = call("tools.polygons", tmp_path / "coco.json", "--output", tmp_path / "x")
    assert status == 0 and "masks: 1 masks of 3 classes" in out, err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"shapes": []}, "is neither of LabelMe nor of COCO"),
        ([], "holds no .json file of LabelMe or COCO"),
        ({"a": 1}, "holds no .json file of LabelMe or COCO"),
        (coco([(9, [])]), "is neither of LabelMe nor of COCO (KeyError(9))"),
        (coco([], files=("../a.jpg",)), "leads outside"),
        (coco([], files=(None,)), "is neither of LabelMe nor of COCO (TypeError"),
        (coco([], files=("a.jpg", "a.png")), "has 2 images of the name a"),
    ],
)
def test_files_that_cannot_be_used(convert, content, message):
    status, out, err = convert(content)
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1
    assert not Path("data").exists()


def test_masks_that_are_there(convert, call):
    assert convert(coco([]))[0] == 0
    status, out, err = convert(coco([]))
    assert (status, out) == (2, "") and "data/masks: is there already" in err
    assert call("tools.polygons", "none")[0] == 2
