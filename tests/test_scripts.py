"""The three scripts, called as a user calls them."""

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shallow
from conftest import save_grey_model
from PIL import Image
from sklearn.metrics import jaccard_score

from core.imaging.image import read_mask
from core.sources import sample

ROOT = Path(__file__).parent.parent
RUN_FILES = {"best.keras", "last.keras", "config.json", "split.json", "history.csv", "curves.png"}
RUN_FILES |= {"samples.png", "index.json.gz"}
REPORT_FILES = {"metrics.json", "per_class.csv", "confusion.csv", "confusion.png", "worst.png"}


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


@pytest.fixture(autouse=True)
def small_sample(monkeypatch):
    monkeypatch.setattr(sample, "IMAGES", {"train": 6, "val": 3})
    monkeypatch.setattr(sample, "VERSION", "test")


def shell(script, *args):
    """Runs a script in a process of its own."""
    done = subprocess.run(
        [sys.executable, ROOT / script, *args],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_from_nothing_to_a_report():
    """End to end in processes of their own, on the whole sample, with a tiny network."""
    trained = shell(
        "train.py", "--filters", "2", "--epochs", "1", "--batch-size", "16", "--size", "64", "64"
    )
    assert trained.stderr.startswith("No VOC 2012 in data/VOCdevkit/VOC2012")
    assert "240 images to train on, 60 to validate with," in trained.stderr
    assert trained.stdout.startswith("Best validation MIoU") and trained.stdout.count("\n") == 1
    assert names("runs/sample") == RUN_FILES

    predicted = shell("predict.py")
    assert (
        predicted.stdout.startswith(str(sample.sample_folder().parent)) and "%" in predicted.stdout
    )
    assert names("predictions") == {"sample"}
    assert names("predictions/sample") == {
        "val_000_mask.png",
        "val_000_overlay.jpg",
        "predictions.csv",
    }

    report = shell("evaluate.py").stdout.splitlines()
    assert report[0] == "-" * 80
    assert [line.split(":")[0] for line in report[1:5]] == [
        "Total MIOU",
        "Object MIOU",
        "pixel acc",
        "IOU",
    ]
    assert names("runs/sample") == RUN_FILES | REPORT_FILES
    metrics = json.loads(Path("runs/sample/metrics.json").read_text())
    assert report[1] == f"Total MIOU: {metrics['miou']:.4f}" and metrics["pictures"] == 60
    folder = Path(predicted.stdout.split(":")[0]).parents[1]
    assert_predictions_have_these_scores(folder, metrics)


def assert_predictions_have_these_scores(folder, metrics):
    """What predict.py writes for the validation pictures, scored by scikit-learn."""
    ids = (folder / "ImageSets/Segmentation/val.txt").read_text().split()
    shell("predict.py", *(folder / f"JPEGImages/{name}.jpg" for name in ids), "--output", "masks")
    truth, prediction = (
        np.concatenate([read_mask(Path(where) / name).ravel() for name in files])
        for where, files in (
            (folder / "SegmentationClass", [f"{name}.png" for name in ids]),
            ("masks", [f"{name}_mask.png" for name in ids]),
        )
    )
    prediction, truth = prediction[truth != 255], truth[truth != 255]
    iou = jaccard_score(truth, prediction, average=None)
    assert len(iou) == 5
    assert [row["iou"] for row in metrics["per_class"]] == pytest.approx(iou, abs=1e-12)
    assert metrics["miou"] == pytest.approx(iou.mean(), abs=1e-12)
    assert metrics["pixel_accuracy"] == pytest.approx((truth == prediction).mean(), abs=1e-12)


TINY = ("--filters", 2, "--epochs", 1)


@pytest.fixture
def trained(eagerly, call, voc):
    """A model of three classes, trained on a tiny data set in VOC's layout."""
    status, *_ = call(
        "train",
        "--dataset",
        "voc",
        "--data",
        voc,
        "--class-names",
        "background,a,b",
        "--size",
        32,
        48,
        *TINY,
    )
    assert status == 0
    return voc


@pytest.mark.slow
def test_evaluate_both_protocols(call, trained):
    for protocol, pixels in (("voc", 2 * 40 * 48 * 3 // 4), ("letterbox", 2 * 32 * 48)):
        status, out, _ = call("evaluate", "--protocol", protocol, "--output", protocol)
        assert status == 0
        assert out.startswith("-" * 80 + "\nTotal MIOU: ")
        assert names(protocol) == REPORT_FILES
        rows = list(csv.DictReader(open(f"{protocol}/per_class.csv")))
        assert [row["class"] for row in rows] == ["background", "a", "b"]
        assert sum(int(row["truth_pixels"]) for row in rows) == pixels
        table = list(csv.reader(open(f"{protocol}/confusion.csv")))
        assert table[0][1:] == ["background", "a", "b"]
        assert sum(int(cell) for row in table[1:] for cell in row[1:]) == pixels
        assert json.loads(Path(f"{protocol}/metrics.json").read_text())["protocol"] == protocol


@pytest.mark.slow
def test_only_some_classes(eagerly, call, voc):
    status, _, err = call(
        "train",
        "--data",
        voc,
        "--class-names",
        "background,a,b",
        "--classes",
        "b",
        "--size",
        32,
        32,
        *TINY,
    )
    assert status == 0 and "2 classes: background, b." in err
    status, out, _ = call("evaluate")
    rows = list(csv.DictReader(open("runs/voc/per_class.csv")))
    assert [(row["class"], row["truth_pixels"]) for row in rows] == [
        ("background", "960"),
        ("b", "960"),
    ]


@pytest.mark.slow
def test_isbi(eagerly, call, isbi):
    status, _, err = call("train", "--dataset", "isbi", "--data", isbi, "--size", 32, 32, *TINY)
    assert (
        status == 0
        and "4 images to train on, 1 to validate with, 2 classes: membrane, cell." in err
    )
    status, out, _ = call("evaluate")
    assert status == 0 and "cell" in out
    status, out, _ = call("predict", isbi / "image/9.png")
    assert status == 0 and read_mask("predictions/isbi/9_mask.png").shape == (32, 32)
    assert call("predict")[0] == 0  # the sample's picture has colours, the model takes grey


@pytest.mark.slow
def test_the_paper_s_architecture(eagerly, call, isbi):
    """Of 188 pixels 4 are answered, so 32 ask for 220; tiles take pictures of any size."""
    data = ("--dataset", "isbi", "--data", isbi, "--size", 32, 30, "--architecture", "paper")
    status, out, err = call("train", *data, "--optimizer", "sgd", "--border-weight", *TINY)
    assert (status, out.count("\n")) == (0, 1) and "4 images to train on" in err
    assert names("runs/isbi") == RUN_FILES
    status, out, _ = call("evaluate")
    assert status == 0 and "V_rand" in out
    assert call("evaluate", "--no-tile", "--protocol", "letterbox")[0] == 0
    Image.fromarray(np.zeros((37, 50), np.uint8)).save("other.png")
    assert call("predict", "other.png")[0] == call("predict", "other.png", "--no-tile")[0] == 0
    assert read_mask("predictions/isbi/other_mask.png").shape == (37, 50)


@pytest.mark.deep
@pytest.mark.slow
def test_the_paper_s_network_is_one_flag(call):
    """Parameters as counted by hand in test_unet.py; other flags still replace what it sets."""
    paper = ("--dataset", "isbi", "--architecture", "paper", "--summary")
    status, out, err = call("train", *paper)
    assert (status, err) == (0, "") and "Total params: 31,030,658" in out
    assert "_norm" not in out and "_norm" in call("train", *paper, "--normalization", "batch")[1]


@pytest.mark.deep
@pytest.mark.slow
def test_the_reference_s_recipe_is_one_flag(eagerly, call, voc):
    """On all presets, its widths and learning rates; what it trained is used as any other."""
    flag = ("--architecture", "reference")
    status, out, err = call("train", "--dataset", "voc", *flag, "--summary")
    assert (status, err) == (0, "") and "Total params: 31,033,045" in out and "_norm" not in out
    data = ("--data", voc, "--class-names", "background,a,b", "--size", 32, 32)
    assert call("train", *data, *flag, "--filters", 2, "--epochs", 1)[0] == 0
    settings = json.loads(Path("runs/voc/config.json").read_text())
    wanted = {"filters": 2, "normalization": "none", "dropout": 0.5, "l2": 5e-4, "lr": 1e-4}
    assert settings.items() >= {**wanted, "lr_floor": 1e-6, "architecture": "reference"}.items()
    assert call("evaluate")[0] == call("predict", voc / "JPEGImages/picture0.jpg")[0] == 0


@pytest.mark.slow
def test_a_pretrained_encoder(eagerly, call, voc, small_encoder):
    data = ("--data", voc, "--class-names", "background,a,b", "--size", 32, 32, "--filters", 2)
    encoder = ("--encoder", "vgg16", "--freeze-encoder", 1, "--encoder-weights", small_encoder)
    status, out, err = call("train", *data, *encoder, "--epochs", 1)
    assert (status, out.count("\n")) == (0, 1), err
    small_encoder.unlink()
    status, out, err = call("train", *data, *encoder, "--epochs", 2)
    assert (status, out.count("\n")) == (0, 1), err
    assert "Resuming after epoch 1 of 2" in err
    assert call("evaluate")[0] == call("predict", voc / "JPEGImages/picture0.jpg")[0] == 0
    assert_refused(call("train", *data, "--encoder", "resnet50"), "encoder resnet50 (there vgg16)")

    before = {path.name: path.read_bytes() for path in Path("runs/voc").iterdir()}
    status, out, err = call("train", *data, *encoder, "--overwrite")
    assert (status, out) == (2, "") and "Traceback" not in err
    assert err.splitlines()[-1].endswith(
        "small.weights.h5: there is no such file of weights of vgg16."
    )
    assert before == {path.name: path.read_bytes() for path in Path("runs/voc").iterdir()}


@pytest.mark.deep
def test_the_summary(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = call(
        "train", "--dataset", "voc", "--normalization", "none", "--summary", "--size", 64, 96
    )
    assert (status, err) == (0, "")
    assert "Total params: 31,033,045 " in out and "│ down1_conv1" in out
    assert out.splitlines()[-2] == " Receptive radius: 110 pixels, around blocks of 16"
    assert out.splitlines()[-1].endswith("10.26 billion for an image of 64x96")
    assert not list(Path(".").iterdir())


@pytest.mark.slow
def test_predict_folders_and_sizes(call, trained, tmp_path, rng):
    folder = tmp_path / "own pictures"
    folder.mkdir()
    for name, size in (("a.png", (31, 57)), ("b.jpg", (200, 20)), ("\u00e4.bmp", (16, 16))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").touch()
    status, out, _ = call("predict", folder, "--output", "out", "--alpha", 1)
    assert status == 0 and out.count("\n") == 3
    for name, size in (("a", (31, 57)), ("b", (200, 20)), ("\u00e4", (16, 16))):
        mask = read_mask(f"out/{name}_mask.png")
        assert mask.shape == size and mask.max() <= 2
        assert Image.open(f"out/{name}_mask.png").getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        assert np.asarray(Image.open(f"out/{name}_overlay.jpg")).shape == (*size, 3)


@pytest.mark.slow
def test_one_bad_picture_among_many(call, trained, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    status, out, err = call("predict", tmp_path / "bad.png", tmp_path / "good.png")
    assert status == 1 and "good.png: " in out and "bad.png: cannot be read as an image" in err
    assert names("predictions/voc") == {"good_mask.png", "good_overlay.jpg", "predictions.csv"}


@pytest.mark.slow
def test_a_second_run_does_not_replace_the_first_by_accident(call, trained):
    again = ("--data", trained, "--class-names", "background,a,b", "--size", 32, 32, *TINY)
    before = Path("runs/voc/best.keras").read_bytes()
    parts = (
        "runs/voc: holds a run of other settings: size (32, 32) (there (32, 48))",
        "--overwrite",
    )
    assert_refused(call("train", *again), *parts)
    assert Path("runs/voc/best.keras").read_bytes() == before
    assert call("evaluate")[0] == 0
    assert call("train", *again, "--overwrite")[0] == 0
    assert names("runs/voc") == RUN_FILES  # no report of the model that is gone
    assert Path("runs/voc/best.keras").read_bytes() != before


def assert_refused(result, *parts):
    status, out, err = result
    assert (status, out) == (2, "")
    lines = [
        line
        for line in err.replace("\r", "\n").splitlines()
        if line.strip() and "Checking" not in line and not line.startswith("Model: ")
    ]
    assert len(lines) == 1, err
    for part in parts:
        assert part in lines[0]


def damage_list(voc):
    (voc / "ImageSets/Segmentation/train.txt").write_text("nowhere\n")


def damage_mask(voc):
    Image.fromarray(np.full((40, 48), 99, np.uint8)).save(voc / "SegmentationClass/picture4.png")


def damage_size(voc):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(voc / "SegmentationClass/picture4.png")


def damage_picture(voc):
    (voc / "JPEGImages/picture4.jpg").write_bytes(b"")


def ignore_everything(voc):
    for path in (voc / "SegmentationClass").iterdir():
        Image.fromarray(np.full((40, 48), 255, np.uint8)).save(path)


def remove_masks(voc):
    (voc / "SegmentationClass").rename(voc / "masks")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (damage_list, ("train.txt", "nowhere")),
        (damage_mask, ("picture4.png", "99")),
        (damage_size, ("picture4.png", "4x4")),
        (damage_picture, ("picture4.jpg", "cannot be read")),
        (ignore_everything, ("hold nothing but 255",)),
        (remove_masks, ("voc: holds neither SegmentationClassAug nor SegmentationClass",)),
    ],
)
def test_damaged_data_is_refused(call, voc, damage, parts):
    damage(voc)
    assert_refused(call("train", "--data", voc, *TINY), *parts)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("--data", "nowhere"), ("nowhere: there is no such folder", "--data")),
        (("--data", "nowhere", "--summary"), ("nowhere: there is no such folder", "--data")),
        (("--crop", 64, 64, "--no-crop"), ("--no-crop", "not allowed with argument --crop")),
        (("--dataset", "isbi", "--data", "."), ("holds neither image/ and label/",)),
        (("--size", 100, 96), ("--size 100 96", "multiples of 16")),
        (("--size", 96), ("--size", "expected 2 arguments")),
        (("--size", 80, 64, "--encoder", "resnet50"), ("--size 80 64", "of 32", "take 64 or 96")),
        (
            ("--architecture", "paper", "--encoder", "vgg16"),
            ("architecture paper goes with neither an encoder",),
        ),
        (
            ("--architecture", "paper", "--upsampling", "nearest"),
            ("paper goes with", 'upsampling="nearest"'),
        ),
        (("--encoder-weights", "imagenet"), ("encoder_weights imagenet needs an encoder",)),
        (("--encoder", "vgg16", "--freeze-encoder", 1), ("--freeze-encoder", "--encoder-weights")),
        (("--encoder-lr-factor", 0.5), ("add --encoder-weights",)),
        (
            "--encoder vgg16 --encoder-weights x --encoder-lr-factor 2".split(),
            ("--encoder-lr-factor: '2' must be a number above 0 and at most 1",),
        ),
        (("--freeze-encoder", -1), ("--freeze-encoder", "at least 0")),
        (("--num-classes", 10**9), ("--num-classes", "at most 255")),
        (("--epochs", "many"), ("--epochs", "'many' must be a whole number, at least 1 and")),
        (("--dataset", "coco"), ("--dataset", "'coco'")),
        (("--val-fraction", 1), ("--val-fraction", "between 0 and 1")),
        (("--classes", "a,,b"), ("--classes", "names between commas")),
        (("--colour", 1), ("unrecognized arguments",)),
        (("--lr", 0), ("--lr: '0' must be a number above 0",)),
        (("--dataset", "voc", "--classes", "cat,unicorn"), ("'unicorn' is not one of aeroplane",)),
        (("--dataset", "isbi", "--classes", "cell"), ("--classes",)),
        (("--dataset", "isbi", "--num-classes", 3), ("--num-classes",)),
        (("--num-classes", 3, "--class-names", "a,b", "--data", "."), ("2 names", "3")),
        (("--class-names", "bg,\udce9t\udce9"), ("--class-names", "is no Unicode", "UTF-8")),
        (("--classes", "\udce9t\udce9"), ("--classes", "is no Unicode", "UTF-8")),
        (("--dataset", "sample", "--data", "."), ("leave out --data",)),
    ],
)
def test_settings_that_cannot_work(call, args, parts):
    assert_refused(call("train", *args), *parts)


@pytest.mark.parametrize("script", ["predict", "evaluate"])
def test_no_weights(call, script, monkeypatch, tmp_path):
    monkeypatch.setattr("core.prediction.model_file.SHIPPED", tmp_path / "weights.keras")
    assert_refused(call(script), "train.py")
    assert_refused(call(script, "--weights", "nowhere"), "nowhere: there is no such file")


@pytest.mark.slow
def test_without_a_run_there_is_a_model_for_photographs(call):
    status, out, err = call("predict")
    assert status == 0 and "cat.jpg: cat " in out
    assert "voc-animals.keras (no run below runs/, so" in err.splitlines()[0]
    assert names("predictions/voc-animals") == {
        "cat_mask.png",
        "cat_overlay.jpg",
        "predictions.csv",
    }
    assert_refused(call("evaluate"), "no run below runs/", "Run train.py first")


def test_the_first_line_says_which_model_and_why(call, isbi):
    for age, folder in enumerate(("runs/isbi", "runs/exp/one")):
        save_grey_model(Path(folder, "best.keras"), dataset="isbi", channels=1, data=str(isbi))
        os.utime(Path(folder, "best.keras"), (age, age))
    Image.new("L", (48, 48)).save("image.png")
    for script, *args in (("predict", "image.png"), ("evaluate", "--data", isbi)):
        for flags, line in (
            ((), "Model: runs/exp/one/best.keras (the newest run below runs/)."),
            (("--weights", "runs/isbi"), "Model: runs/isbi/best.keras (named by --weights)."),
        ):
            status, _, err = call(script, *args, *flags)
            assert (status, err.splitlines()[0]) == (0, line)


def test_reports_of_shipped_models_lie_elsewhere(eagerly, call, isbi):
    """They share a folder, which is the project's."""
    before = names(ROOT / "weights")
    weights = ("--weights", ROOT / "weights/isbi.keras")
    status, out, err = call("evaluate", *weights, "--data", isbi)
    assert status == 0 and "V_rand" in out and err.splitlines()[-1].startswith("reports/isbi: ")
    assert names("reports/isbi") == REPORT_FILES
    assert names(ROOT / "weights") == before


@pytest.mark.slow
def test_weights_of_other_classes(eagerly, call, voc):
    data = ("--data", voc, "--class-names", "background,a,b", "--classes", "b,a")
    assert call("train", *data, "--size", 32, 32, *TINY)[0] == 0
    assert_refused(call("evaluate", "--dataset", "sample"), "3 classes", "5")
    assert_refused(call("evaluate", "--classes", "a,b"), "background, b, a", "background, a, b")


@pytest.mark.slow
def test_inputs_that_are_not_there(call, trained, tmp_path):
    assert_refused(call("predict", "nowhere.jpg"), "nowhere.jpg: there is no such file or folder")
    (tmp_path / "empty").mkdir()
    assert_refused(call("predict", tmp_path / "empty"), "has no images")
    (tmp_path / "bad.jpg").write_text("no picture")
    assert_refused(call("predict", tmp_path / "bad.jpg", "--output", tmp_path), "--output")
    assert_refused(call("predict", "x" * 300), "there is no such file or folder")
    assert_refused(call("predict", tmp_path / "bad.jpg"), "bad.jpg: cannot be read as an image")


@pytest.mark.parametrize("script", ["train", "predict", "evaluate"])
def test_help_answers_without_the_backend(script):
    """NumPy, which comes with it, is told before it is imported how many threads to use."""
    code = (
        f"import os, sys, {script}; sys.argv = ['x', '--help']\n"
        f"try: {script}.main()\n"
        "except SystemExit: assert not {'keras', 'cv2', 'numpy'} & set(sys.modules)\n"
        "assert os.environ['OPENBLAS_NUM_THREADS'] == '1'"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr


@pytest.mark.parametrize("script", ["train.py", "predict.py", "evaluate.py"])
def test_a_python_without_the_packages(script, tmp_path):
    """As where the virtual environment is not activated: `-S` leaves its packages out."""
    (tmp_path / "image.png").touch()
    image = {"predict.py": ["image.png"], "evaluate.py": ["--weights", ROOT / "weights/isbi.keras"]}
    command = [sys.executable, "-S", ROOT / script, *image.get(script, [])]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    line = rf"\S+{script}: This Python \(\S+\) lacks the package \w+\. Activate the virtual .*"
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert re.fullmatch(line, ended.stderr.splitlines()[-1])


@pytest.mark.slow
def test_output_that_nobody_reads_to_its_end(call, trained):
    done = subprocess.run(
        f"'{sys.executable}' '{ROOT}/evaluate.py' | true",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert names("runs/voc") == RUN_FILES | REPORT_FILES


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.5, 8])
def test_an_interrupt_is_one_line(seconds):
    done = subprocess.Popen(
        [sys.executable, ROOT / "train.py", "--epochs", "100"], stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds)
    done.send_signal(signal.SIGINT)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 130 and "train.py: interrupted." in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not [path for path in Path("runs").rglob("*") if "partial" in path.name]


LONG = ("--filters", "2", "--size", "32", "32", "--epochs", "1000")


def wait_for_epochs(process, count):
    """Waits until a run has some epochs behind it; returns how many."""
    history = Path("runs/sample/history.csv")
    while True:
        behind = len(history.read_text().splitlines()) - 1 if history.exists() else 0
        if behind >= count:
            return behind
        assert process.poll() is None
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_training_goes_on(call, voc, number):
    """The one for SIGTERM runs under nohup, so that SIGHUP does not end it."""
    command = ("--data", voc, "--class-names", "background,a,b", "--output", "runs/sample", *LONG)
    nohup = number == signal.SIGTERM
    process = subprocess.Popen(
        [*shallow.COMMAND, "train.py", *command],
        preexec_fn=lambda: nohup and signal.signal(signal.SIGHUP, signal.SIG_IGN),
        stderr=subprocess.PIPE,
        text=True,
    )
    behind = wait_for_epochs(process, 1)
    if nohup:
        process.send_signal(signal.SIGHUP)
        wait_for_epochs(process, behind + 2)
    process.send_signal(number)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 5 and process.returncode == 128 + number
    again = "The same command (without --overwrite) resumes after the last whole epoch."
    assert err.splitlines()[-1].endswith(f"train.py: interrupted. {again}")
    assert not [path for path in Path("runs").rglob("*") if "partial" in path.name]
    behind = wait_for_epochs(process, 1)
    status, _, err = call("train", *command[:-1], behind + 1)
    assert status == 0 and f"Resuming after epoch {behind} of {behind + 1}" in err
    assert wait_for_epochs(process, 1) == behind + 1


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs JAX")
def test_from_nothing_to_a_report_on_jax(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    args = ("--filters", "2", "--size", "32", "32", "--loss", "focal+dice", "--epochs", "1")
    assert "Computing in float32" in shell("tests/shallow.py", "train.py", *args).stderr
    assert names("runs/sample") == RUN_FILES
    assert "background" in shell("predict.py").stdout
    assert "Total MIOU" in shell("evaluate.py").stdout
