"""The figures of an epoch that training reports: the loss on the data, and MIoU."""

import keras
from keras import ops

from core.config import IGNORE
from core.training.losses import SegmentationLoss, class_ids

_WORD = 2**20  # where counts carry; int32 then has room for a batch, and for words of 1000 devices


@keras.saving.register_keras_serializable("unet")
class MeanIoU(keras.metrics.Metric):
    """The mean IoU of logits `[B, H, W, K]` against masks; pixels of 255 are left out.

    The masks are class ids, integers `[B, H, W]` or `[B, H, W, 1]`; others are a ValueError.

    Classes that occur in neither are left out of the mean, as by `keras.metrics.MeanIoU`. That one
    counts in a single integer, which on JAX has 32 bits and overflows after 2^31 pixels. Here a
    count is `high * 2**20 + low`.
    """

    def __init__(self, num_classes: int, name: str = "miou"):
        super().__init__(name=name)
        self.num_classes = num_classes
        shape = num_classes, num_classes
        self.low = self.add_variable(shape, "zeros", "int", name="low")
        self.high = self.add_variable(shape, "zeros", "int", name="high")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pixels of a batch by true and predicted class, whatever they weigh."""
        ids, cells = class_ids(y_true, y_pred), self.num_classes**2
        cell = ids * self.num_classes + ops.cast(ops.argmax(y_pred, -1), "int32")
        cell = ops.reshape(ops.where(ids < self.num_classes, cell, cells), (-1,))  # 255: the last
        counts = ops.segment_sum(ops.ones_like(cell), cell, cells + 1)[:cells]
        counts = ops.cast(ops.reshape(counts, self.low.shape), self.low.dtype)
        self.high.assign(self.high + self.low // _WORD)
        self.low.assign(self.low % _WORD + counts)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {"num_classes": self.num_classes, "name": self.name}

    def by_class(self):
        """Returns the IoU of each class, and where any occurs, float32 `[K]` of 0 and 1."""
        counts = ops.cast(self.high, "float32") * _WORD + ops.cast(self.low, "float32")
        hits = ops.diagonal(counts)
        sizes = ops.sum(counts, 0) + ops.sum(counts, 1) - hits
        return hits / ops.maximum(sizes, 1.0), ops.cast(sizes > 0, "float32")

    def result(self):
        """Returns the mean, a float32 scalar; 0 if nothing was counted."""
        iou, present = self.by_class()
        return ops.sum(iou) / ops.maximum(ops.sum(present), 1.0)


def class_iou(model: keras.Model) -> list:
    """Returns the IoU of each class that a model's `MeanIoU` has counted last, in `fit` validation.

    It is None of a class that occurs nowhere. Without that metric, the list is empty.
    """
    inner = [each for metric in model.metrics for each in getattr(metric, "metrics", ())]
    for metric in inner:
        if isinstance(metric, MeanIoU):
            pairs = zip(*map(ops.convert_to_numpy, metric.by_class()), strict=True)
            return [float(iou) if present else None for iou, present in pairs]
    return []


@keras.saving.register_keras_serializable("unet")
class DataLoss(keras.metrics.Mean):
    """A `SegmentationLoss` without weights: the same for training and validation.

    The mean over batches, each weighted by its number of known pixels. So crossentropy and focal
    are means over all known pixels, whatever the batches.
    """

    def __init__(self, text: str, name: str = "data_loss"):
        super().__init__(name=name, dtype="float32")
        self.text, self.loss = text, SegmentationLoss(text)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds the loss of a batch, whatever its pixels weigh."""
        known = ops.sum(ops.cast(ops.cast(y_true, "int32") != IGNORE, "float32"))
        super().update_state(self.loss.whole(y_true, y_pred), known)

    def get_config(self):
        """What the constructor takes."""
        return {"text": self.text, "name": self.name}
