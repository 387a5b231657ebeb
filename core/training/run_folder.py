"""What training writes: the run's folder."""

import math

import keras

from core.config import REPORT_FILES, RUN_FILES
from core.imaging.draw import voc_palette, write_image
from core.prediction.charts import draw_curves
from core.prediction.model_file import save_model, to_json
from core.support.errors import UserError
from core.support.files import write_csv, write_text
from core.training.checkpoint import best_of, finished, save_checkpoint
from core.training.figures import class_iou


class RunFolder(keras.callbacks.Callback):
    """Keeps a run's folder: config.json, best.keras, last.keras, history.csv and curves.png.

    Training minimizes a weighted loss and the L2 penalty. It reports the loss without weights, see
    `DataLoss`, for training and validation alike, and the penalty at the end of the epoch.

    The best epoch is the one with the highest validation MIoU. Whenever the run is interrupted,
    last.keras has no epoch that the other files have not seen, and they follow from it. Training
    stops early as `finished` says.

    Args:
        folder: the folder, a Path.
        config: the `Config` that is saved with the models.
        found: the `Found` that is saved with them.
        history: the figures of the epochs so far, a dictionary each.
        write: whether to write at all; of several processes only one does.
    """

    def __init__(self, folder, config, found, history=(), write=True):
        super().__init__()
        self.folder = folder
        self.config = config
        self.found = found
        self.history = list(history)
        self.write = write

    def clear(self):
        """Removes what is left of a run that this one replaces."""
        if self.write and not self.history:
            for name in RUN_FILES + REPORT_FILES:
                (self.folder / name).unlink(missing_ok=True)

    def on_train_begin(self, logs=None):
        """Writes config.json, and history.csv of a run that is resumed."""
        if self.write:
            self.write_history()
            write_text(self.folder / "config.json", to_json(self.config, self.found) + "\n")

    def on_train_batch_end(self, batch, logs=None):
        """Shows the loss on the data; a UserError if what is minimized is not finite.

        The learning rate comes at the end of the epoch. JAX would compile Keras' schedule anew
        after each batch, which takes longer than a step on a GPU.
        """
        if not math.isfinite(logs["loss"]):
            raise self._diverged(f"loss is {logs['loss']} in step {batch + 1}")
        _rename(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Writes all files, last.keras when best.keras is safe; a UserError if the loss is lost."""
        if not math.isfinite(logs["val_loss"]):
            raise self._diverged(f"validation loss is {logs['val_loss']} at the end")
        _rename(logs)
        logs["penalty"] = float(sum(self.model.losses))
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        row |= zip(self._columns(), class_iou(self.model), strict=False)
        self.history.append(row)
        self.model.stop_training = finished(self.history, self.config)
        if not self.write:
            return
        settings = self.config, self.found
        if best_of(self.history) is row:
            save_model(self.model, self.folder / "best.keras", *settings)
        save_checkpoint(self.model, self.folder / "last.keras", *settings, self.history)
        self.write_history()

    def _diverged(self, what):
        kept = f" {self.folder / 'best.keras'} keeps the best epoch." if self.history else ""
        return UserError(
            f"The {what} of epoch {len(self.history) + 1}. Try a smaller --lr (now "
            f"{self.config.lr:g}), with --overwrite or another --output.{kept}"
        )

    def write_history(self):
        """Writes history.csv and curves.png, if any epoch is whole; old epochs lack a figure."""
        if not self.history or not self.write:
            return
        columns = list(self.history[-1])
        rows = [columns, *([row.get(name) for name in columns] for row in self.history)]
        write_csv(self.folder / "history.csv", rows)
        palette = self.found.palette or voc_palette()
        curves = ([row.get(name) for row in self.history] for name in self._columns())
        classes = list(zip(self.config.names, palette, curves, strict=False))
        chart = draw_curves(self.history, best_of(self.history)["epoch"], classes)
        write_image(self.folder / "curves.png", chart)

    def _columns(self):
        """Where history.csv has the validation IoU of each class."""
        return [f"val_iou_{name}" for name in self.config.names]


def _rename(logs):
    """Puts the loss on the data in the place of the one that was minimized."""
    for name in [name for name in logs if name.endswith("data_loss")]:
        logs[name.replace("data_", "")] = logs.pop(name)
