"""Scoring as a whole, with a model that knows the answer: it tells classes by their grey."""

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from core.config import Config, Found
from core.evaluation.report import block, table
from core.evaluation.score import score
from core.imaging.image import read_mask
from core.prediction.model_file import load_model, save_model
from core.VOCdataset import VOCDataset
from tests.conftest import GREYS, NAMES, grey_model, save_grey_model, without_the_model, write_isbi


@pytest.fixture
def shown(voc):
    """The data set, its images showing their masks."""
    table = np.full(256, GREYS[0], np.uint8)  # 255, too, looks like background
    table[: len(GREYS)] = GREYS
    for path in (voc / "SegmentationClass").iterdir():
        image = Image.fromarray(table[read_mask(path)]).convert("RGB")
        image.save(voc / f"JPEGImages/{path.stem}.jpg", quality=100, subsampling=0)
    return voc


@pytest.mark.parametrize("protocol", ["voc", "letterbox"])
def test_a_perfect_prediction_scores_1(call, shown, protocol):
    """Through the whole script: the canvas pads the images, but does not resize them."""
    save_grey_model("model.keras", data=str(shown))
    status, out, _ = call(
        "evaluate", "--weights", "model.keras", "--protocol", protocol, "--output", "report"
    )
    assert status == 0
    assert "Total MIOU: 1.0000\nObject MIOU: 1.0000\npixel acc: 1.0000\nIOU:  [1. 1. 1.]\n" in out
    metrics = json.loads(Path("report/metrics.json").read_text())
    assert metrics["miou"] == metrics["frequency_weighted_iou"] == 1
    assert all(row["dice"] == row["recall"] == 1 for row in metrics["per_class"])
    assert sum(map(sum, metrics["confusion"])) == 2 * (48 * 48 if protocol == "letterbox" else 1440)


def scored(config, data, batch_size=8, workers=1, order=None, protocol="voc", **settings):
    dataset = VOCDataset(
        data / "ImageSets/Segmentation/train.txt", num_classes=3, workers=workers, **settings
    )
    if order:
        dataset.image_info = [dataset.image_info[i] for i in order]
    model, *_ = load_model("model.keras")
    return score(model, dataset, config, protocol, batch_size=batch_size)


def worst(found):
    return [(own.mean_iou, name) for own, name, *_ in found.worst]


def test_scores_do_not_depend_on_how_they_are_computed(voc):
    """Batch size, order and number of workers; images of noise, so that much is wrong."""
    config = save_grey_model("model.keras", data=str(voc))
    wanted = scored(config, voc)
    assert 0 < wanted.matrix.mean_iou < 1 and len(wanted.worst) == 4
    for options in (
        {"batch_size": 1},
        {"batch_size": 3},
        {"batch_size": 100},
        {"workers": 4},
        {"order": [2, 0, 3, 1]},
    ):
        found = scored(config, voc, **options)
        np.testing.assert_array_equal(found.matrix.counts, wanted.matrix.counts)
        assert worst(found) == worst(wanted)


def test_twice_the_data_has_the_same_score(voc):
    config = save_grey_model("model.keras", data=str(voc))
    once, twice = scored(config, voc), scored(config, voc, order=[0, 1, 2, 3] * 2)
    np.testing.assert_array_equal(twice.matrix.counts, 2 * once.matrix.counts)
    assert block(twice.matrix, NAMES) == block(once.matrix, NAMES)


def test_the_worst_images(shown):
    """One of four images is damaged; the worst come first, each with its own MIoU."""
    config = save_grey_model("model.keras", data=str(shown))
    Image.new("RGB", (48, 40), (128, 128, 128)).save(shown / "JPEGImages/picture4.jpg")
    found = scored(config, shown)
    assert [name for _, name, *_ in found.worst][0] == "picture4"
    assert [miou for miou, _ in worst(found)] == pytest.approx([1 / 9, 1, 1, 1])
    _, _, image, truth, prediction = found.worst[0]
    assert image.shape == (40, 48, 3) and truth.shape == prediction.shape == (40, 48)


def test_the_worst_images_are_shown_without_padding(shown):
    """The canvas of 96x96 has a bar of 8 rows above and below; the score counts them."""
    config = save_grey_model("model.keras", data=str(shown), size=(96, 96))
    found = scored(config, shown, protocol="letterbox")
    own, _, image, truth, prediction = found.worst[0]
    assert image.shape == (80, 96, 3) and truth.shape == prediction.shape == (80, 96)
    assert own.counts.sum() == 96 * 96


class Traced(keras.layers.Layer):
    """Counts how often a function is traced through it."""

    traces = 0

    def call(self, x):
        Traced.traces += 1
        return x


def test_one_trace_serves_all_batches(voc, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("predict was called")

    monkeypatch.setattr(keras.Model, "predict", refuse)
    config = save_grey_model("model.keras", data=str(voc))
    model, *_ = load_model("model.keras")
    traced = keras.Model(model.inputs, Traced()(model.outputs[0]))
    dataset = VOCDataset(voc / "ImageSets/Segmentation/train.txt", num_classes=3)
    dataset.image_info = dataset.image_info[:1] * 7
    before = Traced.traces
    score(traced, dataset, config, "voc", batch_size=3)
    assert Traced.traces == before + 1


def test_the_table(voc):
    config = save_grey_model("model.keras", data=str(voc))
    matrix = scored(config, voc).matrix
    matrix.counts[:] = [[6, 2, 0], [4, 8, 0], [0, 0, 0]]
    assert table(matrix, NAMES).splitlines() == [
        "class         truth pixels        IoU  precision     recall       dice",
        "background               8     0.5000     0.6000     0.7500     0.6667",
        "a                       12     0.5714     0.8000     0.6667     0.7273",
        "b                        0          -          -          -          -",
        "",
        "frequency-weighted IoU: 0.5429",
        "absent from truth and prediction: b",
    ]


def test_the_report_s_files(call, voc):
    save_grey_model("model.keras", data=str(voc))
    args = ("--weights", "model.keras", "--split", "train", "--precision", "bfloat16")
    status, out, err = call("evaluate", *args)
    assert status == 0 and "pixel error" not in out and err.endswith("; in bfloat16.\n")
    metrics = json.loads(Path("metrics.json").read_text())
    assert metrics["precision"] == "bfloat16"
    assert metrics["protocol"] == "voc" and metrics["pictures"] == 4
    assert (metrics["data"], metrics["split"]) == (str(voc), "train")
    assert metrics["weights"] == "model.keras"
    assert metrics["versions"]["keras"] == keras.__version__
    rows = list(csv.DictReader(open("per_class.csv")))
    assert [row["class"] for row in rows] == list(NAMES)
    assert [float(row["iou"]) for row in rows] == [row["iou"] for row in metrics["per_class"]]
    confusion = list(csv.reader(open("confusion.csv")))
    assert confusion[0] == ["truth / prediction", *NAMES]
    assert [[int(cell) for cell in row[1:]] for row in confusion[1:]] == metrics["confusion"]
    with Image.open("worst.png") as sheet:  # of four images of 48x40, enlarged
        assert sheet.width > 4 * 320 and sheet.height > 4 * 267
    assert Image.open("confusion.png").width > 3 * 90


def test_membranes(call, tmp_path):
    """Slices with the answer in their grey, and a gap of a pixel in the membrane of the last."""
    data = write_isbi(tmp_path / "cells", size=32)
    label = np.full((32, 32), 255, np.uint8)
    label[:, 10] = 0
    for path in (data / "label").iterdir():
        Image.fromarray(label).save(path)
        Image.fromarray(label).save(data / "image" / path.name)
    label[5, 10] = 255
    Image.fromarray(label).save(data / "image/12.png")
    config = Config(
        dataset="isbi",
        data=str(data),
        class_names=("membrane", "cell"),
        channels=1,
        size=(32, 32),
        val_fraction=0.4,  # slices 11 and 12
    )
    save_model(
        grey_model((0, 255), 1), "model.keras", config, Found(palette=((0, 0, 0), (255, 255, 255)))
    )
    status, out, _ = call("evaluate", "--weights", "model.keras")
    squares = 10**2 + 21**2
    wanted = (1 + 2 * squares / (31**2 + squares)) / 2
    assert status == 0
    lines = out.splitlines()
    assert lines[5:8] == [
        f"pixel error: {1 / 2048:.4f}",
        f"V_rand: {wanted:.4f} (threshold 0.1)",
        "V_info: 0.5000 (threshold 0.1)",
    ]
    metrics = json.loads(Path("metrics.json").read_text())
    assert metrics["v_rand"] == pytest.approx(wanted) and metrics["v_rand_threshold"] == 0.1
    assert metrics["pixel_error"] == pytest.approx(1 / 2048)


def refused(result, *parts):
    status, out, err = result
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and all(part in err for part in parts)
    assert not Path("report").exists() or not list(Path("report").iterdir())


def evaluate(call):
    return without_the_model(call("evaluate", "--weights", "model.keras", "--output", "report"))


def test_an_image_without_a_mask(call, voc):
    save_grey_model("model.keras", data=str(voc))
    (voc / "SegmentationClass/picture1.png").unlink()
    refused(evaluate(call), "picture1.png: there is no such mask", "val.txt lists 'picture1'")


def test_no_masks_at_all(call, voc):
    save_grey_model("model.keras", data=str(voc))
    for path in (voc / "SegmentationClass").iterdir():
        path.unlink()
    refused(evaluate(call), "picture0.png: there is no such mask")
    (voc / "SegmentationClass").rmdir()
    refused(evaluate(call), "holds neither SegmentationClassAug nor SegmentationClass")


def test_masks_that_say_nothing(call, voc):
    save_grey_model("model.keras", data=str(voc))
    for path in (voc / "SegmentationClass").iterdir():
        Image.new("L", (48, 40), 255).save(path)
    refused(evaluate(call), "picture0.png: this mask", "hold nothing but 255", "Give masks")


def test_a_mask_with_more_classes_than_the_model(call, voc):
    save_grey_model("model.keras", data=str(voc))
    Image.new("L", (48, 40), 7).save(voc / "SegmentationClass/picture1.png")
    refused(evaluate(call), "picture1.png: pixel value 7 is neither a class (0..2)")


def test_other_numbers_of_classes(call, voc):
    save_grey_model("model.keras", data=str(voc))
    refused(
        call("evaluate", "--weights", "model.keras", "--dataset", "sample", "--output", "report"),
        "The model tells 3 classes apart (background, a, b), the data has 5",
    )
