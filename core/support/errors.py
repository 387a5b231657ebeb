"""How the scripts speak of what only the user can put right."""

import errno
import os
import sys


class UserError(Exception):
    """Something the user must change; its message says what is wrong, where, and what to do."""


def run(main):
    """Runs a script's `main` and leaves with its exit status.

    0 done, 1 some inputs failed (the return value of `main`), 2 the user must change something (one
    line on stderr), 130 interrupted. Everything else is a defect of ours and keeps its traceback.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")  # names in letters that a terminal lacks
    try:
        status = main()
        if sys.stdout:
            sys.stdout.flush()
    except UserError as error:
        status = _say(error)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = error.filename or "what is written to"
        status = _say(f"{where}: {error.strerror}. Give access to it, or name another path.")
    except KeyboardInterrupt:
        _say("interrupted.")
        status = 130
    sys.exit(status)


def one_line(message):
    """Returns a message without line breaks and other characters that a terminal would act on."""
    line = " ".join(str(message).split())
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in line
    )


def _say(message):
    print(f"{sys.argv[0]}: {one_line(message)}", file=sys.stderr)
    return 2
