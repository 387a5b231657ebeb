"""Runs that are interrupted and resume: as if they never had been interrupted."""

import csv
import dataclasses
import json
import random
import re
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import shallow
from conftest import small_network

import core.training.figures
import core.training.fit
import core.training.run_folder
from core.config import Config, Found
from core.imaging.draw import voc_palette
from core.support.errors import UserError
from core.support.files import alone_in
from core.training.checkpoint import describe_resuming, epochs_behind, finished, print_best
from core.training.fit import train
from core.training.run_folder import RunFolder
from core.VOCdataset import VOCDataset

CONFIG = Config(
    class_names=("background", "a", "b"),
    size=(32, 32),
    filters=2,
    epochs=4,
    batch_size=2,
    normalization="batch",
    lr=1e-2,
)

FOUND = Found(palette=tuple(map(tuple, voc_palette()[:3].tolist())))


@pytest.fixture
def run(voc):
    """Returns a function that trains, or resumes, in a folder."""

    def resume(folder, history=None, **settings):
        config = dataclasses.replace(CONFIG, **settings)
        lists = voc / "ImageSets/Segmentation"
        options = {"batch_size": 2, "target_size": (32, 32), "num_classes": 3}
        data = VOCDataset(lists / "train.txt", aug=True, **options)
        validation = VOCDataset(lists / "val.txt", **options)
        if history is None:
            history = epochs_behind(config, folder)
        return train(config, FOUND, data, validation, folder, history)

    return resume


def contents(folder):
    """All numbers in best.keras and last.keras, and the history; not the times in the files."""
    found = {"history": (folder / "history.csv").read_text()}
    for name in ("best", "last"):
        with zipfile.ZipFile(folder / f"{name}.keras") as archive:
            if name == "last":
                found["state"] = json.loads(archive.read("training.json"))
            with archive.open("model.weights.h5") as file, h5py.File(file) as weights:
                weights.visititems(
                    lambda path, item, name=name: (
                        found.__setitem__(f"{name}/{path}", item[()])
                        if isinstance(item, h5py.Dataset)
                        else None
                    )
                )
    return found


def state(folder):
    with zipfile.ZipFile(folder / "last.keras") as archive:
        return archive.read("training.json")


def assert_equal(one, other):
    """To the bit."""
    one, other = contents(one), contents(other)
    assert one.keys() == other.keys() and len(one) > 100
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == other[name].dtype, name
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.deep
@pytest.mark.slow
def test_a_run_resumes_to_the_same_result(run, tmp_path, monkeypatch):
    """Stopped in the third epoch of four, after best.keras was written and before last.keras."""
    run(tmp_path / "whole")
    save = core.training.run_folder.save_checkpoint

    def stop(model, path, config, found, history):
        if len(history) == 3:
            raise KeyboardInterrupt
        save(model, path, config, found, history)

    monkeypatch.setattr(core.training.run_folder, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts")
    monkeypatch.undo()
    assert len(epochs_behind(CONFIG, tmp_path / "parts")) == 2
    run(tmp_path / "parts")
    assert_equal(tmp_path / "whole", tmp_path / "parts")
    rows = list(csv.DictReader((tmp_path / "parts/history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]


def encoder_of(path):
    """The values in the layers that the file of a small encoder's weights has, too."""
    model = keras.saving.load_model(path, compile=False)
    return [
        value
        for level in range(1, 6)
        for name in (f"block{level}_conv", f"block{level}_bn")
        for value in model.get_layer(name).get_weights()
    ]


@pytest.mark.slow
def test_an_encoder_that_is_frozen_for_two_epochs(
    eagerly, run, tmp_path, monkeypatch, small_encoder
):
    """Stopped after every epoch, and without the file of its weights after the first."""
    network = small_network(small_encoder)
    settings = {"encoder": "vgg16", "encoder_weights": str(small_encoder), "freeze_encoder": 2}

    run(tmp_path / "whole", **settings)
    save = core.training.run_folder.save_checkpoint
    began = [value for layer in network.layers for value in layer.get_weights()]

    def stop(*args):
        save(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(core.training.run_folder, "save_checkpoint", stop)
    for epoch in range(1, 5):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", **settings)
        small_encoder.unlink(missing_ok=True)
        found = encoder_of(tmp_path / "parts/last.keras")
        same = [np.array_equal(a, b) for a, b in zip(found, began, strict=True)]
        if epoch > 2:  # but for the second of each six, biases, which batch normalization undoes
            assert not any(equal for place, equal in enumerate(same) if place % 6 != 1)
        else:
            assert all(same)
    run(tmp_path / "parts", **settings)  # has nothing left to do but history.csv
    assert_equal(tmp_path / "whole", tmp_path / "parts")
    rates = [row["learning_rate"] for row in json.loads(state(tmp_path / "whole"))["history"]]
    assert rates[1] == rates[3] == pytest.approx(1e-6) and rates[0] > 1e-4 < rates[2]


@pytest.mark.slow
def test_another_run_is_not_resumed(eagerly, run, tmp_path):
    run(tmp_path / "run", epochs=1)
    changed = dataclasses.replace(CONFIG, lr=1e-3, seed=5, workers=7, epochs=9)
    with pytest.raises(
        UserError, match=r"other settings: lr 0.001 .there 0.01., seed 5 .there 0.\."
    ):
        epochs_behind(changed, tmp_path / "run")
    assert len(epochs_behind(dataclasses.replace(CONFIG, workers=7), tmp_path / "run")) == 1
    (tmp_path / "run/last.keras").write_bytes(b"PK")
    with pytest.raises(UserError, match="last.keras"):
        epochs_behind(CONFIG, tmp_path / "run")
    (tmp_path / "run/last.keras").unlink()
    with pytest.raises(UserError, match="no last.keras to resume from"):
        epochs_behind(CONFIG, tmp_path / "run")


def test_a_run_that_ended_between_its_first_two_files(eagerly, run, tmp_path, monkeypatch):
    """The disk was full, or it was killed: the same command starts again."""

    def full(*args):
        raise UserError("no space")

    monkeypatch.setattr(core.training.run_folder, "save_checkpoint", full)
    with pytest.raises(UserError, match="no space"):
        run(tmp_path, epochs=1)
    names = {path.name for path in tmp_path.glob("*.*")}
    assert names == {"best.keras", "config.json", "split.json"}
    monkeypatch.undo()
    assert len(run(tmp_path, epochs=1)) == 1


@pytest.mark.parametrize("others", [(), ("history.csv",), ("config.json", "history.csv")])
def test_a_model_that_is_kept_is_not_replaced(tmp_path, others):
    for name in ("best.keras", *others):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="no last.keras to resume from"):
        epochs_behind(CONFIG, tmp_path)


def test_a_second_process_changes_nothing(eagerly, run, tmp_path):
    """It is refused while the first one is at work, and when it has nothing left to do."""
    history = run(tmp_path, epochs=1)
    (tmp_path / "history.csv").write_text("of the first one")
    with alone_in(tmp_path):
        for epochs in (1, 2):
            with pytest.raises(UserError, match="another training writes there"):
                run(tmp_path, history=history, epochs=epochs)
    assert (tmp_path / "history.csv").read_text() == "of the first one"
    run(tmp_path, history=history, epochs=1)
    assert (tmp_path / "history.csv").read_text().startswith("epoch,")


def test_an_interrupt_says_how_to_resume(run, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(core.training.fit, "prepare", stop)
        with pytest.raises(KeyboardInterrupt, match="No epoch was whole: the same command starts"):
            run(tmp_path)
        patched.setattr(
            core.training.fit, "prepare", lambda *_: stop((tmp_path / "last.keras").touch())
        )
        with pytest.raises(KeyboardInterrupt, match="The same command .* resumes after the last"):
            run(tmp_path, history=[])


def test_another_number_of_epochs_is_said_to_change_the_learning_rate():
    longer = dataclasses.replace(CONFIG, epochs=9)
    assert describe_resuming([{}], CONFIG, CONFIG) == "Resuming after epoch 1 of 4."
    assert describe_resuming([{}], CONFIG, longer) == (
        "Resuming after epoch 1 of 9. The learning rate is now that of a run of 9 epochs, and no "
        "longer of 4."
    )


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no image")])
def test_an_image_that_is_lost_in_training(eagerly, run, voc, tmp_path, damage, monkeypatch):
    """TensorFlow, which reads the data set, tells it in a hundred lines."""
    lost = voc / "JPEGImages/picture3.jpg"
    write = RunFolder.write_history

    def lose(self):
        write(self)
        if len(self.history) == 1:
            damage(lost)

    monkeypatch.setattr(RunFolder, "write_history", lose)
    with pytest.raises(UserError) as told:
        run(tmp_path / "run", epochs=5)
    assert re.fullmatch(rf"{lost}: (there is no such file|cannot be read .*)\..*", str(told.value))
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_the_same_command_again(eagerly, call, voc):
    command = ("train", "--data", voc, "--class-names", "background,a,b", "--size", 32, 32)
    command += ("--filters", 2, "--epochs")
    assert call(*command, 1)[0] == 0
    before = Path("runs/voc/last.keras").read_bytes()
    status, out, err = call(*command, 1)
    assert (
        status == 0
        and "the run is finished, after epoch 1." in err
        and out.startswith("Best validation")
    )
    assert Path("runs/voc/last.keras").read_bytes() == before
    assert err.splitlines()[-1].startswith("Next: python evaluate.py --weights runs/voc, or ")
    status, out, err = call(*command, 3)
    assert status == 0 and "Resuming after epoch 1 of 3. The learning rate is now that of" in err
    assert out.count("\n") == 1
    assert err.splitlines()[-1].startswith("Next: python evaluate.py --weights runs/voc, or ")
    assert len(Path("runs/voc/history.csv").read_text().splitlines()) == 4


def test_patience():
    rows = [{"epoch": i + 1, "val_miou": miou} for i, miou in enumerate((0.2, 0.5, 0.5, 0.4))]
    patient = dataclasses.replace(CONFIG, epochs=9, patience=2)
    assert [finished(rows[:count], patient) for count in range(5)] == [False] * 4 + [True]
    assert not finished(rows, dataclasses.replace(patient, patience=None))
    assert finished(rows, dataclasses.replace(patient, patience=None, epochs=4))
    frozen = dataclasses.replace(patient, freeze_encoder=3)
    assert not finished(rows, frozen)
    assert finished([*rows, {"epoch": 5, "val_miou": 0.1}], frozen)


@pytest.mark.slow
def test_a_run_that_lost_patience_is_finished(eagerly, run, tmp_path, monkeypatch):
    monkeypatch.setattr(core.training.figures.MeanIoU, "result", lambda self: 0.5)
    history = run(tmp_path / "run", patience=2)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert run(tmp_path / "run", patience=2) == history
    assert len(run(tmp_path / "run", patience=3)) == 4
    assert finished(epochs_behind(CONFIG, tmp_path / "run"), CONFIG)


@pytest.mark.slow
def test_another_training_that_resumes_meanwhile(eagerly, run, tmp_path):
    """It has replaced last.keras since this one looked at it."""
    history = run(tmp_path / "run", epochs=1)
    with pytest.raises(UserError, match="another training has written it meanwhile"):
        run(tmp_path / "run", history=2 * history, epochs=3)


def test_a_loss_that_is_no_number(eagerly, call, voc):
    command = ("train", "--data", voc, "--class-names", "background,a,b", "--size", 32, 32)
    command += ("--filters", 2, "--batch-size", 1, "--epochs", 50, "--lr", 1e30)
    status, out, err = call(*command)
    assert (status, out) == (2, "")
    assert "The loss is nan in step" in err or "The loss is inf in step" in err
    assert "Try a smaller --lr (now 1e+30), with --overwrite" in err.splitlines()[-1]


@pytest.mark.slow
def test_an_epoch_whose_last_step_was_one_too_far(eagerly, call, voc):
    """With one step an epoch, the loss is computed before the step, the network after it."""
    command = ("train", "--data", voc, "--class-names", "background,a,b", "--size", 32, 32)
    command += ("--filters", 2, "--epochs", 2, "--lr", 1e38, "--precision", "float32")
    status, _, err = call(*command)
    assert status == 2 and re.search("validation loss is (nan|inf)", err.splitlines()[-1])
    assert not list(Path("runs/voc").glob("*.keras"))


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "epochs", "kills"), [("tensorflow", "16", 3), ("jax", "5", 1)])
def test_killed_at_any_moment(call, voc, tmp_path, monkeypatch, backend, epochs, kills):
    """With SIGKILL, in a process of its own; then as if nothing had been."""
    pytest.importorskip(backend)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    command = ["--data", voc, "--class-names", "background,a,b", "--size", "32", "32"]
    command += ["--filters", "2", "--epochs", epochs, "--batch-size", "2", "--output"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def to_the_end(folder):
        if backend == keras.backend.backend():  # then this process will do
            assert call("train", *command, folder)[0] == 0
        else:
            train = [*shallow.COMMAND, "train.py", *command, folder]
            subprocess.run(train, check=True, **silent)

    to_the_end(tmp_path / "whole")
    parts, draw = tmp_path / "parts", random.Random(0)
    history = parts / "history.csv"
    for kill in range(kills):
        lines = len(history.read_text().splitlines()) if history.exists() else 0
        process = subprocess.Popen([*shallow.COMMAND, "train.py", *command, parts], **silent)
        while process.poll() is None and (
            not history.exists() or len(history.read_text().splitlines()) < lines + 2
        ):
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"kill {kill} came too late"
    to_the_end(parts)
    assert_equal(tmp_path / "whole", parts)


def test_classes_that_are_not_found_are_named(capsys):
    """Those of the best epoch; a class that is neither in truth nor in prediction has no IoU."""
    rows = [
        {"epoch": 1, "val_miou": 0.5, "val_iou_bg": 0.99, "val_iou_a": 0.0004, "val_iou_b": None},
        {"epoch": 2, "val_miou": 0.4, "val_iou_bg": 0.9, "val_iou_a": 0.0, "val_iou_b": 0.0},
    ]
    print_best(rows, Path("run"))
    out, err = capsys.readouterr()
    assert out == "Best validation MIoU 0.5000 in epoch 1: run/best.keras\n"
    assert err.startswith("IoU below 0.05: a (0.000). docs/faq.md says what helps.\nNext: ")
    rows[0]["val_iou_a"] = 0.05
    print_best(rows, Path("run"))
    assert capsys.readouterr().err.startswith("Next: ")
