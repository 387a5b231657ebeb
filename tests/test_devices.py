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
from conftest import write_voc

from core import devices
from core.config import Config
from core.errors import UserError
from core.training import build, prepare

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
        monkeypatch.setattr(devices, "_gpu_generation", lambda gpu=gpu: gpu)
        assert devices.choose_policy("auto") == policy
    monkeypatch.setattr(devices, "_gpu_generation", lambda: None)
    for has, policy in ((True, "mixed_bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda has=has: has)
        assert devices.choose_policy("auto") == policy


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_mixed_precision_model_computes_in_it_and_is_saved_in_float32(tmp_path, precision):
    config = Config(filters=2, size=(32, 32), precision=precision, normalization="batch")
    config = dataclasses.replace(config, policy=devices.choose_policy(config.precision))
    model = build(config)
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


@pytest.mark.parametrize("lost", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 bytes")])
def test_memory_that_runs_out_is_explained(lost):
    config = Config(size=(320, 480), batch_size=4)
    with pytest.raises(UserError, match="--batch-size .now 4., --size .320 480."):
        with devices.explained(config):
            raise lost
    with pytest.raises(ZeroDivisionError), devices.explained(config):
        raise ZeroDivisionError


def start(kind, data, folder, settings, *index, backend="jax"):
    """Starts tests/train_part.py; JAX compiles quickly rather than well, and each program once."""
    cache = data.parent.parent / "jax"
    quick = {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    script = Path(__file__).with_name("train_part.py")
    command = [sys.executable, script, data, folder, json.dumps(settings), kind, *map(str, index)]
    return subprocess.Popen(
        command,
        env={**os.environ, "KERAS_BACKEND": backend, **quick},
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


# Batches of 3 and 1 pictures are filled up to be shared by two, which only batch normalization
# sees; a batch of 4 is not.
CASES = [
    {"normalization": "none", "batch_size": 3},
    {"normalization": "batch", "batch_size": 4, "lr": 1e-3, "size": [64, 64]},
]


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
        if settings["batch_size"] == 4:  # Keras weighs batches by their size, filled up or not
            assert float(one["loss"]) == pytest.approx(float(two["loss"]), abs=1e-4)


@needs_jax
@pytest.mark.parametrize("settings", CASES)
def test_two_processes_are_as_one(voc, tmp_path, settings):
    settings = {**settings, "loss": "crossentropy+dice"}
    finish(
        start("one", voc, tmp_path / "one", settings), *start_two(voc, tmp_path / "two", settings)
    )
    assert_close(tmp_path / "one", tmp_path / "two")


@needs_jax
@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_ends_the_other(tmp_path, dying):
    data = write_voc(tmp_path / "voc", count=12)
    processes = start_two(data, tmp_path / "run", {"epochs": 1000, "batch_size": 2})
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
    assert "Another process of this training has ended" in err.splitlines()[-1], err
    assert processes[1 - dying].returncode == 2
    behind = len(history.read_text().splitlines()) - 1
    finish(*start_two(data, tmp_path / "run", {"epochs": 1000, "batch_size": 2, "patience": 1}))
    assert len(history.read_text().splitlines()) - 1 >= behind
