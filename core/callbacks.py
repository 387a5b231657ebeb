"""What training writes after every epoch."""

import keras

from core.files import write_csv
from core.inference import save_model
from core.visualize import draw_curves


class RunFolder(keras.callbacks.Callback):
    """Keeps a run's folder: last.keras, best.keras, history.csv and curves.png.

    The best epoch is the one with the highest validation MIoU.

    Args:
        folder: the folder, which exists.
        config: the `Config` that is saved with the models.
    """

    def __init__(self, folder, config):
        super().__init__()
        self.folder = folder
        self.config = config
        self.best = None
        self.history = []

    def on_epoch_end(self, epoch, logs=None):
        """Writes all four files."""
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        self.history.append(row)
        save_model(self.model, self.folder / "last.keras", self.config)
        if self.best is None or row["val_miou"] > self.best["val_miou"]:
            self.best = row
            save_model(self.model, self.folder / "best.keras", self.config)
        write_csv(
            self.folder / "history.csv", [list(row), *(list(row.values()) for row in self.history)]
        )
        draw_curves(self.folder / "curves.png", self.history)
