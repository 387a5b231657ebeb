"""The programs in benchmarks/: that they start, and their arithmetic; nothing here is timed."""

import importlib
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import common, sizes
from nets.unet import UNet

pytestmark = pytest.mark.deep

FOLDER = Path(common.__file__).parent
PROGRAMS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "def get_args" in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_program_says_what_it_is_for(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"benchmarks.{name}").main()
    assert left.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_there_are_programs():
    assert {"pipeline", "training", "throughput", "tiling", "starting"} <= set(PROGRAMS)


@pytest.fixture
def just_begun(monkeypatch):
    """A benchmark that begins now; this process may be older than a benchmark may run."""
    monkeypatch.setattr(common, "_BEGIN", time.monotonic())


def test_jobs_take_turns(just_begun):
    calls = []
    jobs = {"a": lambda: calls.append("a"), "b": lambda: (calls.append("b"), 0.5)[1]}
    seconds = common.in_turns(jobs, 2)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert seconds["b"] == [0.5, 0.5]  # what it says itself
    assert len(seconds["a"]) == 2 and all(0 <= s < 0.5 for s in seconds["a"])


def test_no_round_begins_after_long(monkeypatch, capsys):
    monkeypatch.setattr(common, "_ENOUGH", -1)
    calls = []
    assert len(common.in_turns({"a": lambda: calls.append("a")}, 9)["a"]) == 1
    assert calls == ["a", "a"] and "1 of 9 rounds must do" in capsys.readouterr().err


def test_the_table(capsys, monkeypatch):
    monkeypatch.setenv(common.TABLE, "table.md")
    monkeypatch.setattr(sys, "argv", ["benchmarks/own.py"])
    row = common.Row("work / its limit", [2.0, 3.0, 40.0], [1.0, 2.0, 10.0], "at most 2")
    common.show([row], "numpy")
    machine, _, line = capsys.readouterr().out.splitlines()
    assert f"numpy {np.__version__}" in machine
    assert line.split() == "work / its limit 3.00 2.00 2.00 ( 1.50.. 4.00) at most 2 [ms]".split()
    line = "| work | its limit | 1.50 to 4.00 | at most 2 | `own` |\n"
    assert Path("table.md").read_text() == line


def test_all_programs_that_need_no_gpu_make_one_table(call, monkeypatch):
    def run(command, env, **_):
        name = command[2].removeprefix("benchmarks.")
        Path(env[common.TABLE]).open("a").write(f"| {name} |\n" * (name != "training"))
        return subprocess.CompletedProcess(command, 2 if name == "training" else 0)

    monkeypatch.setattr(subprocess, "run", run)
    status, out, err = call("benchmarks.__main__")
    names = list(importlib.import_module("benchmarks.__main__").PROGRAMS)
    assert set(names) <= set(PROGRAMS) - {"accelerator"}
    assert status == 1 and "Left out, see above: training." in err
    head, *rows = out.splitlines()[2:]
    assert head == "| what | held against | ratio | aim | `python -m benchmarks.` |"
    assert rows == ["|---|---|---|---|---|", *(f"| {n} |" for n in names if n != "training")]


def test_the_law_of_cost_is_found():
    pairs = [(side, filters) for side in (128, 256, 512) for filters in (16, 32)]
    sides, filters = map(np.array, zip(*pairs, strict=True))
    a, p, q, misfit = sizes.law(sides, filters, 3e-9 * (sides**2.0) ** 1.1 * filters**1.7)
    assert (a, p, q, misfit) == pytest.approx((3e-9, 1.1, 1.7, 1.0))


def test_the_network_in_pytorch_is_the_same():
    """Parameters, and the answer to a picture, with the same weights; where PyTorch is there."""
    torch = pytest.importorskip("torch")
    from benchmarks import torch_step

    ours = UNet((32, 32, 3), 3, 2)
    theirs = torch_step.UNet(2, 3).eval()
    convolutions = [m for m in theirs.modules() if isinstance(m, torch.nn.Conv2d)]
    layers = {layer.name: layer for layer in ours.layers if isinstance(layer, keras.layers.Conv2D)}
    names = [
        f"{name}_conv{i}" for name in ("down1", "down2", "down3", "down4", "bottom") for i in (1, 2)
    ]
    names += [f"up{level}_upconv" for level in (1, 2, 3, 4)]
    names += [f"up{level}_conv{i}" for level in (1, 2, 3, 4) for i in (1, 2)] + ["logits"]
    assert len(convolutions) == len(layers) == len(names)
    for name, convolution in zip(names, convolutions, strict=True):
        kernel, bias = map(np.asarray, layers[name].get_weights())
        assert kernel.transpose(3, 2, 0, 1).shape == tuple(convolution.weight.shape), name
        convolution.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        convolution.bias.data = torch.tensor(bias.copy())
    picture = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype("float32")
    with torch.no_grad():
        answer = theirs(torch.tensor(picture.transpose(0, 3, 1, 2) / 255)).numpy()
    wanted = keras.ops.convert_to_numpy(ours(picture, training=False))
    np.testing.assert_allclose(answer.transpose(0, 2, 3, 1), wanted, atol=1e-4)
