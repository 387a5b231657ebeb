"""The confusion matrix and what is derived from it: what evaluate.py reports."""

import numpy as np

from core.config import IGNORE
from core.image import letterbox_mask, undo_letterbox


class ConfusionMatrix:
    """Counts pixels by true and predicted class; pictures are added one by one.

    Attributes:
        counts: int64 `[K, K]`, rows are the truth, columns the prediction.

    Args:
        num_classes: K.
        absent: the IoU of a class that occurs in neither truth nor prediction. NaN leaves it out of
            the mean, 0 counts it as missed.
    """

    def __init__(self, num_classes, absent=np.nan):
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.absent = absent

    def add(self, truth, prediction):
        """Adds a picture.

        Args:
            truth: integer array of class ids; pixels of 255 are left out.
            prediction: integer array of the same shape, class ids.
        """
        known = truth != IGNORE
        size = len(self.counts)
        cells = truth[known].astype(np.int64) * size + prediction[known]
        self.counts += np.bincount(cells, minlength=size * size).reshape(size, size)

    @property
    def truth_pixels(self):
        """Pixels of each class in the truth, int64 `[K]`."""
        return self.counts.sum(axis=1)

    @property
    def iou(self):
        """Intersection over union of each class, `n_ii / (sum_j n_ij + sum_j n_ji - n_ii)`."""
        correct = np.diag(self.counts)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - correct
        return np.divide(correct, union, out=np.full(len(union), self.absent), where=union > 0)

    @property
    def mean_iou(self):
        """Mean of `iou` over all classes."""
        return _mean(self.iou)

    @property
    def object_iou(self):
        """Mean of `iou` over all classes but the background."""
        return _mean(self.iou[1:])

    @property
    def pixel_accuracy(self):
        """Share of the pixels whose class is right."""
        return np.trace(self.counts) / self.counts.sum() if self.counts.any() else np.nan


def _mean(values):
    values = values[~np.isnan(values)]
    return values.mean() if values.size else np.nan


def judge(probabilities, mask, protocol):
    """Returns truth and prediction of a picture as a protocol compares them.

    "voc": the prediction is mapped back to the picture's own size and compared with its mask as it
    is, 255 left out. "letterbox", as the reference's figures were made: both on the canvas, with
    255 and the padding counted as background.

    Args:
        probabilities: float32 `[height, width, K]`, on the canvas.
        mask: the picture's own mask, uint8 `[H, W]`.
        protocol: "voc" or "letterbox".

    Returns:
        Two integer arrays of one shape.
    """
    if protocol == "voc":
        return mask, undo_letterbox(probabilities, mask.shape).argmax(-1)
    truth = letterbox_mask(mask, probabilities.shape[:2])
    return np.where(truth == IGNORE, 0, truth), probabilities.argmax(-1)


def confusion_matrix(num_classes, protocol):
    """Returns the empty matrix of a protocol: `letterbox` counts absent classes as 0."""
    return ConfusionMatrix(num_classes, absent=np.nan if protocol == "voc" else 0.0)
