"""Starting Keras. The one place that knows which library computes underneath."""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import warnings

from core.support.errors import SIGNALS, UserError


def start(group=None):
    """Imports Keras with settings that suit the scripts; to be called before anything else does.

    OpenCV is told to use one thread a call: what calls it are threads already, one for each core.
    The memory that these threads free is kept for the next picture.
    On the TensorFlow backend, oneDNN is switched on also for processors where TensorFlow leaves it
    off (it makes a training step there up to three times as fast), and the messages that
    TensorFlow's libraries print while they look for a GPU are kept back.

    Args:
        group: for one of several processes that train together: `HOST:PORT` of process 0, how many
            there are, and which one this is.

    Raises:
        UserError: if the backend that the user chose is not installed, or the processes do not come
            together.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import cv2

    cv2.setNumThreads(1)
    keep_memory()
    with _stderr_kept_back(), _interrupts_kept_back():
        try:
            import keras
        except ImportError as error:
            raise UserError(
                f"Keras cannot start ({error}). Install requirements.txt; if KERAS_BACKEND or "
                "~/.keras/keras.json name a backend, install it, too, or choose tensorflow."
            ) from error
        keras.config.set_image_data_format("channels_last")  # whatever the user's keras.json says
    if group:
        from core.support.processes import join

        join(*group)
    with _stderr_kept_back(), _interrupts_kept_back():
        # Keras' metrics ask for int64, and JAX says for each that it takes int32.
        warnings.filterwarnings("ignore", "Explicitly requested dtype int64")
        keras.ops.zeros(())  # makes the backend find its devices


def import_tensorflow():
    """Does now, and quietly, what `fit` does later also where another backend computes."""
    with _stderr_kept_back(), _interrupts_kept_back(), contextlib.suppress(ImportError):
        import tensorflow  # noqa: F401


def keep_memory():
    """Tells glibc, where that is the C library, to keep some memory that is free.

    Else it gives that of every picture, and of every layer's output, back to the system and gets it
    again, zeroed page by page, for the next one. That can take as long as the work on a picture.

    On Python 3.11, TensorFlow changes these settings whenever `fit` begins with a data set of ours,
    so that this is to be called again; it takes microseconds.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    top_pad, mmap_threshold, trim_threshold = -2, -3, -1  # as in malloc.h
    mallopt(top_pad, 2**24)
    # The values that glibc would arrive at by itself if nothing were set.
    mallopt(mmap_threshold, 2**25)
    mallopt(trim_threshold, 2**26)


@contextlib.contextmanager
def _stderr_kept_back():
    """Holds back what is written to file descriptor 2; shows it if the block fails by a defect."""
    if sys.stderr is None:  # closed
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except Exception:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _interrupts_kept_back():
    """Holds back Ctrl-C and its like, which some compiled modules turn into other errors."""
    came = []
    held = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    try:
        before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in held}
    except ValueError:  # only the main thread may do that
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)
