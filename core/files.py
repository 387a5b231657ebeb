"""Writing files so that a reader never sees half of one."""

import contextlib
import csv
import json
import os
from pathlib import Path

from core.errors import UserError


def make_folder(folder):
    """Makes a folder and its parents; returns it as a Path.

    Raises:
        UserError: if that is not possible.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: this folder cannot be made ({error.strerror}). Name another one with "
            "--output."
        ) from error
    return folder


@contextlib.contextmanager
def replacing(path):
    """Gives the name of a file beside `path` to write to, and renames it to `path` at the end.

    If the block fails or is interrupted, `path` stays as it was and the file beside it goes away.

    Raises:
        UserError: if the file cannot be written (no space, no permission).
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}-partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or name "
            "another folder with --output."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(path, content):
    """Writes `content` as indented JSON."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path, rows):
    """Writes rows, the header among them, as CSV."""
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
