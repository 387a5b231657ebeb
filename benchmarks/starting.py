"""How long the scripts take to start: python -m benchmarks.starting --help."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import Row, in_turns, show
from core.config import PRESETS, Found
from core.imaging.draw import write_image
from core.support import backend, errors
from core.support.flags import Parser, whole_number

IMPORT = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow, keras"


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares how much longer --help of each script takes than starting Python "
        "with 0.3 s, and how much longer predict.py takes for a single image, by an untrained "
        "network of the sample preset, than importing Keras and TensorFlow, with 1 s.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    return parser.parse_args()


def started(*command):
    """Returns a job that runs Python with a command line, and the seconds that it takes."""

    def job():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - start

    return job


def write_model(folder):
    """Writes a model and an image, and returns the flags of predict.py that name them."""
    from core.imaging.draw import voc_palette
    from core.prediction.model_file import save_model
    from core.training.fit import build

    config = PRESETS["sample"]
    found = Found(palette=voc_palette()[:5].tolist())
    save_model(build(config), folder / "model.keras", config, found)
    write_image(folder / "image.png", np.zeros((128, 128, 3), np.uint8))
    return folder / "image.png", "--weights", folder / "model.keras", "--output", folder / "out"


def main():
    """Measures."""
    args = get_args()
    backend.start()
    with tempfile.TemporaryDirectory() as folder:
        flags = write_model(Path(folder))
        jobs = {"Python": started("-c", "pass"), "Keras": started("-c", IMPORT)}
        for script in ("train", "predict", "evaluate"):
            jobs[f"{script}.py --help"] = started(f"{script}.py", "--help")
        jobs["predict.py IMAGE"] = started("predict.py", *flags)
        seconds = in_turns(jobs, args.rounds)
    rows = []
    for name in list(jobs)[2:]:
        base, most = ("Python", 0.3) if "--help" in name else ("Keras", 1)
        more = np.subtract(seconds[name], seconds[base])
        what = f"{name} beyond {base} / {most} s"
        rows.append(Row(what, more.tolist(), [most] * len(more), "at most 1", "s"))
    show(rows, "keras", "tensorflow", "numpy")


if __name__ == "__main__":
    errors.run(main)
