"""How the scripts speak of what only the user can put right."""

import sys


class UserError(Exception):
    """Something the user must change; the message is one line: what is wrong, where, what to do."""


def run(main):
    """Runs a script's `main` and leaves with its exit status.

    0 done, 1 some inputs failed (the return value of `main`), 2 the user must change something, 130
    interrupted. Everything else is a defect of ours and keeps its traceback.
    """
    try:
        status = main()
    except UserError as error:
        message = " ".join(str(error).split())
        print(f"{sys.argv[0]}: {message}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print(f"{sys.argv[0]}: interrupted.", file=sys.stderr)
        status = 130
    sys.exit(status)
