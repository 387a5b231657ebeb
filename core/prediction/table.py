"""predictions.csv: which files predict.py wrote into a folder, and from which images.

Several programs may write a table at once, each under the lock of the folder. New lines are added
at the end, and blank lines take the place of an image's old ones until a run ends. So the table is
always true, and the work for one image does not grow with their number.
"""

import contextlib
import csv
import dataclasses
import io
import os
from collections.abc import Iterable
from pathlib import Path

from core.support.errors import UserError
from core.support.files import alone_in, replacing

NAME = "predictions.csv"
COLUMNS = ("file", "page", "class", "pixels", "share", "mask", "probabilities")
_HEADER = (",".join(COLUMNS) + "\n").encode()
_PATIENCE = 20  # seconds to wait for other programs


@dataclasses.dataclass
class Entry:
    """The lines of an image or a stack.

    Attributes:
        mask: the path of its mask below the folder, with slashes.
        pages: the number of pages.
        probabilities: whether there are files of probabilities, too.
        lines: where in the table its lines begin and end, in bytes.
    """

    mask: str = ""
    pages: int = 0
    probabilities: bool = False
    lines: list = dataclasses.field(default_factory=list)


class Table:
    """The table of a folder.

    Args:
        folder: it is made when something is written.

    Raises:
        UserError: if there is a file of that name which predict.py did not write.
    """

    def __init__(self, folder: Path):
        self._path = folder / NAME
        self._file = None  # stays open, so that another file in its place can be told from it
        self._blanked = False
        if self._path.exists():
            self._open().close()

    def entry(self, file: str) -> Entry | None:
        """Returns the `Entry` of an image, None if it has none."""
        return self._entries.get(file)

    def owner(self, mask: str) -> str | None:
        """Returns the image whose mask a path is, None if there is none."""
        return self._owners.get(mask)

    @contextlib.contextmanager
    def locked(self):
        """Takes in what other programs have added, and keeps them out.

        Raises:
            UserError: if another program stays in the folder.
        """
        with alone_in(self._path.parent, "program", _PATIENCE):
            self._refresh()
            yield

    @contextlib.contextmanager
    def listing(self, file: str, rows: Iterable[dict]):
        """Lists an image in place of its old lines; not if the block fails.

        Args:
            file: the path of the image.
            rows: dictionaries by the names of the columns.
        """
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(
            {**row, "file": file} for row in rows
        )
        try:
            self._put(self._end, text.getvalue().encode())
            yield
        except BaseException:
            self._file.truncate(self._end)
            raise
        if old := self._entries.pop(file, None):
            self._owners.pop(old.mask, None)
            for start, stop in old.lines:
                self._put(start, b"\n" * (stop - start))
            self._blanked = True
        self._refresh()

    def close(self):
        """Ends the work with the table; the blank lines go."""
        with contextlib.suppress(UserError):  # they do no harm
            if self._blanked:
                with self.locked(), replacing(self._path) as partial:
                    self._file.seek(0)
                    data = self._file.read()
                    kept = (data[start:stop] for row, start, stop in _rows(data) if row)
                    partial.write_bytes(b"".join(kept))
                    self._file.close()
        if self._file:
            self._file.close()

    def _open(self):
        file = open(self._path, "r+b", buffering=0)
        if file.read(len(_HEADER)) == _HEADER:
            return file
        file.close()
        raise UserError(
            f"{self._path}: is not a table that predict.py wrote. Rename it, or name another "
            "folder with --output."
        )

    def _refresh(self):
        """Reads what is new in the table; makes one if there is none."""
        if not self._path.exists():
            with replacing(self._path) as partial:
                partial.write_bytes(_HEADER)
        if not self._file or not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            if self._file:
                self._file.close()
            self._file, self._end = self._open(), len(_HEADER)
            self._entries, self._owners = {}, {}
        self._file.seek(self._end)
        data = self._file.read()
        if data and not data.endswith(b"\n"):
            self._put(self._end + len(data), b"\n")
        found = {}
        for row, start, stop in _rows(data):
            if len(row) == len(COLUMNS) and row[1].isdecimal():
                file, page, *_, mask, probabilities = row
                entry = found.setdefault(file, Entry())
                entry.mask, entry.probabilities = mask, probabilities == "yes"
                entry.pages = max(entry.pages, int(page) + 1)
                entry.lines.append((self._end + start, self._end + stop))
                self._owners[mask] = file
        self._entries.update(found)
        self._end = self._file.seek(0, os.SEEK_END)

    def _put(self, start, data):
        """Writes bytes at a place; raises an OSError if not all can be written."""
        self._file.seek(start)
        while data:
            data = data[self._file.write(data) :]


def text_of(path: str) -> str:
    r"""Returns a path as the table has it: bytes that are no UTF-8 are written as \xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\r", r"\r")


def _rows(data):
    """Yields the rows of a table, and where each begins and ends."""
    lines = io.BytesIO(data)
    start = 0
    for row in csv.reader(line.decode("utf-8", "backslashreplace") for line in lines):
        yield row, start, lines.tell()
        start = lines.tell()
