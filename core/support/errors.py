"""How the scripts speak of what only the user can put right, and how they end."""

import contextlib
import errno
import os
import signal
import sys

from core.support.streams import lasting

# What ends a program in order; Windows has no SIGHUP, which a terminal sends that is closed.
SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


class UserError(Exception):
    """Something the user must change; its message says what is wrong, where, and what to do."""


def run(main):
    """Runs a script's `main` and leaves with its exit status.

    0 done, 1 some inputs failed (the return value of `main`), 2 the user must change something (one
    line on stderr), 128 + N interrupted by signal N: Ctrl-C, SIGTERM or SIGHUP. Everything else is
    a defect of ours and keeps its traceback.
    """
    came = [signal.SIGINT]

    def interrupt(number, _):
        came.append(number)
        raise KeyboardInterrupt

    for number in SIGNALS[1:]:
        with contextlib.suppress(ValueError):  # only the main thread may do that
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, interrupt)
    try:
        with lasting():
            status = main() or 0
    except UserError as error:
        status = _say(error)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = error.filename or "what is written to"
        status = _say(f"{where}: {error.strerror}. Give access to it, or name another path.")
    except KeyboardInterrupt as error:
        _say(" ".join(["interrupted.", *map(str, error.args)]))
        status = 128 + came[-1]
    leave(status)


def leave(status):
    """Ends the process; after a message of ours at once, so that it is the last line.

    TensorFlow's threads would write more, and JAX would wait for other processes for minutes.
    """
    if status < 2:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def few(items) -> str:
    """Names up to three of some things, and counts the others."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(map(str, items[:3])) + more


def one_line(message):
    """Returns a message without line breaks and other characters that a terminal would act on."""
    line = " ".join(str(message).split())
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in line
    )


def _say(message):
    with contextlib.suppress(OSError):  # of a stream that nobody reads, or of a full disk
        print(f"{sys.argv[0]}: {one_line(message)}", file=sys.stderr)
    return 2
