"""Folders, the files of a data set, and writing so that a reader never sees half of a file."""

import codecs
import contextlib
import csv
import os
import secrets
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from core.support.errors import UserError, few, summary
from core.support.pairs import plain_name

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


def read_text(path: Path) -> str:
    """Returns a text in UTF-8, or in UTF-16 as some programs on Windows write it.

    Raises:
        OSError, UnicodeDecodeError: if it cannot be read.
    """
    data = path.read_bytes()
    wide = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return data.decode("utf-16" if wide else "utf-8-sig")


def read_list(path: Path) -> list[str]:
    """Returns the lines of a text file, without blank ones; raises a UserError if none is left.

    Lists of Windows may have backslashes between folders.
    """
    try:
        lines = read_text(path).replace("\\", "/").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: this list cannot be read ({error}). Name the folder with --data, or the "
            "lists with --train-list and --val-list."
        ) from error
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise UserError(f"{path}: this list is empty. It needs one image a line.")
    return lines


def settle_folders(args: Namespace) -> None:
    """Makes the paths of --images and --masks whole; without --data, their place is the data's.

    They are seen from the folder of --data, or else from the current one.
    """
    if args.masks and not args.images:
        raise UserError("--masks goes with --images. Name both folders.")
    for name in ("images", "masks"):
        path = getattr(args, name)
        if path:
            below = Path(args.data or "", path)
            setattr(args, name, str((below if below.is_dir() else Path(path)).resolve()))
    if args.images and not args.data:
        args.data = str(Path(args.images).parent)


class Missing(UserError):
    """A file is not there."""

    kind = "missing"


def missing(infos: list[dict], listed_in=None) -> dict[int, Missing]:
    """Looks for the files of `Dataset.image_info`; returns errors by the entries' numbers.

    An error names the list that has the image, `listed_in`, if there is one.
    """
    pairs = [(Path(info["mask_path"]), Path(info["image_path"])) for info in infos]
    lost = {i: path for i, pair in enumerate(pairs) for path in pair if not os.path.isfile(path)}
    for index, path in lost.items():
        kind = "mask" if path == pairs[index][0] else "image"
        listed = f", but {listed_in} lists '{path.stem}'" if listed_in else ""
        lost[index] = Missing(f"{path}: there is no such {kind}{listed}. Add the file.")
    return lost


class Named:
    """The images of a data set, see `Dataset.image_info`, by their names, and their files."""

    image_info = ()
    division = ""  # a sentence on how training and validation images are told apart
    drawn = False  # whether the seed told them apart
    notes = ""  # sentences on what else was found out about the files
    listed_in = None  # the list that names the images
    index = None  # remembers what is known about the files, see `core.sources.cache`

    def name(self, index: int) -> str:
        """Returns the name of an image: `info["name"]` or its file's, with the page of a stack."""
        info = self.image_info[index]
        name = info.get("name") or plain_name(Path(info["image_path"]).name)
        return f"{name}:{info['page']}" if "page" in info else name

    @property
    def names(self) -> list[str]:
        """The names of all images."""
        return list(map(self.name, range(len(self.image_info))))

    @property
    def stated(self) -> str:
        """What was found out about the files, in sentences."""
        return f"{self.division} {self.notes}".strip()

    def keep(self, split: dict[str, list[str]], part: str, strict: bool = True) -> None:
        """Keeps the images that a run's split names for a part, see `kept`."""
        self.image_info, told = kept(self.image_info, self.names, split, part, strict, self.where)
        self.division, self.drawn = f"The images are those of the run's {told}", False

    @property
    def where(self):
        """The list or the folder that the images are from, for messages."""
        return self.listed_in or Path(self.image_info[0]["image_path"]).parent

    def check_files(self) -> None:
        """Raises a `Missing` if files are not there; they are not read."""
        problems = missing(self.image_info, self.listed_in)
        if problems:
            raise Missing(summary(problems.values()))

    def remember(self, kind: str, infos: list[dict], function: Callable, *settings):
        """Returns the function's result from the index, if that knows it, see `Index.remember`."""
        index = self.index
        return index.remember(kind, infos, function, *settings) if index else function()


def kept(infos: list, names: list, split: dict, part: str, strict: bool, where) -> tuple:
    """Returns the images that a run's split names for a part, in its order.

    Args:
        infos: entries of `Dataset.image_info`.
        names: the images' names.
        split: the names of "train" and "val".
        part: one of these.
        strict: whether it is a `Missing` if one is not there.
        where: the folder or list that lacks it then.

    Returns:
        The entries, and what to say of the split: its file, and what is left out.
    """
    of_name = {}
    for name, info in zip(names, infos, strict=True):
        if of_name.setdefault(name, info) != info:
            raise UserError(
                f"{info['image_path']} and {of_name[name]['image_path']}: two images of the name "
                f"{name}. Rename one."
            )
    lacking = [name for name in split[part] if name not in of_name]
    if lacking and strict:
        raise Missing(
            f"{where}: lacks {few(lacking)}, {len(lacking)} of {len(split[part])} images of this "
            "run. Add them, or name the folder that has them with --data."
        )
    new = sorted(of_name.keys() - {*split["train"], *split["val"]})
    told = "split.json."
    for what, left_out in (("New", new), ("Not there any more", lacking)):
        told += f" {what}, so left out: {few(left_out)}." if left_out else ""
    return [of_name[name] for name in split[part] if name in of_name], told
