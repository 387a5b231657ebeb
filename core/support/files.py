"""Writing files so that a reader never sees half of one."""

import contextlib
import csv
import json
import os
import tempfile
from pathlib import Path

from core.support.errors import UserError
from nets.home import keras_home

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None


def check_folder(folder, advice="Name another folder with --output."):
    """Makes sure, before long work, that a folder can be written to; does not make it yet.

    Args:
        folder: its path.
        advice: what to do if not.

    Returns:
        The folder, a Path.

    Raises:
        UserError: if it cannot be written to, or made.
    """
    folder = Path(folder)
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}). {advice}") from error
    return folder


def cache_folder(name):
    """Returns the path of a folder where Keras keeps its data sets, without making it."""
    return keras_home() / "datasets" / name


@contextlib.contextmanager
def alone_in(folder):
    """Keeps other processes that ask for the same out of a folder, where the system can.

    Args:
        folder: a Path; it is made if need be.

    Raises:
        UserError: if another process is in there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not fcntl:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another training writes there. Wait for its end, or name another "
                "folder with --output."
            ) from error
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path):
    """Gives the name of a file beside `path` to write to, and renames it to `path` at the end.

    The folder is made if need be. If the block fails or is interrupted, `path` stays as it was and
    the file beside it goes away.

    Raises:
        UserError: if the file cannot be written (no space, no permission).
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}-partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or name "
            "another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the folder may be what cannot be used
            partial.unlink(missing_ok=True)


def write_json(path, content):
    """Writes `content` as indented JSON."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path, rows):
    """Writes rows, the header among them, as CSV."""
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
