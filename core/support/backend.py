"""Starting Keras and the library that computes for it."""

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path

from core.support.errors import SIGNALS, UserError, obey_interrupts
from nets.home import keras_home

# NumPy looks at it when it is imported, which the scripts do after this module and before `start`.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def start(group: tuple | None = None) -> None:
    """Imports Keras with settings that suit the scripts. Call it before anything imports Keras.

    - OpenCV and NumPy use one thread a call: threads call them already, one for each core.
    - glibc keeps the memory that these threads free for the next image.
    - TensorFlow uses oneDNN on every processor, which can make a training step three times as fast.
    - Python looks for no garbage while modules are imported, and not in them from then on.
    - The messages that libraries print while they look for a GPU are held back.
    - Keras keeps its files where this project does.

    `group` holds the arguments of `processes.join`, None for a single process. It is a UserError if
    the backend is not installed, or the processes do not come together.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its advice is for other programs
    import cv2

    cv2.setNumThreads(1)
    keep_memory()
    usual = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    os.environ["KERAS_HOME"] = str(keras_home())
    if keras_home() != Path(usual):
        print(
            f"No home folder can be written to: {keras_home()} holds the sample and what Keras "
            "downloads. KERAS_HOME names another folder.",
            file=sys.stderr,
        )
    with _stderr_held_back(), _interrupts_held_back(), _garbage_held_back("keras"):
        try:
            import keras
        except ImportError as error:
            raise UserError(
                f"Keras cannot start ({error}). Install requirements.txt; if KERAS_BACKEND or "
                "~/.keras/keras.json name a backend, install it, too (openvino goes with Keras "
                "3.13 or later), or choose tensorflow."
            ) from error
        keras.config.set_image_data_format("channels_last")  # whatever the user's keras.json says
    if keras.backend.backend() == "openvino" and keras_before(3, 13):
        raise UserError(
            "The backend openvino needs Keras 3.13 or later, and so Python 3.11; this is Keras "
            f"{keras.__version__}. Update it, or choose tensorflow."
        )
    if group:
        from core.support.processes import join

        join(*group)
    with _stderr_held_back(), _interrupts_held_back():
        # Keras' metrics ask for int64, and JAX says for each that it takes int32.
        warnings.filterwarnings("ignore", "Explicitly requested dtype int64")
        keras.ops.zeros(())  # makes the backend find its devices


def keras_before(*version: int) -> bool:
    """Says whether Keras is older than a version, given by its first two numbers."""
    import keras

    return tuple(map(int, keras.__version__.split(".")[:2])) < version


def start_training(group: tuple | None = None) -> None:
    """Does `start` for a training; a UserError if the backend only predicts."""
    start(group)
    import keras

    if keras.backend.backend() == "openvino":
        raise UserError(
            "The backend openvino only predicts. Train with tensorflow or jax (KERAS_BACKEND, or "
            "~/.keras/keras.json); predict.py and evaluate.py take the model on each of them."
        )


def seed(number: int) -> None:
    """Seeds Python, NumPy and Keras.

    On another backend, Keras would import TensorFlow only to seed it, which takes seconds.
    """
    import keras

    hidden = keras.backend.backend() != "tensorflow" and "tensorflow" not in sys.modules
    if hidden:
        sys.modules["tensorflow"] = None
    try:
        keras.utils.set_random_seed(number)
    finally:
        if hidden:
            del sys.modules["tensorflow"]


def compile_for_openvino(compile_model, model, device, config):
    """Compiles OpenVINO's graph of a Keras model, by `openvino.compile_model`.

    Around each convolution, Keras puts the channels first and then last again, which takes half of
    the time. OpenVINO has a cure for TensorFlow's models, which are alike. It needs batch
    normalization as plain arithmetic, which the first of the three steps makes of it. A version
    without these steps only takes longer.
    """
    with contextlib.suppress(ImportError):
        from openvino._offline_transformations import apply_moc_transformations
        from openvino.frontend import FrontEndManager

        apply_moc_transformations(model, cf=True)
        FrontEndManager().load_by_framework("tf").normalize(model)
        apply_moc_transformations(model, cf=True)
    return compile_model(model, device, config)


def load_saved_model(path):
    """Loads a SavedModel, which Keras itself only writes."""
    import tensorflow as tf

    return tf.saved_model.load(path)


def lite():
    """Returns TensorFlow's module of LiteRT, whose options Keras takes but does not name."""
    import tensorflow as tf

    return tf.lite


def keep_memory() -> None:
    """Tells glibc, where that is the C library, to keep some free memory.

    Otherwise it returns the memory of every image and every layer's output to the system and gets
    it again, zeroed page by page, which can take as long as the work on an image. On Python 3.11,
    TensorFlow undoes this when `fit` begins to read a data set: call it again then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(-2, 2**24)  # M_TOP_PAD of malloc.h
    mallopt(-3, 2**25)  # M_MMAP_THRESHOLD; this and the next are what glibc itself settles on
    mallopt(-1, 2**26)  # M_TRIM_THRESHOLD


def epochs_of(dataset):
    """Returns a callback that tells a data set which epoch begins.

    By itself, the data set also counts what Keras reads of it before the first epoch. The callback
    also renews glibc's settings, which TensorFlow changes when it begins to read a data set, and
    ends the training where an interrupt was swallowed.
    """
    import keras

    return keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: dataset.begin_epoch(epoch),
        on_train_batch_begin=lambda batch, logs: (keep_memory(), obey_interrupts()),
    )


@contextlib.contextmanager
def _stderr_held_back():
    """Holds back what is written to file descriptor 2; shows it if the block fails by a defect."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception as error:
            if not isinstance(error, UserError):
                kept.seek(0)
                os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _interrupts_held_back():
    """Delivers signals at the end: some compiled modules turn Ctrl-C into other errors."""
    came, before = [], {}
    with contextlib.suppress(ValueError):  # only the main thread may do that
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


@contextlib.contextmanager
def _garbage_held_back(module):
    """Collects no garbage while a module is imported; what is there then is never looked at again.

    None of it is garbage, but looking for some takes a fifth of the time that Keras needs to start,
    and 0.2 s each time later.
    """
    if module in sys.modules:
        yield
        return
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
