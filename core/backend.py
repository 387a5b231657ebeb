"""Starting Keras. The one place that knows which library computes underneath."""

import contextlib
import os
import sys
import tempfile


def start():
    """Imports Keras with settings that suit the scripts; to be called before anything else does.

    On the TensorFlow backend, oneDNN is switched on also for processors where TensorFlow leaves it
    off (it makes a training step there up to three times as fast), and the messages that
    TensorFlow's libraries print while they look for a GPU are kept back unless the import fails.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_kept_back():
        import keras

        keras.ops.zeros(())  # makes the backend find its devices


@contextlib.contextmanager
def _stderr_kept_back():
    """Holds back what is written to file descriptor 2; shows it if the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
