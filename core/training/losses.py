"""The losses: crossentropy, dice, focal, iou, and sums of them."""

import keras
from keras import ops

from core.config import IGNORE, loss_terms
from core.support.devices import part_of_sum, total


@keras.saving.register_keras_serializable("unet")
class SegmentationLoss(keras.losses.Loss):
    """A loss of logits against class ids that does not look at pixels of 255.

    With p the probability that the softmax gives a pixel's true class:

    - `crossentropy`: the mean of `-log(p)` over the known pixels;
    - `focal`: the mean of `-(1 - p)^2 log(p)`, for which pixels count little that are right already
      (Lin et al. 2017, arXiv:1708.02002, with gamma = 2).

    With A the number of a class's pixels in the truth, B the sum of its probabilities and I the
    part of B that is on its own pixels, each over the known pixels of the whole batch:

    - `dice`: the mean of `1 - 2 I / (A + B)` over the classes (Isensee et al. 2018,
      arXiv:1809.10486);
    - `iou`: the mean of `1 - I / (A + B - I)` over the classes (for one class Rahman and Wang 2016,
      doi:10.1007/978-3-319-50835-1_22).

    These two weigh all classes the same, however many pixels they have; those that do not occur in
    the batch's truth are left out. Where no pixel is known, every loss is 0.

    Args:
        text: one of `core.config.LOSSES`, or a sum of them such as `crossentropy+dice`.
        class_weights: a weight for each class, by which crossentropy and focal multiply the losses
            of its pixels; empty: all weigh 1.

    Raises:
        ValueError: if a name is unknown, missing or repeated.
    """

    def __init__(self, text: str, class_weights: tuple = ()):
        super().__init__(name="segmentation_loss")
        self.text = text
        self.class_weights = tuple(class_weights)
        self.terms = loss_terms(text)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss of a batch, a float32 scalar.

        Args:
            y_true: integers `[B, H, W]`, ids of the K classes and 255.
            y_pred: logits `[B, H, W, K]`, of any float type.
            sample_weight: floats `[B, H, W]`, a weight for each pixel in crossentropy and focal, or
                None. Up to 1 it multiplies the class's weight. What it has above 1 is added, as the
                border weights are in the U-Net paper. The mean is still one over the number of
                known pixels. Dice and iou, which weigh classes, do not look at it.
        """
        ids = ops.cast(y_true, "int32")
        known = ops.expand_dims(ops.not_equal(ids, IGNORE), -1)
        # Not left to a product with 0: if a logit is infinite there, that would be NaN.
        logits = ops.where(known, ops.cast(y_pred, "float32"), 0.0)
        log_p = ops.log_softmax(logits)
        known = ops.cast(known, "float32")
        truth = ops.one_hot(ids, logits.shape[-1], dtype="float32")  # all zeros where 255
        value = 0.0
        for name in self.terms:
            if name in PIXELWISE:
                losses = PIXELWISE[name](ops.sum(truth * log_p, axis=-1))
                losses *= self._pixel_weights(truth, sample_weight)
                value += total(losses) / ops.maximum(total(known), 1.0)
            else:
                value += _mean_over_classes(OVERLAPS[name], truth, ops.exp(log_p) * known)
        return part_of_sum(value)

    def _pixel_weights(self, truth, sample_weight):
        weights = 1.0
        if self.class_weights:
            weights = ops.sum(truth * ops.convert_to_tensor(self.class_weights, "float32"), axis=-1)
        if sample_weight is not None:
            given = ops.cast(sample_weight, "float32")
            weights = weights * ops.minimum(given, 1.0) + ops.maximum(given - 1.0, 0.0)
        return weights

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"text": self.text, "class_weights": self.class_weights}


# From the log-probabilities of the true classes, 0 for unknown pixels, to the pixels' losses.
PIXELWISE = {
    "crossentropy": lambda log_p: -log_p,
    "focal": lambda log_p: -ops.square(ops.expm1(log_p)) * log_p,
}
# From I and A + B to the share of a class that truth and prediction have in common.
OVERLAPS = {
    "dice": lambda both, sizes: 2 * both / sizes,
    "iou": lambda both, sizes: both / (sizes - both),
}


def _mean_over_classes(overlap, truth, p):
    """Returns the mean of `1 - overlap` over the classes in the truth.

    Args:
        overlap: one of `OVERLAPS`.
        truth: ones and zeros, float32 `[B, H, W, K]`, only zeros for unknown pixels.
        p: probabilities, float32 `[B, H, W, K]`, zeros for unknown pixels.
    """
    pixels = (0, 1, 2)
    size = total(truth, pixels)
    present = ops.cast(size > 0, "float32")
    # An absent class must not divide by 0; a present one has at least one pixel anyway.
    sizes = ops.maximum(size, 1.0) + total(p, pixels)
    losses = 1 - overlap(total(truth * p, pixels), sizes)
    return ops.sum(present * losses) / ops.maximum(ops.sum(present), 1.0)
