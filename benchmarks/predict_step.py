"""Predictions of batches on the backend of KERAS_BACKEND, for benchmarks/throughput.py.

That starts this with a precision and, for each network, its file, the images in a batch and their
side. For every line that comes in, the number of a network, it predicts and prints the seconds.
"""

import sys
import time

import numpy as np

from core.support import backend


def main():
    """Predicts."""
    precision, *networks = sys.argv[1:]
    backend.start()
    from core.prediction.model_file import load_model
    from core.support.devices import choose_policy

    policy, jobs = choose_policy(precision), []
    for path, count, side in zip(*[iter(networks)] * 3, strict=True):
        model, config, _ = load_model(path, policy=policy)
        jobs.append((model, batch(int(count), int(side), config.channels)))
    print("ready", flush=True)
    for line in sys.stdin:
        model, images = jobs[int(line)]
        start = time.perf_counter()
        model.predict_on_batch(images)
        print(time.perf_counter() - start, flush=True)


def batch(count, side, channels):
    """Draws images of noise, uint8 `[count, side, side, channels]`."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


if __name__ == "__main__":
    main()
