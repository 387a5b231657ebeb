"""What training computes on, and how precisely.

With backend.py and processes.py the place that knows TensorFlow and JAX by name.
"""

import contextlib
import functools
from pathlib import Path

import keras
from keras import ops

from core.support.errors import UserError


def choose_policy(precision):
    """Returns the Keras dtype policy that a precision stands for.

    Args:
        precision: "float32", "bfloat16" or "float16", the latter two for mixed precision, or "auto"
            for bfloat16 where the processor computes in it, float16 on a GPU that only does that,
            else float32.
    """
    if precision == "auto":
        precision = _fastest()
    return precision if precision == "float32" else f"mixed_{precision}"


def _fastest():
    gpu = _gpu_generation()
    if gpu:
        return "bfloat16" if gpu >= (8, 0) else "float16" if gpu >= (7, 0) else "float32"
    # XLA, by which JAX computes on a CPU, does not gain from it.
    gains = keras.backend.backend() == "tensorflow" and cpu_has_bfloat16()
    return "bfloat16" if gains else "float32"


def cpu_has_bfloat16(cpuinfo="/proc/cpuinfo"):
    """Says whether the processor multiplies bfloat16 itself; unknown where there is no cpuinfo."""
    try:
        lines = Path(cpuinfo).read_text().splitlines()
    except OSError:
        return False
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def _gpu_generation():
    """The CUDA compute capability of the first GPU, `(major, minor)`, or None."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(gpu).get("compute_capability")
    elif keras.backend.backend() == "jax":
        import jax

        found = getattr(jax.local_devices()[0], "compute_capability", "")
        return tuple(map(int, found.split("."))) if found[:1].isdigit() else None
    return None


def _all():
    """All devices that `spread` uses, of all processes."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if keras.backend.backend() == "jax":
        return keras.distribution.list_devices()
    return [None]


def count():
    """Returns how many devices, of all processes, will share a batch in the scope of `spread`."""
    return len(_all())


def replicas():
    """Returns how many devices, of all processes, share a batch in the scope of `spread`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    return distribution.device_mesh.devices.size if distribution else 1


@contextlib.contextmanager
def spread():
    """Within, models are built and trained on all devices, each with its part of every batch."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        several = tf.distribute.MirroredStrategy(_all()) if count() > 1 else None
        with several.scope() if several else contextlib.nullcontext():
            yield
    elif keras.backend.backend() == "jax" and count() > 1:
        whole = keras.distribution.DataParallel(auto_shard_dataset=False)
        with whole.scope():
            yield
    else:
        yield


def total(x, axis=None):
    """Sums over a batch, of which each device may have a part."""
    x = ops.sum(x, axis)
    if keras.backend.backend() == "tensorflow":  # JAX sees whole batches anyway
        import tensorflow as tf

        if replicas() > 1 and not tf.distribute.in_cross_replica_context():
            return tf.distribute.get_replica_context().all_reduce("sum", x)
    return x


def part_of_sum(x):
    """Returns a device's part of a number that all have: TensorFlow adds up what they return."""
    return x / replicas() if keras.backend.backend() == "tensorflow" else x


def synchronize(model, on=True):
    """Lets batch normalization look at whole batches where each device has a part of them."""
    if keras.backend.backend() == "jax":  # as it does anyway
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = on and replicas() > 1


def fuse(model):
    """Lets batch normalization compute on a CPU by the one operation that TensorFlow has for it.

    Keras puts it together from several, each of which goes through all features in float32: of a
    training step on a CPU that is a third. The results are the same but for rounding, and layers
    and files stay Keras' own. Keras' way stays where XLA joins operations anyway, on GPUs, and
    where several devices have to agree on the statistics.
    """
    if keras.backend.backend() != "tensorflow" or replicas() > 1 or _gpu_generation():
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale and layer.center:
            layer.call = functools.partial(_fused_call, layer)


def _fused_call(layer, inputs, training=None, mask=None):
    """What `BatchNormalization.call` does, for `[B, H, W, C]`."""
    import tensorflow as tf

    learns = bool(training and layer.trainable)
    outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
        inputs,
        layer.gamma.value,
        layer.beta.value,
        None if learns else layer.moving_mean.value,
        None if learns else layer.moving_variance.value,
        epsilon=layer.epsilon,
        is_training=learns,
    )
    if learns:
        # TensorFlow tells the variance of a population of which these are a sample; Keras keeps
        # theirs.
        count = tf.cast(tf.size(inputs) / tf.size(mean), variance.dtype)
        for moving, value in (
            (layer.moving_mean, mean),
            (layer.moving_variance, variance * (count - 1) / count),
        ):
            moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
    return outputs


@contextlib.contextmanager
def portable(model):
    """Within, a model is saved as one for any machine: in float32, and of a single device."""
    policies = [layer.dtype_policy for layer in model.layers]
    distribution = keras.distribution.distribution()
    if distribution:  # else Keras waits for the other processes, which do not save
        keras.distribution.set_distribution(None)
    synchronize(model, False)
    for layer in model.layers:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in zip(model.layers, policies, strict=True):
            layer.dtype_policy = policy
        synchronize(model)
        if distribution:
            keras.distribution.set_distribution(distribution)


@contextlib.contextmanager
def explained(config, policy=""):
    """Puts into words what goes wrong on devices in the middle of a training.

    Args:
        config: the `Config` of the training.
        policy: the Keras dtype policy that it computes with, if it is known.

    Raises:
        UserError: if memory ran out.
    """
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__} {error}"
        if "KeyboardInterrupt" in text:  # as TensorFlow passes it on if it was in our data set
            raise KeyboardInterrupt from error
        if isinstance(error, MemoryError) or any(
            sign in text for sign in ("ResourceExhausted", "RESOURCE_EXHAUSTED", "Out of memory")
        ):
            raise UserError(
                f"Out of memory. Less is used with a smaller --batch-size (now "
                f"{config.batch_size}), --size ({config.size[0]} {config.size[1]}) or --filters "
                f"({config.filters}), and with --precision bfloat16 (now "
                f"{policy or config.precision})."
            ) from error
        raise
