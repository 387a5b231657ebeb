"""Trains a small network, alone or as a part of several: for processes of their own in tests.

Arguments: the data in VOC layout, the run's folder, settings as JSON, and `one`, `two` (logical
devices of TensorFlow) or `HOST:PORT I` (process I of two).
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from core.config import Config, Found
from core.support import backend, errors
from nets import sizes

sizes.DEPTH = 1  # a quarter of the layers are compiled in half the time


def main():
    data, folder, settings, kind, *index = sys.argv[1:]
    if kind == "two":
        import tensorflow as tf

        processor = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            processor, [tf.config.LogicalDeviceConfiguration()] * 2
        )
    backend.start((kind, 2, int(index[0])) if index else None)

    import keras

    from core.imaging.draw import voc_palette
    from core.support import devices, processes
    from core.support.processes import joined
    from core.training import optimizer
    from core.training.checkpoint import epochs_behind
    from core.training.fit import train
    from core.VOCdataset import VOCDataset

    if not index:
        with devices.spread():
            assert devices.replicas() == {"one": 1, "two": 2}[kind]
    config = Config(
        class_names=("background", "a", "b"),
        size=(32, 32),
        filters=4,
        epochs=3,
        dropout=0.0,
        lr=1e-3,
        aug=False,
    )
    for name, value in json.loads(settings).items():
        setattr(config, name, value)
    if config.normalization == "batch":
        # It makes some gradients so small that rounding decides on their sign. Adam's first steps
        # are as large for these as for others.
        optimizer.quick_adam = lambda: keras.optimizers.SGD
        # For the same reason all kinds compute it in Keras' way, as several devices always do.
        devices.fuse = lambda model: None
    found = Found(palette=tuple(map(tuple, voc_palette()[:3].tolist())), policy="float32")
    options = {"batch_size": config.batch_size, "target_size": config.size, "num_classes": 3}
    options |= {"part": processes.process(), "multiple": len(devices.all_devices())}
    lists = Path(data) / "ImageSets/Segmentation"
    dataset, validation = (
        VOCDataset(lists / f"{split}.txt", **options) for split in ("train", "val")
    )
    with joined():
        history = epochs_behind(config, Path(folder))
        train(config, found, dataset, validation, Path(folder), history)
    if keras.backend.backend() != "tensorflow":
        assert "tensorflow" not in sys.modules  # it takes seconds to import


if __name__ == "__main__":
    errors.run(main)
