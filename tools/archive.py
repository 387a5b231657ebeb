"""Archives: unpacked without trusting what is in them, and never halfway."""

import contextlib
import functools
import os
import platform
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from core.support.errors import UserError

_CLASHES = (FileExistsError, IsADirectoryError, NotADirectoryError)  # a file and a folder of a name


class BadArchive(UserError):
    """The archive is no good: it is better deleted and fetched anew."""


def check_python() -> None:
    """Raises a UserError if this Python does not know how to unpack tar files safely."""
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"Python {platform.python_version()} cannot unpack archives safely. 3.10.12, 3.11.4, "
            "3.12 and later versions can."
        )


@contextlib.contextmanager
def staging(target: Path, note: str = "; the archive is kept for it") -> Iterator[Path]:
    """Gives a hidden folder beside `target` for what is moved to `target` when it is complete.

    The folder goes away at the end of the block. An OSError becomes a UserError; `note` ends it.
    """
    folder = target.with_name(f".{target.name}-partial")
    was_there = folder.parent.exists()
    try:
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}). Free some space, then run "
            f"the same command again{note}."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_there:
            with contextlib.suppress(OSError):  # only if it is empty
                folder.parent.rmdir()


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar file, of any compression, or a zip file into an empty folder.

    It is a BadArchive if it is damaged, or has a path or a link that leads outside.
    """
    show = functools.partial(tqdm, desc="unpacking", unit="file", disable=None, leave=False)
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                opened.extractall(folder, show(opened), filter=_inside)
        else:
            with zipfile.ZipFile(archive) as opened:
                for name in opened.namelist():
                    check_name(name)
                opened.extractall(folder, show(opened.namelist()))
    except UserError:
        raise
    except Exception as error:  # a decoder raises whatever its parser runs into
        if getattr(error, "errno", None) and not isinstance(error, _CLASHES):  # the disk's errors
            raise
        raise BadArchive(f"is no archive, or a damaged one ({error})") from error


def locate(folder: Path, names: Sequence[str]) -> Path:
    """Returns the folder, at any depth, with all these names; raises a BadArchive without one."""
    for path, folders, files in os.walk(folder):
        if set(names) <= {*folders, *files}:
            return Path(path)
    raise BadArchive(f"has no folder with {' and '.join(names)} in it")


def check_name(name: str) -> None:
    """Raises a BadArchive for a path that leaves its folder, on whatever system wrote it."""
    path = PureWindowsPath(name)  # takes both kinds of slashes
    if path.anchor or ".." in path.parts:
        raise BadArchive(f"'{name}' in it leads outside")


def _inside(member, folder):
    """Python's filter for data, which would only cut what is absolute about a path."""
    check_name(member.name)
    try:
        return tarfile.data_filter(member, folder)
    except tarfile.FilterError as error:
        raise BadArchive(f"leads outside: {error}") from error
