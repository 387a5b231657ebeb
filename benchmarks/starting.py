"""How long the scripts take to start: python -m benchmarks.starting --help."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import in_turns, machine
from core.config import PRESETS, Found
from core.imaging.draw import write_image
from core.support import backend, errors
from core.support.flags import Parser, whole_number

IMPORT = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow, keras"


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares --help of each script with starting Python, and predict.py for a "
        "single image, by an untrained network of the sample preset, with importing Keras and "
        "TensorFlow. These limits are differences, in seconds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=5)
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
    print(machine("keras", "tensorflow", "numpy"))
    print(f"{'':22}   here  limit  more  (of all rounds)  wanted  [s]")
    for name in list(jobs)[2:]:
        base, wanted = ("Python", 0.3) if "--help" in name else ("Keras", 1)
        here, limit = (np.median(seconds[which]) for which in (name, base))
        more = np.subtract(seconds[name], seconds[base])
        print(
            f"{name:22} {here:6.2f} {limit:6.2f} {np.median(more):5.2f}  ({more.min():5.2f}.. "
            f"{more.max():4.2f})  at most {wanted}"
        )


if __name__ == "__main__":
    errors.run(main)
