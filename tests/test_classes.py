"""Class tables, and the classes of masks of which nothing is said."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from core.config import PRESETS, Found
from core.imaging.draw import voc_palette
from core.prediction.model_file import from_json, read_settings, to_json
from core.sources.choose import classes_writer, open_both, open_dataset, with_classes
from core.sources.detect import open_scored
from core.sources.folder import FolderDataset
from core.sources.own.classes import read_table
from core.sources.own.palettes import class_rows, differs
from core.support.errors import UserError

BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)
CAMVID = "name,r,g,b\nRoad,0,0,255\nVoid,0,0,0\nTree,0,255,0\n"


def write(folder, *rows, suffix=".png", table=None, name="classes.csv"):
    """Writes masks of the given rows of greys or colours, with images, and a class table."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        values = np.array([row], np.uint8)
        Image.fromarray(values).save(folder / f"masks/{number}{suffix}", quality=50)
        noise = np.random.default_rng(number).integers(0, 255, (*values.shape[:2], 3), np.uint8)
        Image.fromarray(noise).save(folder / f"images/{number}.png")
    if table:
        (folder / name).write_text(table)
    return folder


def opened(folder, **options):
    """The names, the reading, and the ids of all masks."""
    data = FolderDataset(folder, num_classes=0, **options)
    return data, [data.load(i)[1][0].tolist() for i in range(len(data.image_info))]


@pytest.mark.parametrize(
    ("name", "text", "names", "rows"),
    [
        ("class_dict.csv", CAMVID, ("Road", "Tree"),
         [("Road", None, BLUE, False), ("Void", None, BLACK, True), ("Tree", None, GREEN, False)]),
        ("class_dict.csv", "class_name, r, g, b\ncar,255,0,0\nbackground,0,0,0\n",
         ("background", "car"),
         [("car", None, RED, False), ("background", None, BLACK, False)]),
        ("classes.csv", "a,0\nb,128\n", ("a", "b"),
         [("a", 0, None, False), ("b", 128, None, False)]),
        ("classes.csv", "0,background\n 128, 2\n", ("background", "2"),
         [("background", 0, None, False), ("2", 128, None, False)]),
        ("classes.csv", "value;ignore;name\n2;;b\n\n0;yes;edge\n1;;a\n", ("a", "b"),
         [("b", 2, None, False), ("edge", 0, None, True), ("a", 1, None, False)]),
        ("classes.csv", '\ufeff"a, b",0,0,0\nc,0,255,0\n', ("a, b", "c"),
         [("a, b", None, BLACK, False), ("c", None, GREEN, False)]),
        ("classes.txt", "sky\ntree 1\ntree 2\n", ("sky", "tree 1", "tree 2"),
         [(name, None, None, False) for name in ("sky", "tree 1", "tree 2")]),
        ("classes.txt", "1 leaf\n0 bg\n", ("bg", "leaf"),
         [("leaf", 1, None, False), ("bg", 0, None, False)]),
        ("classes.txt", "bg: 0\nold leaf: 1\n", ("bg", "old leaf"),
         [("bg", 0, None, False), ("old leaf", 1, None, False)]),
        ("label_colors.txt", "255 0 0\t\tcar\n0 0 0\t\tVoid\n0 0 255\t\told road\n",
         ("car", "old road"),
         [("car", None, RED, False), ("Void", None, BLACK, True),
          ("old road", None, BLUE, False)]),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, leaf\n", ("background", "leaf"),
         [("background", 0, None, False), ("leaf", 1, None, False)]),
        ("classes.csv", "name,Mask Value,supercategory\nbg,0,x\nleaf,7,y\n", ("bg", "leaf"),
         [("bg", 0, None, False), ("leaf", 7, None, False)]),
        ("classes.csv", "class,hex\nbg,#000000\nleaf,ff0000\n", ("bg", "leaf"),
         [("bg", None, BLACK, False), ("leaf", None, RED, False)]),
        ("classes.csv", 'class,color\nbg,"[0, 0, 0]"\nleaf,0 0 255\n', ("bg", "leaf"),
         [("bg", None, BLACK, False), ("leaf", None, BLUE, False)]),
        ("classes.csv", "name,id,color,\nbg,0,black,\nleaf,1,green,\n", ("bg", "leaf"),
         [("bg", 0, None, False), ("leaf", 1, None, False)]),
        ("classes.csv", "name,r,g,b\nbg,0,0,0\na:b:c:d,255,0,0\n", ("bg", "a:b:c:d"),
         [("bg", None, BLACK, False), ("a:b:c:d", None, RED, False)]),
        ("labelmap.txt",
         "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:0,0,255:a,b:\n",
         ("background", "road"),
         [("background", None, BLACK, False), ("road", None, BLUE, False)]),
        ("labelmap.txt", "background: 0, 0, 0::\nroad:0,0,255::\n", ("background", "road"),
         [("background", None, BLACK, False), ("road", None, BLUE, False)]),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:::\nroad:::\n",
         ("background", "road"),
         [("background", None, None, False), ("road", None, None, False)]),
    ],
)  # fmt: skip
def test_tables_of_all_kinds(tmp_path, name, text, names, rows):
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = read_table(tmp_path / name)
    assert (table.names, list(table.rows)) == (names, rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,r,g,b\na,0,0,0\nb,0,256,0\n", "line 3: g is '256'. It must be a whole number, 0 to"),
        ("name,r,g,b\na,0,0,0\n\nb,1,1\n", "line 4: has 3 columns, and not 4"),
        ("name,r,g\na,0,0\n", "line 1: the columns are name, r, g. A colour needs r, g and b"),
        ("a,1,2\nb,2,3\n", "line 1: has 3 columns and no header"),
        ("a,0\nb,0\n", "line 2: b has the value 0, as a has"),
        ("0,a\nb,1\n", "line 1: value is 'a'. It must be a whole number"),
        ("a,0\n1,b\n", "line 2: value is 'b'. It must be a whole number"),
        ("0,1\n1,2\n", "line 1: has 2 columns and no header. Begin with a line such as name"),
        ("a,0,0,0\n0,b\n", "line 2: has 2 columns, and not 4"),
        ("a,0,0,0\nb,0,0,0\n", "line 2: b has the colour 0,0,0, as a has"),
        ("a,0\n,1\n", "line 2: there is no name"),
        ("a,0\nvoid,1\n", "has 1 classes besides ignored ones"),
        ("name,hue\na,0\nb,1\n", "line 1: the columns are name, hue, and none of them has what"),
        ("name,id,Mask Value\na,0,1\nb,1,0\n", "line 1: id and Mask Value mean the same. Take out"),
        ("name,hex\na,#00000000\nb,1 2 3\n", "line 2: colour is '#00000000'. It must be like #8"),
        ("name,hex\na,#000000\nb,-1 2 3\n", "line 3: colour is '-1 2 3'. It must be like #8"),
        ("name,rgb\na,0 0 0\nb,1 1\n", "line 3: colour is '1 1'. It must be like #800000 or 128 0"),
        ("a:0,0,0::\nb:::\n", "line 2: some classes have a colour, others none"),
        ("a:0,0,0::\nb:0,0::\n", "line 2: 'b:0,0::' must be like road:128,64,128::"),
        ("a:0,0,0::\nb,1,1,1\n", "line 2: 'b,1,1,1' must be like road:128,64,128::"),
        ("", "has 0 classes"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path, text, message):
    path = tmp_path / ("labelmap.txt" if "::" in text else "classes.csv")
    path.write_text(text)
    with pytest.raises(UserError, match=f"^{path}.*") as raised:
        read_table(path)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_labelme_counts_from_minus_one(tmp_path):
    """Its labels.txt begins with __ignore__, which is -1 in its masks, 255 as a byte."""
    write(
        tmp_path, [0, 1, 2, 255], table="__ignore__\n_background_\nleaf\nstem\n", name="classes.txt"
    )
    data, ids = opened(tmp_path)
    assert data.class_names == ("_background_", "leaf", "stem")
    assert ids == [[0, 1, 2, 255]]


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="none.csv: this class table cannot be read"):
        FolderDataset(write(tmp_path, [0, 1]), class_table=tmp_path / "none.csv")


COLOURS = [BLUE, BLACK, GREEN]
TABLES = [
    # any colours; void is ignored; the table's colours are the palette
    ([COLOURS, [GREEN, GREEN, BLUE]], CAMVID, [[0, 255, 1], [1, 1, 0]], ("Road", "Tree"),
     (BLUE, GREEN)),
    # the background comes first
    ([[RED, BLACK]], "car,255,0,0\nbg,0,0,0\n", [[1, 0]], ("bg", "car"), (BLACK, RED)),
    # values
    ([[0, 128, 255]], "a,0\nb,128\nc,255\n", [[0, 1, 2]], ("a", "b", "c"), None),
    ([[0, 128, 255]], "a,0\nvoid,128\nc,255\n", [[0, 255, 1]], ("a", "c"), None),
    ([[0, 128, 255]], "a,0\nb,128\n", [[0, 1, 255]], ("a", "b"), None),
    # ids, as the values say or in the order of the rows; two rows of a name are one class
    ([[0, 1, 2, 255]], "c,2\nb,1\na,0\n", [[0, 1, 2, 255]], ("a", "b", "c"), None),
    ([[0, 1, 2, 255]], CAMVID, [[0, 255, 1, 255]], ("Road", "Tree"), (BLUE, GREEN)),
    ([[0, 1, 2]], "a,0\nb,1\na,2\n", [[0, 1, 0]], ("a", "b"), None),
    ([[0, 1, 2]], "a\nb\nbackground", [[1, 2, 0]], ("background", "a", "b"), None),
    # values, and colours for people
    ([[0, 7]], "name,value,r,g,b\na,0,255,0,0\nb,7,0,255,0\n", [[0, 1]], ("a", "b"), (RED, GREEN)),
    # names alone: black and white
    ([[0, 255]], "a\nb\n", [[0, 1]], ("a", "b"), None),
]  # fmt: skip


@pytest.mark.parametrize(("masks", "table", "ids", "names", "palette"), TABLES)
def test_masks_are_read_by_a_table(tmp_path, masks, table, ids, names, palette):
    data, found = opened(write(tmp_path, *masks, table=table))
    assert (found, data.class_names, data.num_classes) == (ids, names, len(names))
    voc = tuple(map(tuple, voc_palette()[: len(names)].tolist()))
    assert (data.palette or voc) == (palette or voc)
    assert f"by {tmp_path / 'classes.csv'}." in data.notes
    # what is written into a run's folder says the same
    kept = Found(masks=data.reading, palette=data.palette)
    (tmp_path / "run").mkdir()
    asked = dataclasses.replace(PRESETS["folder"], class_names=names)
    classes_writer(tmp_path / "run", asked, kept).on_train_begin(None)
    again, same = opened(tmp_path, class_table=tmp_path / "run/classes.csv")
    assert (same, again.class_names, again.palette or voc) == (ids, names, palette or voc)
    # and so does what the model keeps, without a table
    config = dataclasses.replace(PRESETS["folder"], class_names=names)
    kept = from_json(to_json(config, dataclasses.replace(kept, palette=voc)))[1]
    (tmp_path / "classes.csv").unlink()
    assert opened(tmp_path, class_names=names, reading=kept.masks)[1] == ids


def test_indices_with_the_colours_of_a_table(tmp_path):
    """The colours count, whatever the indices; without them, the indices are the rows."""
    write(tmp_path, [0, 1, 2], table="a,0,0,0\nb,255,0,0\nc,0,255,0\n")
    for palette, ids in (([*BLACK, *GREEN, *RED], [0, 2, 1]), ([*BLACK, *BLUE, *BLUE], [0, 1, 2])):
        mask = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
        mask.putpalette(palette)
        mask.save(tmp_path / "masks/0.png")
        assert opened(tmp_path)[1] == [ids]


@pytest.mark.parametrize(
    ("table", "held", "message"),
    [
        ("fg,255,255,255\nbg,0,0,0\n", [0, 1], "0 in the masks is the colour of bg, but by the or"),
        ("a,9,0,0\nb,0,0,0\nvoid,9,9,9\n", [0, 1, 2], "order of the rows a. Say what masks hold"),
        ("leaf\nbg\n", [0, 255], "the masks hold 0 and 255. Say by a column value which class"),
        ("fg,255\nbg,0\n", [0, 1], "has no row for 1"),
    ],
)
def test_two_readings_are_asked_about(tmp_path, table, held, message):
    with pytest.raises(UserError) as raised:
        opened(write(tmp_path, held, table=table))
    assert "classes.csv: " in str(raised.value) and message in str(raised.value)


def test_colours_that_a_table_lacks(tmp_path):
    """They are counted and named; with a row for what is ignored, they are ignored."""
    write(tmp_path, COLOURS, [RED, RED, BLUE, BLUE], table="a,0,0,0\nb,0,255,0\nc,0,0,255\n")
    lacks = "classes.csv: has no row for #ff0000 (28.57% of all pixels, in 1.png)"
    with pytest.raises(UserError) as raised:
        opened(tmp_path)
    assert lacks in str(raised.value) and "one named void" in str(raised.value)
    write(tmp_path, table=CAMVID)
    data, ids = opened(tmp_path)
    assert ids == [[0, 255, 1], [255, 255, 0, 0]] and f"{lacks}, which count as ig" in data.notes
    reading = data.reading
    write(tmp_path / "new", [RED, BLUE])
    assert opened(tmp_path / "new", class_names=data.class_names, reading=reading)[1] == [[255, 0]]


def test_a_table_counts_where_it_says_the_same_classes_in_another_way(tmp_path):
    """Masks to score may have other ids or values; a table of other classes is not used."""
    names = ("background", "red", "green")
    trained = dataclasses.replace(PRESETS["folder"], class_names=names, data="elsewhere")

    def scored(*rows, table):
        config = dataclasses.replace(trained, data=str(write(tmp_path, *rows, table=table)))
        data, part = open_scored(config, None, None, trained, reading="ids")
        assert part == "all"
        return [data.load(i)[1][0].tolist() for i in range(len(data.image_info))], data.notes

    ids, notes = scored([0, 1, 2], [0, 0, 1], table="background,0\ngreen,1\nred,2\n")
    assert ids == [[0, 2, 1], [0, 0, 2]] and f"by {tmp_path / 'classes.csv'}" in notes
    ids, _ = scored([10, 20, 30], [10, 10, 20], table="background,10\nred,20\ngreen,30\n")
    assert ids == [[0, 1, 2], [0, 0, 1]]
    ids, notes = scored([0, 1, 2], [0, 0, 1], table="background,0\nred,1\ngreen,2\n")
    assert ids == [[0, 1, 2], [0, 0, 1]] and "is not used" not in notes
    ids, _ = scored([0, 1, 2], [0, 0, 1], table="background,0,0,0\nred,255,0,0\ngreen,0,255,0\n")
    assert ids[0] == [0, 1, 2]  # the colours are for people
    ids, _ = scored(
        [BLACK, RED, GREEN],
        [RED, RED, BLACK],
        table="background,0,0,0\nred,255,0,0\ngreen,0,255,0\n",
    )
    assert ids[0] == [0, 1, 2]
    first = "red,255,0,0\nbackground,0,0,0\ngreen,0,255,0\n"  # black is not the first
    ids, _ = scored([BLACK, RED, GREEN], [RED, RED, BLACK], table=first)
    assert ids[0] == [0, 1, 2]
    ids, notes = scored([0, 1, 2], [0, 0, 1], table="background,0\nrot,2\n")
    unused = "classes.csv: is not used, as its classes are not those of the model."
    assert ids == [[0, 1, 2], [0, 0, 1]] and unused in notes


def test_a_table_among_the_images_to_score_counts(tmp_path):
    """As Roboflow has it: _classes.csv in train/, with other ids than those of the training."""
    names = ("background", "red", "green")
    trained = dataclasses.replace(PRESETS["folder"], class_names=names, data="elsewhere")
    for part in ("train", "valid"):
        folder = write(tmp_path / "x" / part, [0, 1, 2], [0, 1, 1])
        (tmp_path / part).mkdir()
        for kind, name in (("images", "{}.png"), ("masks", "{}_mask.png")):
            for path in (folder / kind).iterdir():
                path.rename(tmp_path / part / name.format(path.stem))
        (tmp_path / part / "_classes.csv").write_text("id,name\n0,background\n1,green\n2,red\n")
    config = dataclasses.replace(trained, data=str(tmp_path))
    data, _ = open_scored(config, "val", None, trained, reading="ids")
    assert [data.load(i)[1][0].tolist() for i in (0, 1)] == [[0, 2, 1], [0, 2, 2]]


def test_masks_to_score_that_hold_no_object_are_said_to(tmp_path):
    """Black and white ones, for a model of three classes: all objects would count as ignored."""
    trained = dataclasses.replace(PRESETS["folder"], class_names=("bg", "a", "b"), data="elsewhere")
    for rows, said in (([0, 255], [255, 0]), True), (([0, 0], [0, 0]), False), (([0, 1],), False):
        folder = write(tmp_path / str(rows), *rows)
        config = dataclasses.replace(trained, data=str(folder))
        data, _ = open_scored(config, "all", None, trained, reading="ids")
        assert ("They hold nothing but 0 and 255, which counts as ignored" in data.notes) == said


def test_one_image_of_unknown_data_is_scored(tmp_path):
    trained = dataclasses.replace(PRESETS["folder"], class_names=("a", "b"), data="elsewhere")
    config = dataclasses.replace(trained, data=str(write(tmp_path, [0, 1])))
    data, part = open_scored(config, None, None, trained, reading="ids")
    assert (len(data.names), part) == (1, "all")
    with pytest.raises(UserError, match="has one image"):
        open_scored(config, "val", None, trained, reading="ids")


def test_images_of_the_training_are_counted(tmp_path):
    config = dataclasses.replace(PRESETS["folder"], class_names=("a", "b"), data=str(tmp_path))
    write(tmp_path, [0, 1], [1, 0], [0, 0])
    (tmp_path / "mine.txt").write_text("0\n2\n")
    known = {"train": ["0", "1"], "val": ["2"]}
    listed = dataclasses.replace(config, val_list=str(tmp_path / "mine.txt"))
    data, _ = open_scored(listed, None, known, config, reading="ids")
    assert data.names == ["0", "2"]
    assert "The model was trained on 1 of these images." in data.notes
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", [0, 1], [1, 0], [0, 0])
    others = dataclasses.replace(listed, images=str(other / "images"))
    assert "trained on" not in open_scored(others, None, known, config, reading="ids")[0].notes
    assert "trained on" not in open_scored(config, None, known, config, reading="ids")[0].notes


def test_unlike_masks_are_refused_when_they_are_scored(tmp_path):
    reading = (("#0000ff", 0), ("#00ff00", 1))
    write(tmp_path, [RED, BLUE])
    with pytest.raises(UserError, match="masks: the classes of the training do not have #ff0000"):
        opened(tmp_path, class_names=("a", "b"), reading=reading)


def test_colours_by_a_table_of_values(tmp_path):
    with pytest.raises(UserError, match="0.png: has colours, but .*classes.csv has none"):
        opened(write(tmp_path, COLOURS, table="a,0\nb,1\n"))


NOTHING_SAID = [
    ([[0, 1, 2], [0, 0, 2, 255]], "ids", [[0, 1, 2], [0, 0, 2, 255]],
     ("background", "class1", "class2")),
    ([[0, 255], [255, 255]], "black-and-white", [[0, 1], [1, 1]], ("background", "class1")),
    ([[0, 128, 255], [0, 0]], "values", [[0, 1, 2], [0, 0]],
     ("background", "class128", "class255")),
    ([[1, 2, 3, 255]], "values", [[0, 1, 2, 255]], ("class1", "class2", "class3")),
    ([[0, 8, 12, 255], [0, 12]], "values", [[0, 1, 2, 255], [0, 2]],
     ("background", "class8", "class12")),
    ([[0, 50, 255]], "values", [[0, 1, 255]], ("background", "class50")),
    ([[0, 64, 128, 192, 255]], "values", [[0, 1, 2, 3, 4]],
     ("background", "class64", "class128", "class192", "class255")),
    ([COLOURS, [RED, BLACK]], "colours", [[1, 0, 2], [3, 0]],
     ("background", "#0000ff", "#00ff00", "#ff0000")),
    ([[RED, BLACK], [BLACK, BLACK]], "colours", [[1, 0], [0, 0]], ("background", "#ff0000")),
    ([[0, 0], COLOURS], "colours", [[0, 0], [1, 0, 2]], ("background", "#0000ff", "#00ff00")),
    ([voc_palette()[[0, 15, 8, 255]]], "colours", [[0, 2, 1, 255]],
     ("background", "#400000", "#c08080")),
]  # fmt: skip


@pytest.mark.parametrize(("masks", "kind", "ids", "names"), NOTHING_SAID)
def test_classes_are_found(tmp_path, masks, kind, ids, names):
    data, found = opened(write(tmp_path, *masks))
    assert (found, data.class_names) == (ids, names)
    assert f"Masks are read as {kind}. The classes are named after" in data.notes
    header, *rows = class_rows(names, data.reading, data.palette)
    lines = [",".join(map(str, row if kind == "colours" else row[:2])) for row in (header, *rows)]
    assert "; ".join(lines[1:]) in data.notes
    # the lines that it says can be put into a table
    (tmp_path / "classes.csv").write_text("\n".join(lines).replace(names[1], "leaf"))
    data, same = opened(tmp_path)
    assert (same, data.class_names) == (ids, (names[0], "leaf", *names[2:]))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ((0, 1, 2, 8, 10, 11, 13, 255), "and 1 more. 255 is ignored. To rename"),
        ((0, 128, 255), "class255,255. 255 is a class, too. To rename"),
        ((0, 8, 12), "class12,12. To rename"),
        ((0, 1, 255), "class1,1. 255 is ignored. To rename"),
    ],
)
def test_what_255_means_is_said(tmp_path, held, said):
    notes = opened(write(tmp_path, held))[0].notes
    assert said in notes, notes


def numbered(count, first=1, gap=1, width=5):
    """A mask of so many squares in a row, with a number each."""
    mask = np.zeros((8, 8 * width), np.uint8)
    for number in range(count):
        mask[2:6, 8 * number + 2 : 8 * number + 6] = first + gap * number
    return mask


PAINTS = np.random.default_rng(3).integers(0, 256, (16, 3), np.uint8)
PAINTS[0] = 0
OBJECTS = "Each is one connected region, and masks differ in them: they seem to number objects"


@pytest.mark.parametrize(
    "masks",
    [
        [numbered(4 + n % 5, width=9) for n in range(9)],  # as many as there are
        [numbered(4, first=1 + 5 * n) for n in range(3)],  # in a film, each its own
        [numbered(5, first=1 + 5 * n, gap=3) for n in range(9)],
        [PAINTS[numbered(4 + n % 5, width=9)] for n in range(9)],
    ],
)
def test_numbers_of_objects_are_no_classes(tmp_path, masks):
    with pytest.raises(UserError, match=OBJECTS):
        opened(drawn(tmp_path, *masks))


@pytest.mark.parametrize(
    "masks",
    [
        [numbered(8, width=9)] * 8,  # as layers of a tissue
        [numbered(8, width=9)] * 7 + [numbered(9, width=9)],  # and one that few images have
        [numbered(n, first=1 + n % 3, width=9) for n in range(4, 10)],  # this or that organ
    ],
)
def test_classes_may_be_one_region_each(tmp_path, masks):
    assert opened(drawn(tmp_path, *masks))[0].num_classes > 8


def test_noise_is_no_class(tmp_path):
    rows = [[(i, i // 2, 9) for i in range(100)]]
    with pytest.raises(UserError, match="0.png: has 100 values: .* anti-aliased"):
        opened(write(tmp_path / "soft", *rows))
    with pytest.raises(UserError, match="0.png: has 110 values: .* anti-aliased"):
        opened(write(tmp_path / "grey", range(110)))
    with pytest.raises(UserError, match="0.jpg: .*JPEG file does not keep ids"):
        opened(write(tmp_path / "jpeg", [0] * 9 + [200] * 9 + [0] * 9, suffix=".jpg"))
    with pytest.raises(UserError, match="seem to number objects.*--num-classes"):
        opened(write(tmp_path / "cells", [0, 1, 1, 0, 2, 3, 0, 4, 5], [0, 1, 0, 2, 0, 3, 4, 0, 5]))
    # named, they are classes
    assert FolderDataset(tmp_path / "cells", num_classes=6).reading == "ids"
    with pytest.raises(UserError, match="masks hold nothing but 1"):
        opened(write(tmp_path / "one", [1, 1]))
    with pytest.raises(UserError, match="masks hold nothing but 0"):
        opened(write(tmp_path / "none", [0, 0]))


def drawn(folder, *masks):
    write(folder, *[[0]] * len(masks))
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"masks/{number}.png")
        Image.new("RGB", mask.shape[1::-1]).save(folder / f"images/{number}.png")
    return folder


def disc(scale=1, smooth=True, value=255, size=(64, 48)):
    """A mask with a disc; smooth: with the edge of a drawing program, or enlarged linearly."""
    mask = np.zeros(size, np.uint8)
    way = cv2.LINE_AA if smooth and scale == 1 else cv2.LINE_8
    cv2.circle(mask, (24, 30), 15, value, -1, way)
    return cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("value", [255, 200])
def test_soft_edges_are_no_classes(tmp_path, scale, value):
    masks = [disc(scale, value=value), disc(value=value, smooth=False)]
    assert 4 < len(np.unique(masks[0])) < 65 and len(np.unique(masks[1])) == 2
    with pytest.raises(UserError, match="0.png: has .* anti-aliased edges.*--num-classes"):
        opened(drawn(tmp_path / "grey", *masks))
    masks = [np.stack([mask, mask // 2, 0 * mask], -1) for mask in masks]
    with pytest.raises(UserError, match="0.png: has .* anti-aliased edges.*--num-classes"):
        opened(drawn(tmp_path / "colours", *masks))


def test_small_classes_are_no_soft_edges(tmp_path):
    """Spread values, of spots in the middle of others; a border's class; ids of thin layers."""
    spots = disc(smooth=False, value=250)
    for number, value in enumerate((50, 100, 150, 200)):
        spots[20 + 4 * number : 23 + 4 * number, 20:24] = value
    assert opened(drawn(tmp_path / "spots", spots))[0].num_classes == 6
    border = disc(smooth=False)
    cv2.circle(border, (24, 30), 15, 128, 1)
    assert opened(drawn(tmp_path / "border", border))[0].num_classes == 3
    layers = np.arange(64, dtype=np.uint8).clip(20, 26)[:, None].repeat(48, 1) - 20
    layers = np.concatenate([layers, layers[::-1]])
    assert opened(drawn(tmp_path / "layers", layers))[0].num_classes == 7


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("b", "a"), ("b", "a")),  # the flag's order
        (("background", "class1"), ("a", "b")),  # of --num-classes 2
        (("a", "b", "c"), None),
        (("a", "x"), None),
        (("background", "class1", "class2"), None),
    ],
)
@pytest.mark.parametrize("table", ["a,0\nb,1\n", "a\nb\n"])
def test_names_and_a_table(tmp_path, names, wanted, table):
    write(tmp_path, [0, 1], table=table)
    if wanted:
        data, ids = opened(tmp_path, class_names=names)
        assert data.class_names == wanted and ids == [[wanted.index("a"), wanted.index("b")]]
    else:
        with pytest.raises(UserError, match="classes.csv: has the 2 classes a, b, and not the"):
            opened(tmp_path, class_names=names)


def test_both_parts_have_the_classes(tmp_path):
    """Also where the validation images show only some of them."""
    write(tmp_path, COLOURS, COLOURS, [RED, BLACK])
    write(tmp_path / "val", [BLACK, GREEN])
    config = dataclasses.replace(PRESETS["folder"], data=str(tmp_path), size=(16, 16))
    train, val = open_both(config)
    config = with_classes(config, train)
    assert config.names == train.class_names == val.class_names and val.num_classes == 4
    assert val.load(0)[1].tolist() == [[0, 2]]
    scored = open_dataset(config, "val", reading=train.reading)
    assert scored.load(0)[1].tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("reading", "names", "table", "new"),
    [
        ("ids", "ab", "a,0\nb,1\n", False),
        ("ids", "ab", "a,1\nb,0\n", True),
        ("ids", "ab", "a\nb\n", False),
        ("ids", "ab", "b\na\n", True),
        ("ids", "ab", "a\nc\n", True),
        ("black-and-white", "ab", "b,255\na,0\n", False),
        ((("#000000", 0), ("#0000ff", 1)), "ab", "a,0,0,0\nb,0,0,255\n", False),
        ((("#000000", 0), ("#0000ff", 1)), "ab", "a,0,0,0\nb,0,0,254\n", True),
        ((("#000000", 0), ("#010101", 1)), "ab", "a,9,9,9\nb,0,0,254\n", True),
        ((("#000000", 0), ("#010101", 1), ("#ffffff", 255)), "ab", "a,9,9,9\nb,0,0,9\n", False),
    ],
)
def test_a_table_that_is_not_the_run_s(tmp_path, reading, names, table, new):
    (tmp_path / "classes.csv").write_text(table)
    assert differs(read_table(tmp_path / "classes.csv"), tuple(names), reading) == new


SMALL = ("--size", 16, 16, "--filters", 1, "--epochs")


def test_from_colours_to_a_report(eagerly, tmp_path, call):
    """Without a word about classes: train, resume, evaluate, also where the table is gone."""
    row = 4 * [BLUE, BLACK, GREEN]
    data = write(tmp_path / "own", *6 * [row], table=CAMVID, name="class_dict.csv")
    status, _, err = call("train", "--data", data, *SMALL, 1)
    assert status == 0, err
    assert f"Masks are read as colours by {data / 'class_dict.csv'}." in err
    assert "2 classes: Road, Tree." in err
    config, found = read_settings("runs/folder/best.keras")
    assert (config.class_names, found.palette) == (("Road", "Tree"), (BLUE, GREEN))
    (data / "class_dict.csv").unlink()
    status, _, err = call("train", "--data", data, *SMALL, 2)
    assert status == 0 and "Resuming after epoch 1 of 2." in err, err
    config, found = read_settings("runs/folder/last.keras")
    assert (config.class_names, found.palette) == (("Road", "Tree"), (BLUE, GREEN))
    note = f"{data / 'class_dict.csv'}: is not what the run began with, which keeps its classes"
    assert note not in err
    (data / "class_dict.csv").write_text(CAMVID.replace("Tree", "Bush"))
    status, _, err = call("train", "--data", data, *SMALL, 3)
    assert status == 0 and "2 classes: Road, Tree." in err and note in err, err
    status, out, err = call("evaluate")
    assert status == 0 and "Road" in out, err
    assert "Masks are read as colours." in err
    (tmp_path / "other.csv").write_text("Tree,0,0,255\nRoad,0,255,0\nvoid,0,0,0\n")
    assert call("evaluate", "--class-table", tmp_path / "other.csv")[0] == 0
    (tmp_path / "other.csv").write_text("Tree,0,0,255\nCar,0,255,0\nvoid,0,0,0\n")
    status, _, err = call("evaluate", "--class-table", tmp_path / "other.csv")
    assert status == 2 and "other.csv: has the 2 classes Tree, Car, and not the" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dataset", "isbi", "--class-table", "x.csv"), "--class-table is for own data, not for"),
        (("--class-table", "x.csv"), "x.csv: this class table cannot be read"),
        (("--class-names", "a,b,c"), "classes.csv: has the 2 classes a, b, and not the 3"),
    ],
)
def test_flags_that_cannot_work(tmp_path, call, flags, message):
    data = write(tmp_path / "own", *3 * [[0, 1]], table="a,0\nb,1\n")
    status, out, err = call("train", "--data", data, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err
    assert not Path("runs").exists()


def test_old_models(tmp_path):
    """Their masks were read in one of three ways, without a table."""
    masks = {"ids": [0, 1], "black-and-white": [0, 255], "colours": [BLACK, (128, 0, 0)]}
    for kind, row in masks.items():
        config = dataclasses.replace(PRESETS["folder"], class_names=("a", "b"))
        text = to_json(config, Found(masks=kind, palette=(BLACK, RED)))
        reading = from_json(text)[1].masks
        assert reading == kind
        folder = write(tmp_path / kind, row)
        assert opened(folder, class_names=("a", "b"), reading=reading)[1] == [[0, 1]]
