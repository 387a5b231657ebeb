"""How the scripts speak of what only the user can put right, and how they end."""

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Iterator

from core.config import Config

# What ends a program in order; Windows has no SIGHUP, which a terminal sends that is closed.
SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
_PACKAGES = ("PIL", "cv2", "keras", "numpy", "scipy", "tqdm")  # as they are imported
_GONE = (errno.EPIPE, errno.EBADF, errno.EIO)  # of a pipe, a file that is closed, a terminal
_came = []  # the signals that have ended this program


class UserError(Exception):
    """Something the user must change; its message says what is wrong, where, and what to do."""


class Lost(UserError):
    """Another process of a training has ended; JAX's threads are about to say so, too."""


def together(problems) -> dict[str, int]:
    """Returns what problems say, each with how many say it: those that are equal in one line.

    A message is `file: what`. Messages are equal that differ in the file, in numbers and in quoted
    names only. Their line is the first one's, with how many files there are and three of them.
    """
    groups = {}
    for problem in map(str, problems):
        where, _, what = problem.partition(": ")
        equal = re.sub(r"'[^']*'|[\d, ]*\d( and \d+ others)?", "#", what)
        groups.setdefault(equal, []).append((problem, os.path.basename(where)))
    lines = {}
    for same in groups.values():
        names = ", ".join([name for _, name in same[:3]] + ["..."] * (len(same) > 3))
        shown = f" (The same in {len(same)} files: {names})" if len(same) > 1 else ""
        lines[f"{same[0][0]}{shown}"] = len(same)
    return lines


def summary(problems, more="") -> str:
    """Returns the first line of `together`, how many other problems there are, and `more`."""
    line, count = next(iter(together(problems).items()))
    others = len(problems) - count
    return f"{line} And {others} more files.{more}" if others else line


def run(main):
    """Runs a script's `main` and leaves with its exit status.

    0 done, 1 some inputs failed (the return value of `main`), 2 the user must change something (one
    line on stderr), 128 + N interrupted by signal N: Ctrl-C, SIGTERM or SIGHUP. Everything else is
    a defect of ours and keeps its traceback.
    """
    _came.clear()
    for number in SIGNALS:
        with contextlib.suppress(ValueError):  # only the main thread may do that
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, _interrupt)
    try:
        with lasting():
            status = main() or 0
    except UserError as error:
        if isinstance(error, Lost):
            _silence_others()
        status = _say(error)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = error.filename or "what is written to"
        status = _say(f"{where}: {error.strerror}. Give access to it, or name another path.")
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        status = _say(
            f"This Python ({sys.executable}) lacks the package {error.name}. Activate the virtual "
            "environment, or install what is needed: python -m pip install -r requirements.txt"
        )
    except KeyboardInterrupt as error:
        status = _end(*error.args)
    except Exception:
        if not interrupted():
            raise
        status = _end()
    _came.clear()
    leave(status)


def _interrupt(number, _):
    _came.append(number)
    raise KeyboardInterrupt


def interrupted() -> bool:
    """Says whether a signal has ended this program.

    Where it comes while compiled code calls Python, that may make another error of it.
    """
    return bool(_came)


def obey_interrupts():
    """Raises the KeyboardInterrupt of a signal that compiled code has swallowed."""
    if _came:
        raise KeyboardInterrupt


def _end(*more):
    _say(" ".join(["interrupted.", *map(str, more)]))
    return 128 + (_came or [signal.SIGINT])[-1]


def _silence_others():
    """Keeps other threads off stderr, so that our message is the last line."""
    own = os.dup(sys.stderr.fileno())
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    sys.stderr = open(own, "w", errors="backslashreplace")


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


def reraise(error: OSError) -> None:
    """For `os.walk`, which passes over folders that cannot be read; one not there is empty."""
    if not isinstance(error, FileNotFoundError):
        raise error


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


def whole(results):
    """Yields results; for `UserError`s among them, raises a `summary` of these at the end."""
    problems = []
    for result in results:
        if isinstance(result, UserError):
            problems.append(result)
        else:
            yield result
    if problems:
        raise UserError(summary(problems, " --check-data names them."))


@contextlib.contextmanager
def explained(config: Config, policy: str = "") -> Iterator[None]:
    """Raises a UserError where memory runs out in a training with a Keras dtype `policy`.

    TensorFlow wraps what is raised in our data set, and keeps its text: that is raised again.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = f"{type(error).__name__} {error}"
        if interrupted() or "KeyboardInterrupt" in text:
            raise KeyboardInterrupt from error
        ours = re.search(rf"\b({_names_of(UserError)}): (.*?)(\nTraceback|$)", text, re.DOTALL)
        if ours:
            raise UserError(ours[2]) from error
        if not re.search("MemoryError|ResourceExhausted|RESOURCE_EXHAUSTED|Out of memory", text):
            raise
        raise UserError(
            f"Out of memory. Less is used with a smaller --batch-size (now {config.batch_size}), "
            f"--size ({config.size[0]} {config.size[1]}) or --filters ({config.filters}), and "
            f"with --precision bfloat16 (now {policy or config.precision})."
        ) from error


def _names_of(kind):
    """The names of a class and all that are derived from it, as a regular expression."""
    return "|".join([kind.__name__, *map(_names_of, kind.__subclasses__())])


def _say(message):
    with contextlib.suppress(OSError):  # of a stream that nobody reads, or of a full disk
        print(f"{sys.argv[0]}: {one_line(message)}", file=sys.stderr)
    return 2
