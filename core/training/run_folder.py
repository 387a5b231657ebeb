"""What training writes after every epoch."""

import math

import keras

from core.config import REPORT_FILES, RUN_FILES, to_json
from core.imaging.draw import draw_curves
from core.prediction.model_file import save_model
from core.support.errors import UserError
from core.support.files import replacing, write_csv
from core.training.checkpoint import best_of, finished, save_checkpoint


class RunFolder(keras.callbacks.Callback):
    """Keeps a run's folder: config.json, best.keras, last.keras, history.csv and curves.png.

    The best epoch is the one with the highest validation MIoU. Whenever the run is interrupted,
    last.keras knows of no epoch that the other files have not seen, and they follow from it.
    Training stops early as `finished` says.

    Args:
        folder: the folder, a Path.
        config: the `Config` that is saved with the models.
        found: the `Found` that is saved with them.
        history: the figures of the epochs that the run has behind it, a dictionary each.
        write: whether to write at all; of several processes only one does.
    """

    def __init__(self, folder, config, found, history=(), write=True):
        super().__init__()
        self.folder = folder
        self.config = config
        self.found = found
        self.history = list(history)
        self.write = write
        if self.history and write:
            self.write_history()

    @property
    def best(self):
        """The figures of the best epoch so far."""
        return best_of(self.history)

    def on_train_begin(self, logs=None):
        """Writes config.json, and takes away what is left of a run that this one replaces."""
        if not self.write:
            return
        if not self.history:
            for name in RUN_FILES + REPORT_FILES:
                (self.folder / name).unlink(missing_ok=True)
        with replacing(self.folder / "config.json") as partial:
            partial.write_text(to_json(self.config, self.found) + "\n", encoding="utf-8")

    def on_train_batch_end(self, batch, logs=None):
        """Shows the learning rate, and stops where the loss is no number any more.

        Raises:
            UserError: if that is so: all later steps would be lost.
        """
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if not math.isfinite(logs["loss"]):
            raise self.diverged(f"loss is {logs['loss']} in step {batch + 1}")

    def diverged(self, what):
        """Returns the error that says so."""
        kept = f" {self.folder / 'best.keras'} keeps the best epoch." if self.history else ""
        return UserError(
            f"The {what} of epoch {len(self.history) + 1}. Try a smaller --lr (now "
            f"{self.config.lr:g}), with --overwrite or another --output.{kept}"
        )

    def on_epoch_end(self, epoch, logs=None):
        """Writes all files, last.keras when best.keras is safe.

        Raises:
            UserError: if the last step was one too far.
        """
        if not math.isfinite(logs["val_loss"]):
            raise self.diverged(f"validation loss is {logs['val_loss']} at the end")
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        self.history.append(row)
        self.model.stop_training = finished(self.history, self.config)
        if not self.write:
            return
        if self.best is row:
            save_model(self.model, self.folder / "best.keras", self.config, self.found)
        path = self.folder / "last.keras"
        save_checkpoint(self.model, path, self.config, self.found, self.history)
        self.write_history()

    def write_history(self):
        """Writes history.csv and curves.png."""
        rows = [list(self.history[0]), *(list(row.values()) for row in self.history)]
        write_csv(self.folder / "history.csv", rows)
        draw_curves(self.folder / "curves.png", self.history)
