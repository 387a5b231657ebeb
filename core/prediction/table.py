"""predictions.csv: what predict.py wrote into a folder, and from which images; and objects.csv.

Several programs may use a table at once, each under the lock of the folder. Lines are only added
while they run: a line with nothing but an image says that its earlier lines count no more. Such
lines go at the end of a run.
"""

import contextlib
import csv
import io
import itertools
import os
from pathlib import Path

from core.support.errors import UserError
from core.support.files import alone_in, write_csv

NAME = "predictions.csv"
COLUMNS = ("file", "page", "class", "pixels", "share", "objects")
COLUMNS += ("mean_probability", "below_0.6", "mask", "others")
_PATIENCE = 20  # seconds to wait for other programs


class Table:
    """A table of a folder; a UserError if it is a file that predict.py did not write.

    Attributes:
        last: by image, the page and the last two columns of the last of its lines. In
            predictions.csv these are its mask, and the endings of its other files' names.
        owners: in predictions.csv, the image of each mask.
    """

    def __init__(self, folder: Path, name: str = NAME, columns: tuple = COLUMNS):
        self._path, self._columns = folder / name, columns
        # The table stays open, so that another file in its place can be told from it.
        self._file = open(os.devnull)
        self._replaced = False
        self.last, self.owners = {}, {}
        self.refresh()

    @contextlib.contextmanager
    def locked(self):
        """Keeps other programs out, or raises a UserError, and reads what they have added."""
        with alone_in(self._path.parent, "program", _PATIENCE):
            self.refresh()
            yield

    @contextlib.contextmanager
    def listing(self, file: str, rows: list[tuple]):
        """Lists an image by its path and `rows` of the other columns; not if the block fails.

        Its earlier lines count no more.
        """
        replaced = [(file, *[""] * (len(self._columns) - 1))] if file in self.last else []
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(replaced + [(file, *row) for row in rows])
        if not text.getvalue():
            yield
            return
        if not self._path.exists():
            write_csv(self._path, [self._columns])
        end = self._path.stat().st_size
        try:
            with open(self._path, "ab") as table:
                table.write(text.getvalue().encode())
            yield
        except BaseException:
            os.truncate(self._path, end)
            raise
        self.refresh()

    def close(self) -> None:
        """Ends the work with the table: lines that count no more go."""
        if self._replaced:
            with contextlib.suppress(UserError), self.locked():  # they do no harm
                self._file.seek(0)
                header, *rows = csv.reader(self._file)
                kept = {}
                for row in rows:
                    kept[row[0]] = [*kept.get(row[0], ()), row] if any(row[1:]) else []
                write_csv(self._path, [header, *itertools.chain(*kept.values())])
        self._file.close()

    def refresh(self) -> None:
        """Reads what other programs have added; call it while they are kept out."""
        if not self._path.exists():
            self.last, self.owners = {}, {}
            return
        if not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            self._file.close()
            self._file = open(self._path, newline="", encoding="utf-8", errors="replace")
            self.last, self.owners = {}, {}
            if self._file.readline() != ",".join(self._columns) + "\n":
                self._file.close()
                raise UserError(
                    f"{self._path}: is not a table that this version of predict.py wrote. Rename "
                    "it, or name another folder with --output."
                )
        text = self._file.read()
        if text and not text.endswith("\n"):  # a program was killed
            with open(self._path, "ab") as table:
                table.write(b"\n")
            self._file.read()
        for row in csv.reader(io.StringIO(text, newline="")):
            if len(row) == len(self._columns) and not any(row[1:]):
                self._replaced = True
                self.owners.pop(self.last.pop(row[0], row)[1], None)
            elif len(row) == len(self._columns) and row[1].isdecimal():
                self.last[row[0]] = int(row[1]), *row[-2:]
                self.owners[row[-2]] = row[0]


def as_text(path: str) -> str:
    r"""Returns a path as the table has it: bytes that are no UTF-8 are written as \xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\r", r"\r")
