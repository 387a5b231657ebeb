"""Standard streams that are closed, or whose reader goes away: the work goes on without them."""

import contextlib
import errno
import os
import sys

_GONE = (errno.EPIPE, errno.EBADF, errno.EIO)  # of a pipe, a file that is closed, a terminal


class _Lasting:
    """A stream to write to; when nobody can read it any more, what is written is lost."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        return self._try(self._stream.write, text)

    def flush(self):
        return self._try(self._stream.flush)

    def _try(self, function, *args):
        try:
            return function(*args)
        except OSError as error:
            if error.errno not in _GONE:  # such as a full disk
                raise
            with open(os.devnull, "w") as nowhere:  # also for what is still in the buffer
                os.dup2(nowhere.fileno(), self._stream.fileno())
            return function(*args)


@contextlib.contextmanager
def lasting():
    """Lets a program write to stdout and stderr to its end, whatever becomes of these.

    Names in letters that the terminal lacks are written with escapes.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed: no other file must get its number, in this order
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    out, err = _Lasting(sys.stdout), _Lasting(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:  # what is still in a buffer; also after --help
            out.flush()
            err.flush()
