"""Archives: unpacked without trusting what is in them, and never halfway."""

import contextlib
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from core.support.errors import UserError

_CLASHES = (FileExistsError, IsADirectoryError, NotADirectoryError)  # a file and a folder of a name


class BadArchive(UserError):
    """The archive is no good: it is better deleted and fetched anew."""


@contextlib.contextmanager
def staging(target):
    """Gives a hidden folder beside `target` for what is to be moved to `target` when complete.

    The folder goes away at the end of the block, however it ends.

    Raises:
        UserError: if it cannot be written (no space, no permission).
    """
    folder = target.with_name(f".{target.name}-partial")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}). Free some space, then run "
            "the same command again; the archive is kept for it."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # only if it is empty
            folder.parent.rmdir()


def unpack(archive, folder):
    """Unpacks a tar (of any compression) or zip file, links as copies of what they point to.

    The rules of `extractall` for paths that lead out of the folder differ between versions of
    Python and between the two formats, so they are not relied on: files are all that is written.

    Args:
        archive: the file.
        folder: an empty folder, a Path.

    Raises:
        BadArchive: if it is damaged, or has a path or a link that leads outside.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                _write(_tar_files(opened), folder)
        else:
            with zipfile.ZipFile(archive) as opened:
                _write(_zip_files(opened), folder)
    except UserError:
        raise
    except Exception as error:  # a decoder raises whatever its parser runs into
        if getattr(error, "errno", None) and not isinstance(error, _CLASHES):  # the disk's errors
            raise
        raise BadArchive(f"is no archive, or a damaged one ({error})") from error


def locate(folder, names):
    """Returns the folder, at any depth of `folder`, that has all these names in it.

    Raises:
        BadArchive: if there is none.
    """
    for path, folders, files in os.walk(folder):
        if set(names) <= {*folders, *files}:
            return Path(path)
    raise BadArchive(f"has no folder with {' and '.join(names)} in it")


def leads_out(name):
    """Whether a path may leave the folder it is joined to, on whatever system wrote it."""
    path = PureWindowsPath(name)  # takes both kinds of slashes
    return bool(path.anchor) or ".." in path.parts


def _write(files, folder):
    """Writes pairs of a name and an open file."""
    for name, file in tqdm(files, desc="unpacking", unit="file", disable=None, leave=False):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with file, open(path, "wb") as copy:
            shutil.copyfileobj(file, copy)


def _tar_files(archive):
    for member in archive:
        if leads_out(member.name):
            raise _leads_out(member.name)
        if member.isfile() or member.islnk() or member.issym():
            try:
                file = archive.extractfile(member)  # follows links, but only inside the archive
            except (KeyError, RecursionError):
                raise _leads_out(member.name) from None
            if file:
                yield member.name, file


def _zip_files(archive):
    for member in archive.infolist():
        if leads_out(member.filename):
            raise _leads_out(member.filename)
        source = member.filename
        if stat.S_ISLNK(member.external_attr >> 16):
            link = archive.read(member).decode(errors="replace")
            source = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
            if source not in archive.namelist():
                raise _leads_out(member.filename)
        if not member.is_dir():
            yield member.filename, archive.open(source)


def _leads_out(name):
    return BadArchive(f"'{name}' in it leads outside the archive, so none of it is unpacked")
