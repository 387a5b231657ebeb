"""predictions.csv: what predict.py wrote into a folder, and from which images.

Several programs may use a table at once, each under the lock of the folder. Lines are only added
while they run: a line without a mask says that the image's earlier lines count no more. Such lines
go at the end of a run.
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
COLUMNS = ("file", "page", "class", "pixels", "share", "mask", "probabilities")
_PATIENCE = 20  # seconds to wait for other programs


class Table:
    """The table of a folder; a UserError if it is a file that predict.py did not write.

    Attributes:
        masks: by image, its mask below the folder, last page, and "yes" or "" for probabilities.
        owners: the image of each mask.
    """

    def __init__(self, folder: Path):
        self._path = folder / NAME
        # The table stays open, so that another file in its place can be told from it.
        self._file = open(os.devnull)
        self._replaced = False
        if self._path.exists():
            self._refresh()

    @contextlib.contextmanager
    def locked(self):
        """Keeps other programs out, or raises a UserError, and reads what they have added."""
        with alone_in(self._path.parent, "program", _PATIENCE):
            if not self._path.exists():
                write_csv(self._path, [COLUMNS])
            self._refresh()
            yield

    @contextlib.contextmanager
    def listing(self, file: str, rows: list[tuple]):
        """Lists an image by its path and `rows` of the other columns; not if the block fails.

        Its earlier lines count no more.
        """
        replaced = [(file, *[""] * 6)] if file in self.masks else []
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(replaced + [(file, *row) for row in rows])
        end = self._path.stat().st_size
        try:
            with open(self._path, "ab") as table:
                table.write(text.getvalue().encode())
            yield
        except BaseException:
            os.truncate(self._path, end)
            raise
        self._refresh()

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

    def _refresh(self):
        if not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            self._file.close()
            self._file = open(self._path, newline="", encoding="utf-8")
            self.masks, self.owners = {}, {}
            if self._file.readline() != ",".join(COLUMNS) + "\n":
                self._file.close()
                raise UserError(
                    f"{self._path}: is not a table that predict.py wrote. Rename it, or name "
                    "another folder with --output."
                )
        text = self._file.read()
        if text and not text.endswith("\n"):  # a program was killed
            with open(self._path, "ab") as table:
                table.write(b"\n")
            self._file.read()
        for row in csv.reader(io.StringIO(text, newline="")):
            if len(row) == len(COLUMNS) and not row[5]:
                self._replaced = True
                self.owners.pop(self.masks.pop(row[0], row)[0], None)
            elif len(row) == len(COLUMNS) and row[1].isdecimal():
                self.masks[row[0]] = row[5], int(row[1]), row[6]
                self.owners[row[5]] = row[0]


def as_text(path: str) -> str:
    r"""Returns a path as the table has it: bytes that are no UTF-8 are written as \xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\r", r"\r")
