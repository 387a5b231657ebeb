"""The devices that networks compute on, and their precision."""

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import ops

from core.support.backend import compile_for_openvino

BACKEND = keras.backend.backend()
CLASSES_FIRST = BACKEND == "openvino"  # whether a softmax is faster in that order
if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
elif BACKEND == "openvino":
    import openvino

    _compiled = openvino.compile_model


def choose_policy(precision: str) -> str:
    """Returns the Keras dtype policy for a precision of `core.config.PRECISIONS`.

    "auto" is the fastest: bfloat16 where the processor computes in it, float16 on a GPU that has
    only that, else float32.
    """
    if precision == "auto":
        gpu = gpu_generation()
        if gpu:
            precision = "bfloat16" if gpu >= (8, 0) else "float16" if gpu >= (7, 0) else "float32"
        else:  # JAX computes by XLA, which does not gain from bfloat16 on a CPU
            gains = BACKEND in ("tensorflow", "openvino") and cpu_has_bfloat16()
            precision = "bfloat16" if gains else "float32"
    return precision if precision == "float32" else f"mixed_{precision}"


def cpu_has_bfloat16(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Says whether the processor multiplies bfloat16 itself; False where there is no cpuinfo."""
    try:
        text = Path(cpuinfo).read_text()
    except OSError:
        return False
    return bool(re.search(r"^flags.*\b(avx512|amx)_bf16\b", text, re.MULTILINE))


def gpu_generation() -> tuple | None:
    """Returns the CUDA compute capability of the first GPU, `(major, minor)`, or None."""
    if BACKEND == "tensorflow":
        for gpu in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(gpu).get("compute_capability")
    elif BACKEND == "jax":
        found = getattr(jax.local_devices()[0], "compute_capability", "")
        return tuple(map(int, found.split("."))) if found[:1].isdigit() else None
    return None


def subpixels() -> bool:
    """Whether sub-pixel convolutions are faster: not with OpenVINO; on GPUs, it is not measured."""
    return BACKEND in ("tensorflow", "jax") and not gpu_generation()


def all_devices() -> list:
    """Returns the devices, of all processes, that will share a batch inside `spread`."""
    if BACKEND == "tensorflow":
        return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return keras.distribution.list_devices() if BACKEND == "jax" else [None]


def whole_batch(batch_size: int) -> int:
    """Returns the number of images that batches of a training are filled up to a multiple of.

    So all devices get equal parts of each. On JAX it is a whole batch, as JAX would compile another
    training step for a smaller one.
    """
    count = len(all_devices())
    return -(-batch_size // count) * count if BACKEND == "jax" else count


def replicas() -> int:
    """Returns how many devices, of all processes, share a batch now."""
    if BACKEND == "tensorflow":
        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    return distribution.device_mesh.devices.size if distribution else 1


def spread() -> contextlib.AbstractContextManager:
    """Builds and trains models on all devices, each with its part of every batch."""
    if len(all_devices()) == 1:
        return contextlib.nullcontext()
    if BACKEND == "tensorflow":
        return tf.distribute.MirroredStrategy(all_devices()).scope()
    return keras.distribution.DataParallel(auto_shard_dataset=False).scope()


def total(x, axis: int | tuple | None = None):
    """Sums a tensor over the whole batch, also where each device has a part of the batch."""
    x = ops.sum(x, axis)
    if BACKEND != "tensorflow" or replicas() == 1:  # JAX sees whole batches
        return x
    context = tf.distribute.get_replica_context()  # None outside a replica
    return context.all_reduce("sum", x) if context else x


def part_of_sum(x):
    """Returns this device's part of a number that all have: TensorFlow sums what they return."""
    return x / replicas() if BACKEND == "tensorflow" else x


def synchronize(model: keras.Model, on: bool = True) -> None:
    """Makes batch normalization use the statistics of whole batches on several devices."""
    several = on and replicas() > 1 and BACKEND != "jax"  # which does it anyway
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = several


def build_figures(model: keras.Model, num_classes: int) -> None:
    """Builds a compiled model's loss and metrics where `fit` would not do it well, on JAX.

    There `fit` reads batches to build them by, and then trains on those that its workers had read
    ahead (Keras 3.15.1), so a resumed run on others.
    """
    if BACKEND == "jax":
        answer, truth = np.zeros((1, 1, 1, num_classes)), np.zeros((1, 1, 1))
        model.compute_loss(y=truth, y_pred=answer)
        model.compute_metrics(None, truth, answer)
        model.reset_metrics()


def compute_in(model: keras.Model, policy: str) -> bool:
    """Lets a network that was loaded predict in a Keras dtype policy.

    Returns whether float32 layers really compute in float32: those of OpenVINO may not.

    From its last convolution on it stays in float32, as the logits do in training. So do depthwise
    convolutions, which gain nothing. On a processor, everything before the last of these stays in
    float32, too: to change types there takes longer than 16 bits save. OpenVINO chooses by itself
    what it computes in a precision; it is given one for all models from now on.
    """
    if BACKEND == "openvino":
        hint = {"INFERENCE_PRECISION_HINT": "f32" if policy == "float32" else "bf16"}
        # Keras has no argument for it, but calls this.
        openvino.compile_model = functools.partial(compile_for_openvino, _compiled, config=hint)
        return policy == "float32"
    depthwise = keras.layers.DepthwiseConv2D
    first = 0 if gpu_generation() else _last(model, depthwise)
    last = _last(model, keras.layers.Conv2D | keras.layers.Conv2DTranspose)
    for layer in model.layers[first:last]:
        if not isinstance(layer, depthwise | keras.Model):
            layer.dtype_policy = policy
    return True


def _last(model, kind):
    """The number of the last layer of a kind, 0 if there is none."""
    return max((i for i, layer in enumerate(model.layers) if isinstance(layer, kind)), default=0)


def fuse(model: keras.Model) -> None:
    """Lets TensorFlow compute batch normalization on a CPU in one operation.

    Keras composes it of several, which take a third of a training step; the results are the same
    but for rounding. Keras' way stays on GPUs, where XLA joins operations anyway, and where several
    devices share batch statistics.
    """
    if BACKEND != "tensorflow" or replicas() > 1 or gpu_generation():
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale and layer.center:
            if layer.input_spec.ndim == 4 and layer.axis in (-1, 3):
                layer.call = functools.partial(_fused_call, layer)


def _fused_call(layer, inputs, training=None, mask=None):
    """Computes `BatchNormalization.call` for `[B, H, W, C]`."""
    learns = bool(training and layer.trainable)
    moving = layer.moving_mean, layer.moving_variance
    given = [None if learns else variable.value for variable in moving]
    outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma.value, layer.beta.value, *given, layer.epsilon, is_training=learns
    )
    if learns:
        # TensorFlow returns the unbiased variance, Keras keeps the biased one.
        variance *= 1 - mean.shape[0] / tf.cast(tf.size(inputs), variance.dtype)
        for variable, value in zip(moving, (mean, variance), strict=True):
            variable.value.assign_sub((variable.value - value) * (1 - layer.momentum))
    return outputs


def quick_adam() -> type[keras.optimizers.Adam]:
    """Returns Adam, whose step of a variable TensorFlow computes in one operation.

    Keras composes it of about 20. To trace these takes a third of the time to a training's first
    step. The results are the same but for rounding. Several devices take Keras' way.
    """
    if BACKEND != "tensorflow" or replicas() > 1:
        return keras.optimizers.Adam

    class Adam(keras.optimizers.Adam):
        def apply(self, grads, trainable_variables=None):
            step = tf.cast(self.iterations.value + 1, "float32")
            self._powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
            return super().apply(grads, trainable_variables)

        def update_step(self, gradient, variable, learning_rate):
            number = self._get_variable_index(variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[number].value.handle,
                v=self._velocities[number].value.handle,
                beta1_power=self._powers[0],
                beta2_power=self._powers[1],
                lr=tf.cast(learning_rate, variable.dtype),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(gradient, variable.dtype),
            )

    return Adam


def answer_without_copy(model: keras.Model) -> None:
    """Lets TensorFlow's answers be read where they are; Keras would copy each. They are read-only.

    A batch of 8 images of 320x320 has 69 MB of probabilities of 21 classes.
    """
    if BACKEND == "tensorflow":
        model.predict_on_batch = functools.partial(_answer, model)


def _answer(model, images):
    model.make_predict_function()
    return np.asarray(model.predict_function([(images,)]))


@contextlib.contextmanager
def portable(model: keras.Model) -> Iterator[None]:
    """Makes a model ready to be saved for any machine: in float32, and for a single device."""
    policies = [layer.dtype_policy for layer in model.layers]
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)  # else Keras waits for processes that do not save
    synchronize(model, False)
    for layer in model.layers:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in zip(model.layers, policies, strict=True):
            layer.dtype_policy = policy
        keras.distribution.set_distribution(distribution)
        synchronize(model)
