"""Files: whether they are there, and writing them so that a reader never sees half of one."""

import contextlib
import csv
import os
import re
import secrets
import tempfile
import time
from pathlib import Path

from core.support.errors import UserError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None


def check_folder(folder, advice="Name another folder with --output."):
    """Returns a folder as a Path, without making it; a UserError if it cannot be written to."""
    folder = Path(folder)
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}). {advice}") from error
    return folder


@contextlib.contextmanager
def alone_in(folder: Path, who: str = "training", seconds: float = 0):
    """Keeps other processes that ask for the same out of a folder, where the system can.

    The folder is made if need be. Waits for `seconds` for another process to leave it.

    Raises:
        UserError: if another process, which the message calls `who`, is still in there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not fcntl:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + seconds
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise UserError(
                        f"{folder}: another {who} writes there. Wait for its end, or name another "
                        "folder with --output."
                    ) from error
                time.sleep(0.005)
            except OSError:  # a file system that knows no locks
                break
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def partial_file(path):
    """Gives the name of a hidden file beside `path`, which nobody else uses, to write to.

    Makes the folder if need be. Rename the file in the block to keep it; else it goes away.

    Raises:
        UserError: if the file cannot be written (no space, no permission).
    """
    path = Path(path)
    partial = path.with_name(f".partial-{secrets.token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or name "
            "another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the folder may be what cannot be used
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path):
    """Gives a `partial_file` and renames it to `path` at the end of the block.

    If the block fails or is interrupted, `path` stays as it was. Raises what `partial_file` does.
    """
    with partial_file(path) as partial:
        yield partial
        os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_csv(path, rows):
    """Writes rows, the header among them, as CSV."""
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def subfolder(folder: Path | str, name: str) -> Path:
    """Returns the path of a folder in a folder, in capitals if that is how it is written there."""
    folder = Path(folder)
    if (folder / name).is_dir() or not folder.is_dir():
        return folder / name
    alike = (p for p in sorted(folder.iterdir()) if p.name.lower() == name.lower() and p.is_dir())
    return next(alike, folder / name)


def _namesakes(path: Path, image: Path, others: set[Path]) -> str:
    """Returns a sentence on files that may be the missing mask of an image.

    Of a missing `x.png` that is, say, `x_mask.png`, beside it or beside the image. The `others` are
    files that are something else. Empty if there is no such file.
    """
    pattern = re.compile(rf"(.*[\W_])??{re.escape(path.stem)}([\W_].*)", re.DOTALL)
    for folder in filter(Path.is_dir, (path.parent, image.parent)):
        names = sorted(p.name for p in folder.iterdir() if p not in others and p != image)
        found = next(filter(None, map(pattern.fullmatch, names)), None)
        if found:
            start, end = found[1] or "", found[2]
            count = sum(name.startswith(start) and name.endswith(end) for name in names)
            are = "1 file is" if count == 1 else f"{count} files are"
            return (
                f" {are} named like {folder / found[0]}: masks need the names of their images, in "
                f"{path.parent}."
            )
    return ""


class Missing(UserError):
    """A file is not there."""

    kind = "missing"


def missing(infos: list[dict], listed_in=None) -> dict[int, Missing]:
    """Looks for the files of `Dataset.image_info`; returns errors by the entries' numbers.

    An error names the list that has the image, `listed_in`, if there is one.
    """
    pairs = [(Path(info["mask_path"]), Path(info["image_path"])) for info in infos]
    lost = {i: path for i, pair in enumerate(pairs) for path in pair if not os.path.isfile(path)}
    others = {path for i, pair in enumerate(pairs) for path in pair if i not in lost}
    masks = [i for i, path in lost.items() if path == pairs[i][0]]
    hint = _namesakes(*pairs[masks[0]], others) if masks else ""  # the other ones are named alike
    for index, path in lost.items():
        kind, more = ("mask", hint) if path == pairs[index][0] else ("image", "")
        listed = f", but {listed_in} lists '{path.stem}'" if listed_in else ""
        lost[index] = Missing(f"{path}: there is no such {kind}{listed}. Add the file.{more}")
    return lost
