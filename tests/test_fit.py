import csv
import dataclasses
import importlib.util
import json
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from core.config import PRESETS, Config, Found
from core.dataset import Dataset
from core.evaluation.samples import draw_samples
from core.imaging.borders import balanced_weights
from core.prediction.model_file import load_model
from core.support import errors
from core.support.backend import epochs_of
from core.support.errors import UserError, explained
from core.support.files import Missing
from core.training.checkpoint import best_of, load_checkpoint, save_checkpoint
from core.training.fit import build, prepare, train
from core.training.losses import SegmentationLoss
from core.training.run_folder import RunFolder
from core.VOCdataset import VOCDataset
from nets.unet import UNet

FOUND = Found(palette=((0, 0, 0), (9, 9, 9), (99, 0, 0)))


@pytest.mark.deep
def test_presets_hold_the_reference_s_settings():
    reference, voc, isbi = Config(), PRESETS["voc"], PRESETS["isbi"]
    assert (reference.size, reference.filters, reference.batch_size) == ((320, 320), 64, 4)
    assert (reference.lr, reference.lr_floor, reference.warmup) == (1e-4, 1e-6, 0.1)
    assert (reference.epochs, reference.l2, reference.dropout) == (100, 5e-4, 0.5)
    assert reference.normalization == "none" and reference.num_classes == 21
    assert build(reference).count_params() == 31_033_045
    # voc differs from it in what was measured to be better
    assert voc == dataclasses.replace(reference, normalization="batch", lr=1e-3)
    assert (isbi.size, isbi.crop) == ((512, 512), (256, 256))
    assert (isbi.channels, isbi.num_classes) == (1, 2)


def test_the_loss_does_not_look_at_255(rng):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    logits = rng.normal(size=(1, 2, 2, 3)).astype(np.float32)
    truth = np.array([[[0, 255], [2, 255]]], np.uint8)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -(log_softmax[0, 0, 0, 0] + log_softmax[0, 1, 0, 2]) / 2
    assert float(loss(truth, logits)) == pytest.approx(wanted, rel=1e-5)
    logits[0, :, 1] += 100
    assert float(loss(truth, logits)) == pytest.approx(wanted, rel=1e-5)


def test_the_metric_does_not_look_at_255():
    metric = keras.metrics.MeanIoU(3, ignore_class=255, sparse_y_pred=False)
    truth = np.array([[[0, 1, 255, 255]]], np.uint8)
    logits = np.eye(3, dtype=np.float32)[np.array([[[0, 0, 2, 1]]])]
    metric.update_state(truth, logits)
    assert float(metric.result()) == pytest.approx((1 / 2 + 0) / 2)


@pytest.fixture
def tiny(voc):
    config = dataclasses.replace(
        PRESETS["voc"],
        class_names=("background", "a", "b"),
        size=(32, 32),
        filters=2,
        epochs=2,
        batch_size=3,
    )
    lists = voc / "ImageSets/Segmentation"
    options = {"target_size": config.size, "num_classes": 3, "batch_size": 3}
    return (
        config,
        VOCDataset(lists / "train.txt", **options),
        VOCDataset(lists / "val.txt", **options),
    )


def test_a_run_s_folder(eagerly, tiny, tmp_path):
    config, data, validation = tiny
    history = train(config, FOUND, data, validation, tmp_path)
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    figures = ("loss", "miou", "val_loss", "val_miou", "penalty", "learning_rate")
    classes = [f"val_iou_{name}" for name in config.names]
    assert tuple(rows[0]) == ("epoch", *figures, *classes)
    for row in history:
        known = [row[name] for name in classes if row[name] is not None]
        assert row["val_miou"] == pytest.approx(np.mean(known), abs=1e-6)
    assert [row["val_miou"] for row in history] == [float(row["val_miou"]) for row in rows]
    assert Image.open(tmp_path / "curves.png").width > 1500
    last, *_ = load_model(tmp_path / "last.keras")
    draw_samples(tmp_path / "samples.png", tmp_path / "best.keras", validation)
    assert Image.open(tmp_path / "samples.png").width > 500
    continued = build(config)
    prepare(continued, config, steps=4)
    load_checkpoint(continued, tmp_path / "last.keras", 2)
    assert int(continued.optimizer.iterations) == 4
    assert last.count_params() == continued.count_params()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"class_weights": "balanced"},
        {"border_weight": True},
        {"loss": "crossentropy+dice"},
        {"l2": 0.3},
    ],
)
def test_training_and_validation_report_the_same_loss(eagerly, tiny, tmp_path, settings):
    """On the same images, where the network stays as it is; by NumPy, with the penalty apart."""
    config, _, validation = tiny
    options = {"dropout": 0.0, "normalization": "none", "lr": 1e-30, "lr_floor": 1e-30, "l2": 0.0}
    config = dataclasses.replace(config, **{"epochs": 1, "batch_size": 1} | options | settings)
    lists = validation.annotation_path
    validation = VOCDataset(lists, 1, config.size, 3)
    data = VOCDataset(lists, 1, config.size, 3, border_weight=config.border_weight)
    found = dataclasses.replace(FOUND, class_weights=(0.1, 5.0, 2.0))
    if config.class_weights == "none":
        found = FOUND
    (row,) = train(config, found, data, validation, tmp_path)
    assert row["loss"] == pytest.approx(row["val_loss"], rel=1e-6)
    model = keras.saving.load_model(tmp_path / "last.keras", compile=False)
    losses = []
    for images, masks in (validation[i] for i in range(len(validation))):
        logits = model.predict_on_batch(images).astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        truth = np.eye(256)[masks][..., :3]
        losses.append(-np.log((shares * truth).sum(-1))[masks != 255])
    if "dice" not in config.loss:
        assert row["loss"] == pytest.approx(np.concatenate(losses).mean(), rel=1e-5)
    kernels = [w.numpy() for w in model.trainable_weights if w.path.endswith("kernel")]
    penalty = config.l2 * sum(np.square(kernel, dtype=np.float64).sum() for kernel in kernels)
    assert row["penalty"] == pytest.approx(penalty, rel=1e-5)


def test_what_is_minimized_has_weights_and_the_penalty(eagerly, tiny, tmp_path, monkeypatch):
    """Keras' own `loss` of a step, which is not reported, but watched."""
    config, data, validation = tiny
    seen = []
    watch = RunFolder.on_train_batch_end

    def remember(self, batch, logs):
        before = logs["loss"], logs["data_loss"], float(sum(self.model.losses))
        seen.append((*before, watch(self, batch, logs), logs["loss"]))

    monkeypatch.setattr(RunFolder, "on_train_batch_end", remember)
    found = dataclasses.replace(FOUND, class_weights=(4.0, 4.0, 4.0))
    config = dataclasses.replace(config, epochs=1, lr=1e-30, lr_floor=1e-30, dropout=0.0, l2=0.1)
    train(config, found, data, validation, tmp_path)
    for minimized, data_term, penalty, _, shown in seen:
        assert minimized == pytest.approx(4 * data_term + penalty, rel=1e-5)
        assert shown == data_term


def test_the_learning_rate_is_not_computed_for_each_batch(tiny, tmp_path, monkeypatch):
    """By Keras' operations, which JAX would compile again for each: ten times the step on a GPU."""
    config, data, validation = tiny
    data.repeats = 10
    calls = []
    compute = keras.optimizers.schedules.CosineDecay.__call__

    def count(self, step):
        calls.append(step)
        return compute(self, step)

    monkeypatch.setattr(keras.optimizers.schedules.CosineDecay, "__call__", count)
    history = train(dataclasses.replace(config, epochs=1), FOUND, data, validation, tmp_path)
    assert len(data) >= 10 > len(calls)
    assert history[0]["learning_rate"] == pytest.approx(config.lr_floor)


def test_a_run_of_an_older_version_resumes(eagerly, tiny, tmp_path):
    """Its epochs have no penalty, and no IoU of the classes."""
    config, data, validation = tiny
    train(dataclasses.replace(config, epochs=1), FOUND, data, validation, tmp_path)
    model = build(config)
    prepare(model, config, steps=4)
    load_checkpoint(model, tmp_path / "last.keras", 1)
    old = [{"epoch": 1, "loss": 9, "miou": 0, "val_loss": 8, "val_miou": 0, "learning_rate": 0.1}]
    save_checkpoint(model, tmp_path / "last.keras", config, FOUND, old)
    history = train(config, FOUND, data, validation, tmp_path, old)
    assert history[0] == old[0] and history[1]["penalty"] > 0
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    for name in ("penalty", "val_iou_a"):
        assert [row[name] == "" for row in rows] == [True, False]
    assert [row["loss"] for row in rows] == ["9", str(history[1]["loss"])]


@pytest.mark.deep
@pytest.mark.slow
def test_training_lowers_the_loss(tiny, tmp_path):
    config, data, validation = tiny
    data.repeats = 10
    config = dataclasses.replace(config, epochs=4, lr=1e-2, normalization="batch", l2=0.0)
    train(config, FOUND, data, validation, tmp_path)
    losses = [float(row["loss"]) for row in csv.DictReader((tmp_path / "history.csv").open())]
    assert losses[-1] < 0.8 * losses[0]


def test_best_is_the_epoch_of_the_highest_miou(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "core.training.run_folder.save_model", lambda model, path, *_: saved.append(path.name)
    )
    monkeypatch.setattr(
        "core.training.run_folder.save_checkpoint", lambda model, path, *_: saved.append(path.name)
    )
    run = RunFolder(tmp_path, Config(), Found())
    run.set_model(keras.Sequential([keras.layers.Dense(1)]))
    run.model.compile("adam", "mse")
    for epoch, miou in enumerate((0.2, 0.5, 0.4)):
        run.on_epoch_end(epoch, {"loss": 1, "miou": 0, "val_loss": 1, "val_miou": miou})
    assert saved == ["best.keras", "last.keras"] * 2 + ["last.keras"]
    assert best_of(run.history)["epoch"] == 2


@pytest.mark.slow
def test_one_seed_gives_one_result_whatever_the_workers(tiny, tmp_path):
    config, data, validation = tiny
    data.aug = True
    results = []
    for name, workers in (("first", 1), ("second", 3)):
        (tmp_path / name).mkdir()
        data.begin_epoch(0)
        data.workers = workers
        results.append(train(config, FOUND, data, validation, tmp_path / name))
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="needs TensorBoard")
def test_logs_for_tensorboard(eagerly, call, voc):
    args = ("--class-names", "background,a,b", "--size", 32, 48, "--filters", 2, "--epochs", 1)
    assert call("train", "--data", voc, *args, "--tensorboard")[0] == 0
    assert list(Path("runs/voc/tensorboard").rglob("events.out.tfevents.*"))


def test_tensorboard_that_is_not_there(call, voc, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, out, err = call("train", "--data", voc, "--tensorboard")
    assert (status, out) == (2, "") and "tensorboard is missing. Install it" in err


def test_weights_need_a_loss_of_pixels(call, voc):
    for flags in (("--class-weights", "balanced"), ("--border-weight",)):
        status, _, err = call("train", "--data", voc, "--loss", "dice+iou", *flags)
        assert status == 2 and "go with crossentropy and focal" in err
    status, _, err = call("train", "--data", voc, "--loss", "dice+dice")
    assert status == 2 and "each once" in err


def test_balanced_weights_by_hand():
    assert balanced_weights(np.array([6, 2])) == (8 / (2 * 6), 8 / (2 * 2))
    assert balanced_weights(np.array([6, 0, 2])) == (8 / (2 * 6), 0, 8 / (2 * 2))


def test_the_loss_with_class_weights_by_hand(voc, rng):
    """The mean over the known pixels of the weight of their class times minus their log share."""
    dataset = VOCDataset(voc / "ImageSets/Segmentation/train.txt", 4, (32, 48), 3)
    images, masks = dataset[0]
    known = masks != 255
    weights = np.append(np.array([0.5, 2, 3]), np.zeros(253))[masks]
    model = UNet((None, None, 3), 3, 2, l2=0.0)
    model.compile(loss=SegmentationLoss("crossentropy", (0.5, 2.0, 3.0)))
    logits = model.predict_on_batch(images).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    right = np.take_along_axis(shares, np.where(known, masks, 0)[..., None], -1)[..., 0]
    wanted = -(weights * np.log(right))[known].mean()
    assert model.evaluate(dataset, verbose=0) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "options", "named"),
    [
        ({"border_weight": True}, {}, "border_weight=True"),
        ({}, {"border_weight": True}, "border_weight=False"),
        ({"ignored_as_background": True}, {}, "ignored_as_background=True"),
        ({"architecture": "paper"}, {}, "surroundings=Geometry"),
        ({}, {"part": (0, 2)}, r"part=\(0, 1\)"),
    ],
)
def test_a_data_set_that_was_made_for_something_else(tiny, tmp_path, settings, options, named):
    config, _, validation = tiny
    data = VOCDataset(validation.annotation_path, 3, config.size, 3, **options)
    with pytest.raises(ValueError, match=f"needs a data set made with {named}"):
        train(dataclasses.replace(config, **settings), FOUND, data, validation, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_balanced_classes_are_shown_and_kept(eagerly, call, voc):
    args = ("--class-names", "background,a,b,c", "--class-weights", "balanced", "--size", 48, 48)
    status, _, err = call("train", "--data", voc, *args, "--filters", 2, "--epochs", 1)
    assert status == 0 and "Class weights: background 1, a 1, b 1, c 0 (no pixel)" in err
    config = json.loads(Path("runs/voc/config.json").read_text())
    assert config["class_weights"] == "balanced"
    assert config["found"]["class_weights"] == [1, 1, 1, 0]


def test_an_interrupt_that_was_swallowed_ends_the_training_at_the_next_step(monkeypatch):
    came, steps = [], []
    monkeypatch.setattr(errors, "_came", came)

    def swallow(batch, logs):
        steps.append(batch)
        came.extend([signal.SIGINT] * (batch == 1))

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    swallows = keras.callbacks.LambdaCallback(on_train_batch_end=swallow)
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            np.zeros((5, 2)),
            np.zeros((5, 1)),
            batch_size=1,
            verbose=0,
            callbacks=[swallows, epochs_of(Dataset())],
        )
    assert steps == [0, 1]


@pytest.mark.parametrize("lost", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 bytes")])
def test_memory_that_runs_out_is_explained(lost):
    config = Config(size=(320, 480), batch_size=4)
    with pytest.raises(UserError, match=r"--batch-size \(now 4\), --size \(320 480\)"):
        with explained(config):
            raise lost
    with pytest.raises(ZeroDivisionError), explained(config):
        raise ZeroDivisionError


def test_our_own_words_are_found_in_what_tensorflow_tells():
    told = (
        "Graph execution error:\n2 root error(s) found.\n  (0) UNKNOWN:  Missing: a.png: is lost."
    )
    for text in (f"{told}\nTraceback (most recent call last):\n core.dataset.Missing: a", told):
        with pytest.raises(UserError, match=r"^a.png: is lost\.$"), explained(Config()):
            raise RuntimeError(text)
    with pytest.raises(UserError, match="^a.png: MemoryError$"), explained(Config()):
        raise Missing("a.png: MemoryError")
