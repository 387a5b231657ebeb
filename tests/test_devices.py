"""Precision, and training on several devices and in several processes."""

import csv
import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import shallow
from conftest import write_voc

from core.config import Config
from core.evaluation.metrics import ConfusionMatrix
from core.support import devices, processes
from core.support.errors import UserError
from core.training.fit import build, prepare

needs_jax = pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs JAX")


@pytest.mark.parametrize(
    ("flags", "found"),
    [("fpu avx512_bf16 vme", True), ("amx_bf16 amx_tile", True), ("avx512f avx512_bf", False)],
)
def test_bfloat16_is_found_in_cpuinfo(tmp_path, flags, found):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: amx_bf16\n")
    assert devices.cpu_has_bfloat16(path) == found
    assert not devices.cpu_has_bfloat16(tmp_path / "none")


def test_the_fastest_precision(monkeypatch):
    assert devices.choose_policy("float16") == "mixed_float16"
    assert devices.choose_policy("float32") == "float32"
    for gpu, policy in (((9, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16"), ((6, 1), "float32")):
        monkeypatch.setattr(devices, "gpu_generation", lambda gpu=gpu: gpu)
        assert devices.choose_policy("auto") == policy
    monkeypatch.setattr(devices, "gpu_generation", lambda: None)
    for has, policy in ((True, "mixed_bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda has=has: has)
        assert devices.choose_policy("auto") == policy
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: True)
    for backend, policy in (("openvino", "mixed_bfloat16"), ("jax", "float32")):
        monkeypatch.setattr(devices, "BACKEND", backend)
        assert devices.choose_policy("auto") == policy


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_mixed_precision_model_computes_in_it_and_is_saved_in_float32(tmp_path, precision):
    config = Config(filters=2, size=(32, 32), precision=precision, normalization="batch")
    model = build(config, devices.choose_policy(precision))
    prepare(model, config, steps=10)
    assert keras.config.dtype_policy().name == "float32"
    convolution = model.get_layer("down1_conv1")
    assert (convolution.compute_dtype, convolution.kernel.dtype) == (precision, "float32")
    assert model.output.dtype == "float32"
    with devices.portable(model):
        model.save(tmp_path / "model.keras")
    assert convolution.compute_dtype == precision
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}


@pytest.mark.slow
def test_mixed_precision_learns_as_well_as_float32(rng):
    """Squares in noise, by a hundred steps; then others of the kind."""
    ids = np.zeros((64, 8, 8), np.uint8)
    for mask, (top, left) in zip(ids, rng.integers(0, 5, (64, 2)), strict=True):
        mask[top : top + 4, left : left + 4] = 1
    masks = ids.repeat(4, 1).repeat(4, 2)
    images = rng.normal(80 + 60 * masks[..., None], 20).clip(0, 255).astype(np.uint8)
    config = Config(class_names=("ground", "square"), filters=8, channels=1, lr=1e-2)
    config = dataclasses.replace(config, normalization="batch", dropout=0, loss="crossentropy+dice")
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        model = build(config, policy)
        prepare(model, config, steps=100)
        for step in range(100):
            rows = np.arange(8) + 8 * (step % 7)  # the last eight are new to it
            model.train_on_batch(images[rows], masks[rows])
        matrix = ConfusionMatrix(2)
        matrix.add(masks[56:], model.predict_on_batch(images[56:]).argmax(-1))
        found.append(matrix.iou.mean())
    assert min(found) > 0.95 and abs(found[0] - found[1]) < 0.02


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is TensorFlow's")
def test_fused_batch_normalization_learns_what_keras_does(monkeypatch, rng):
    """Three steps, float32: weights and statistics; what is frozen stays as it is."""
    images = rng.integers(0, 256, (2, 32, 48, 3), np.uint8)
    masks = rng.integers(0, 3, (2, 32, 48), np.uint8)
    config = Config(
        filters=2,
        class_names=("background", "a", "b"),
        normalization="batch",
        precision="float32",
        dropout=0,
        optimizer="sgd",
        lr=1e-3,
        lr_floor=1e-3,
    )
    found = {}
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(devices, "fuse", lambda model: None)
        model = build(config, "float32")
        model.get_layer("up1_conv2_norm").trainable = False
        prepare(model, config, steps=10)
        assert ("call" in vars(model.get_layer("bottom_conv1_norm"))) == fused
        for _ in range(3):
            model.train_on_batch(images, masks)
        found[fused] = {v.path: keras.ops.convert_to_numpy(v) for v in model.variables}
        found[fused]["answer"] = model.predict_on_batch(images)
    for name, value in found[False].items():
        np.testing.assert_allclose(found[True][name], value, rtol=1e-4, atol=1e-4, err_msg=name)
    assert (found[True]["up1_conv2_norm/moving_mean"] == 0).all()
    assert np.abs(found[True]["bottom_conv1_norm/moving_mean"]).max() > 1e-2
    assert np.abs(found[True]["bottom_conv1_norm/moving_variance"] - 1).max() > 1e-2


def test_on_a_gpu_batch_normalization_is_left_to_keras(monkeypatch):
    """There XLA would compute the variance as the difference of two large numbers."""
    model = build(Config(filters=2, normalization="batch"))
    monkeypatch.setattr(devices, "gpu_generation", lambda: (8, 0))
    devices.fuse(model)
    assert not any("call" in vars(layer) for layer in model.layers)


def run_limited(limit, *args):
    """Runs train.py with a limit on what it may use."""
    resource = pytest.importorskip("resource")
    return subprocess.run(
        [*shallow.COMMAND, "train.py", *map(str, args)],
        preexec_fn=lambda: resource.setrlimit(getattr(resource, limit[0]), (limit[1],) * 2),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_disk_that_is_full(eagerly, call, voc):
    """As far as a program can tell: a file that grows beyond a limit cannot be written on."""
    args = ("--data", voc, "--class-names", "background,a,b", "--size", 32, 32, "--filters", 2)
    assert call("train", *args, "--epochs", 1)[0] == 0
    run = Path("runs/voc")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    limit = len(before["last.keras"]) // 2
    done = run_limited(("RLIMIT_FSIZE", limit), *args, "--epochs", 3)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert after.keys() == before.keys()
    assert after["last.keras"] == before["last.keras"]
    assert call("train", *args, "--epochs", 3)[0] == 0


def start(kind, data, folder, settings, *index, backend="jax"):
    """Starts tests/train_part.py."""
    script = Path(__file__).with_name("train_part.py")
    command = [sys.executable, script, data, folder, json.dumps(settings), kind, *map(str, index)]
    return subprocess.Popen(
        command,
        env={**os.environ, "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(data, folder, settings):
    """Starts two processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [start(address, data, folder, settings, index) for index in range(2)]


def finish(*processes):
    for process in processes:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err


def weights(folder):
    model = keras.saving.load_model(folder / "last.keras", compile=False)
    return [np.asarray(weight) for weight in model.weights]


def assert_close(one, other):
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


# Batches of 3 and 1 images are filled up to be shared by two, which only batch normalization
# sees; a batch of 4 is not.
CASES = [
    {"normalization": "none", "batch_size": 3},
    {"normalization": "batch", "batch_size": 4, "lr": 1e-3, "size": [64, 64]},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", CASES)
def test_two_devices_are_as_one(voc, tmp_path, settings):
    """MirroredStrategy, as on two GPUs."""
    settings = {**settings, "loss": "crossentropy+dice"}
    kinds = ("one", "two")
    finish(*(start(k, voc, tmp_path / k, settings, backend="tensorflow") for k in kinds))
    assert_close(tmp_path / "one", tmp_path / "two")
    rows = [list(csv.DictReader((tmp_path / k / "history.csv").open())) for k in kinds]
    for one, two in zip(*rows, strict=True):
        assert float(one["val_miou"]) == pytest.approx(float(two["val_miou"]), abs=1e-3)
        for name in ("loss", "val_loss", "penalty"):
            assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-4)


@pytest.mark.slow
@needs_jax
def test_two_processes_are_as_one(voc, tmp_path):
    settings = {**CASES[0], "loss": "crossentropy+dice"}
    finish(start("one", voc, tmp_path / "one", settings))  # two then find what is compiled alike
    finish(*start_two(voc, tmp_path / "two", settings))
    assert_close(tmp_path / "one", tmp_path / "two")


def test_the_words_of_a_lost_process(monkeypatch):
    """What JAX raises depends on where in a step the other process is lost."""
    registered = []
    monkeypatch.setattr(processes, "process", lambda: (0, 2))
    monkeypatch.setattr(processes.atexit, "register", lambda *call: registered.append(call))
    with pytest.raises(UserError, match="Another process"), processes.joined():
        raise ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")
    with pytest.raises(ValueError, match="a defect"), processes.joined():
        raise ValueError("a defect")
    assert registered == [(os._exit, 1)] * 2


@pytest.mark.slow
@needs_jax
@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_ends_the_other(tmp_path, dying):
    data = write_voc(tmp_path / "voc", count=12)
    settings = {**CASES[0], "loss": "crossentropy+dice", "epochs": 1000}
    processes = start_two(data, tmp_path / "run", settings)
    history = tmp_path / "run/history.csv"
    limit = time.monotonic() + 120
    while not history.exists() and time.monotonic() < limit:
        time.sleep(0.1)
    processes[dying].send_signal(signal.SIGKILL)
    processes[dying].communicate()
    began = time.monotonic()
    _, err = processes[1 - dying].communicate(timeout=120)
    assert time.monotonic() - began < 120
    print("ended after", time.monotonic() - began)
    status = processes[1 - dying].returncode
    assert status in (2, -signal.SIGABRT), err  # JAX itself may abort
    assert status != 2 or "nother process of this training" in err.splitlines()[-1], err
    behind = len(history.read_text().splitlines()) - 1
    if dying:  # whichever died, the run is in the state of an epoch's end
        finish(*start_two(data, tmp_path / "run", {**settings, "patience": 1}))
        assert len(history.read_text().splitlines()) - 1 >= behind
