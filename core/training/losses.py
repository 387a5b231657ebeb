"""The losses: crossentropy, dice, focal, iou, and sums of them."""

import keras
from keras import ops

from core.config import IGNORE, loss_terms
from core.support.devices import part_of_sum, total


@keras.saving.register_keras_serializable("unet")
class SegmentationLoss(keras.losses.Loss):
    """A loss of logits against class ids that ignores pixels of 255.

    With p the probability of a pixel's true class in the softmax:

    - `crossentropy`: the mean of `-log(p)` over the known pixels;
    - `focal`: the mean of `-(1 - p)^2 log(p)`: pixels that are right already count little (Lin et
      al. 2017, arXiv:1708.02002, with gamma = 2).

    With A the number of a class's true pixels, B the sum of its probabilities and I the part of B
    on its true pixels, each over the known pixels of the whole batch:

    - `dice`: the mean of `1 - 2 I / (A + B)` over the classes (Isensee et al. 2018,
      arXiv:1809.10486);
    - `iou`: the mean of `1 - I / (A + B - I)` over the classes (for one class Rahman and Wang 2016,
      doi:10.1007/978-3-319-50835-1_22).

    These two weigh all classes in the batch's truth the same, and leave out the others. Every loss
    is 0 if no pixel is known.

    Args:
        text: one of `core.config.LOSSES`, or a sum of them such as `crossentropy+dice`.
        class_weights: a factor for each class in crossentropy and focal; empty: all are 1.

    Raises:
        ValueError: if a name is unknown, missing or repeated.
    """

    def __init__(self, text: str, class_weights: tuple = ()):
        super().__init__(name="segmentation_loss")
        self.text = text
        self.class_weights = tuple(class_weights)
        self.terms = loss_terms(text)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss of a batch, a float32 scalar; of several devices each returns a part.

        The arguments are those of `whole`.
        """
        return part_of_sum(self.whole(y_true, y_pred, sample_weight))

    def whole(self, y_true, y_pred, sample_weight=None):
        """Returns the loss of a batch on all devices, a float32 scalar.

        Args:
            y_true: integers `[B, H, W]` or `[B, H, W, 1]`, ids of the K classes and 255. One-hot
                masks are a ValueError.
            y_pred: logits `[B, H, W, K]`, of any float type.
            sample_weight: pixel weights for crossentropy and focal, floats like `y_true`, or None.
                Up to 1 they multiply the class weight. The part above 1 is added to it, as the
                border weights in the U-Net paper. The mean still divides by the number of known
                pixels.
        """
        ids = class_ids(y_true, y_pred)
        known = ops.expand_dims(ops.not_equal(ids, IGNORE), -1)
        # A product with 0 would not do: an infinite logit would make it NaN.
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
        return value

    def _pixel_weights(self, truth, sample_weight):
        pixel_weights = 1.0
        if self.class_weights:
            class_weights = ops.convert_to_tensor(self.class_weights, "float32")
            pixel_weights = ops.sum(truth * class_weights, axis=-1)
        if sample_weight is None:
            return pixel_weights
        given = ops.reshape(ops.cast(sample_weight, "float32"), ops.shape(truth)[:-1])
        return pixel_weights * ops.minimum(given, 1.0) + ops.maximum(given - 1.0, 0.0)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {"text": self.text, "class_weights": self.class_weights}


def class_ids(masks, logits):
    """Returns masks `[B, H, W]` or `[B, H, W, 1]` as int32 `[B, H, W]`; refuses one-hot masks."""
    if len(masks.shape) == len(logits.shape):
        if masks.shape[-1] != 1:
            raise ValueError(
                "Masks must be class ids, [B, H, W] or [B, H, W, 1], not one-hot. These are "
                f"{masks.shape}: take ops.argmax(masks, -1)."
            )
        masks = ops.squeeze(masks, -1)
    return ops.cast(masks, "int32")


# From the log-probabilities of the true classes, 0 for unknown pixels, to the pixels' losses.
PIXELWISE = {
    "crossentropy": lambda log_p: -log_p,
    "focal": lambda log_p: -ops.square(ops.expm1(log_p)) * log_p,
}
# From I and A + B to the overlap of truth and prediction in a class.
OVERLAPS = {
    "dice": lambda both, sizes: 2 * both / sizes,
    "iou": lambda both, sizes: both / (sizes - both),
}


def _mean_over_classes(overlap, truth, p):
    """The mean of `1 - overlap` over the true classes; `[B, H, W, K]` with 0 for unknown pixels."""
    pixels = (0, 1, 2)
    size = total(truth, pixels)
    present = ops.cast(size > 0, "float32")
    sizes = ops.maximum(size, 1.0) + total(p, pixels)  # an absent class must not divide by 0
    losses = 1 - overlap(total(truth * p, pixels), sizes)
    return ops.sum(present * losses) / ops.maximum(ops.sum(present), 1.0)
