"""CONTRIBUTING.md: its diffs apply to this project, and what they add works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.deep

ROOT = Path(__file__).parent.parent
SUBJECTS = ("loss", "encoder", "data set")

CHECK = """
import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image

import core.config
from core.support import backend

assert Path(core.config.__file__).is_relative_to(Path.cwd()), "not the copy"
backend.start()

import keras

from core.config import PRESETS
from core.sources.choose import open_dataset
from core.support.flags import add_settings, parse_loss
from core.training.losses import SegmentationLoss
from nets.unet import UNet

# The loss. The true classes have p = 3/4 and 1/2, the third pixel is not known.
logits = np.array([[[[math.log(3), 0], [0, 0], [9, -9]]]], "float32")
truth = np.array([[[0, 1, 255]]], "uint8")
first, second = 1 / 4 - math.log(3 / 4), 1 / 2 + math.log(2)
for weights, expected in (((), (first + second) / 2), ((1, 3), (first + 3 * second) / 2)):
    found = float(SegmentationLoss("poly1", weights)(truth, logits))
    assert math.isclose(found, expected, rel_tol=1e-5), (weights, found, expected)
assert parse_loss("poly1+dice") == "dice+poly1"
parser = argparse.ArgumentParser()
add_settings(parser, "data", "network", "training")
assert parser.parse_args(["--loss", "poly1"]).loss == "poly1"

# The encoder.
model = UNet((64, 64, 3), 2, filters=1, encoder="mobilenet")
assert model.output_shape == (None, 64, 64, 2)

# The data set: one image, whose right half is a toy.
assert parser.parse_args(["--dataset", "toys"]).dataset == "toys"
folder = Path("data/toys/train")
folder.mkdir(parents=True)
mask = np.repeat(np.uint8([[0, 1]]), 160, 1).repeat(320, 0)
Image.fromarray(mask).save(folder / "a.png")
Image.fromarray(100 * mask).convert("RGB").save(folder / "a.jpg")
images, masks = open_dataset(PRESETS["toys"], "train")[0]
assert images.shape == (1, 320, 320, 3)
assert (masks == mask).all()
"""


def diff(subject):
    """The diff in the section `Add a SUBJECT` of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    _, section = re.split(rf"^## Add an? {subject}$", text, flags=re.M)
    (found,) = re.findall(r"```diff\n(.*?)```", section.split("\n## ")[0], re.S)
    return found


def apply(subject, folder):
    """Applies that diff to a copy of the project; a context that no longer fits is an error."""
    if shutil.which("git"):
        # Inside of another repository, git would look for the files there.
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
        command = ["git", "apply", "--unidiff-zero", "--verbose", "-"]
    elif shutil.which("patch"):
        environment, command = None, ["patch", "--strip=1", "--fuzz=0"]
    else:
        pytest.skip("neither git nor patch is installed")
    done = subprocess.run(
        command, cwd=folder, env=environment, input=diff(subject), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path):
    """A copy of the project's modules."""
    for name in ("core", "nets"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=ignored)
    return tmp_path / "copy"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_diff_applies(subject, copy):
    apply(subject, copy)


def test_what_the_diffs_add_works(copy):
    for subject in SUBJECTS:
        apply(subject, copy)
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=copy, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_what_the_diffs_add_is_in_the_projects_style(copy):
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.is_file():
        pytest.skip("ruff is not installed")
    for subject in SUBJECTS:
        apply(subject, copy)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for command in (["check", "."], ["format", "--check", "."]):
        done = subprocess.run([ruff, *command], cwd=copy, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout
