"""Last words of a training that is killed or crashes: the system gives it no time for any."""

import contextlib
import os
import signal
import sys

_MEMORY = (
    "Less is used with a smaller --batch-size, --size or --filters, and with --precision bfloat16. "
    "The same command, without --overwrite, goes on after the last whole epoch."
)


@contextlib.contextmanager
def watched(several):
    """Leaves a process behind that speaks up if the block does not come to an end by itself.

    Linux kills a program when memory runs out, libraries crash then, and JAX aborts when it loses
    the process that keeps several together. SIGTERM, though, ends the block in order. To be called
    before threads are started.

    Args:
        several: whether this is one of several processes that train together.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform != "linux" or not sys.stderr:
        yield
        return
    ended, alive = os.pipe()
    if os.fork() == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(alive)
        if not os.read(ended, 1):  # closed without a word
            cause = "another process of this training ended, or " if several else ""
            text = f"{sys.argv[0]}: killed or crashed, most likely because {cause}memory ran out. "
            os.write(2, (text + _MEMORY + "\n").encode())
        os._exit(0)
    os.close(ended)
    try:
        yield
    except SystemExit as left:
        if left.code in (2, 130):  # our line is the last: TensorFlow's threads would go on talking
            with contextlib.suppress(OSError):
                for stream in filter(None, (sys.stdout, sys.stderr)):
                    stream.flush()
            os.write(alive, b".")
            os._exit(left.code)
        raise
    finally:
        with contextlib.suppress(OSError):
            os.write(alive, b".")
