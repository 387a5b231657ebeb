"""The files of predictions: how they are named and written.

Only files that predict.py wrote itself are ever replaced; `core.prediction.table` lists them.
"""

import contextlib
import itertools
import os
import re
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin
from tqdm import tqdm

from core.prediction import objects, sheets
from core.prediction.inputs import Source
from core.prediction.table import Table, as_text
from core.support.errors import UserError, one_line
from core.support.files import partial_file, replacing

UNCERTAIN = "uncertain.png"
_WRITER = "predict.py of UNet-keras"  # stands in that file
_LONGEST = 255  # bytes in a file's name, on the usual file systems
# The ends of the names of all files that an input of one page, or of several, can have.
_SINGLE = "mask.png", "overlay.jpg", "overlay.png", "objects.tif", "probabilities.npy"
_STACK = "mask.tif", "overlay.tif", "objects.tif", "probabilities.npy"


class Page(NamedTuple):
    """An image of an input: the only one of its file, or a page of a stack."""

    source: Source
    count: int  # of the input's pages; more than one make TIFF files with as many
    number: int
    photograph: bool = False


class Drawn(NamedTuple):
    """What is written for a page, and said of it."""

    page: Page
    files: dict  # by the ends of their names the bytes of files, or of pages of TIFF files
    probabilities: np.ndarray | None  # float16 `[H, W, K]`
    rows: list  # of predictions.csv: class, pixels, share, objects, mean_probability, below_0.6
    objects: list  # of objects.csv: all columns from the class on
    line: str  # what is printed
    doubt: tuple | None  # for uncertain.png: mean probability, image and caption


def check_name(source: Source, count: int):
    """Raises a UserError if the names of the prediction would be too long for the file system."""
    if len(os.fsencode(f"{source.path.stem}-99_probabilities_{count}.npy")) > _LONGEST:
        raise UserError(f"{source.path}: its name leaves no room for those of its prediction.")


class Outputs:
    """A folder of predictions, made when something is written, and its tables.

    Args:
        folder: the folder.
        uncertain: so many of the least certain images are drawn in the end.

    Raises:
        UserError: if there are files of such names that predict.py did not write.
    """

    def __init__(self, folder: Path, uncertain: int | None = None):
        self._folder, self._uncertain = folder, uncertain or 0
        if uncertain and (folder / UNCERTAIN).exists() and not _is_own(folder / UNCERTAIN):
            raise UserError(
                f"{folder / UNCERTAIN}: predict.py did not write this file. Rename it, or name "
                "another folder with --output."
            )
        self._table = Table(folder)
        self._objects = Table(folder, objects.NAME, objects.COLUMNS)
        self._numbers = {}  # the numbers that are left to try, by the name without one
        self._doubts = []  # the least certain images, see `Drawn`

    def close(self) -> None:
        """Ends the work with the tables."""
        self._table.close()
        self._objects.close()

    def write(self, source: Source, count: int, pages: Iterable[Drawn]) -> list[str]:
        """Writes the files of an input of `count` pages: all of them, or none if pages are missing.

        If files that are not this input's have the names NAME_mask, NAME_overlay and so on, they
        become NAME-2, then NAME-3. It is a UserError if that fails.

        Returns:
            For each page the line to print; none if nothing was written.
        """
        base = str(self._folder / source.folder / source.path.stem)
        partials, joined = {}, {}  # by the ends of the files' names
        arrays = _ends(["probabilities.npy"], count)
        lines, rows, objects_found, doubts = [], [], [], self._doubts
        with contextlib.ExitStack() as together:

            def partial(end):
                partials[end] = together.enter_context(partial_file(f"{base}_{end}"))
                return partials[end]

            with contextlib.ExitStack() as opened:
                # Without `count`, `pages` would wait for the next input before they end.
                for number, drawn in enumerate(itertools.islice(pages, count)):
                    for end, data in drawn.files.items():
                        if end not in joined:
                            joined[end] = opened.enter_context(_joined(partial(end), count))
                        joined[end](data)
                    if drawn.probabilities is not None:
                        with open(partial(arrays[number]), "wb") as file:
                            # To a file itself, NumPy would not say why it cannot be written.
                            np.save(SimpleNamespace(write=file.write), drawn.probabilities)
                    rows += [(number, *row) for row in drawn.rows]
                    objects_found += [(number, *row) for row in drawn.objects]
                    doubts = [*doubts, drawn.doubt] if drawn.doubt else doubts
                    doubts = sorted(doubts, key=lambda doubt: doubt[0])[: self._uncertain]
                    lines.append(drawn.line)
            if len(lines) < count:
                return []
            self._publish(source, base, count, partials, rows, objects_found)
        self._doubts = doubts
        return lines

    def draw_uncertain(self, names, palette) -> None:
        """Draws the images of which the model is least certain; not where none was written."""
        if self._doubts:
            cells = [
                (*arrays, f"{number}. {caption}")
                for number, (_, arrays, caption) in enumerate(self._doubts, 1)
            ]
            sheet = Image.fromarray(sheets.uncertain(cells, names, palette))
            about = PngImagePlugin.PngInfo()
            about.add_text("Software", _WRITER)
            with replacing(self._folder / UNCERTAIN) as partial:
                sheet.save(partial, "PNG", pnginfo=about, compress_level=1)

    def _publish(self, source, base, count, partials, rows, objects_found):
        """Gives the files of an input their names, and lists them instead of its old ones."""
        file = as_text(os.path.realpath(source.path))
        with self._table.locked():
            self._objects.refresh()
            old, chosen = self._old(file, base)
            if not chosen or not self._is_free(chosen, count, file, old):
                tried = self._numbers.setdefault((base, count == 1), itertools.count(1))
                named = (base if number == 1 else f"{base}-{number}" for number in tried)
                chosen = next(name for name in named if self._is_free(name, count, file, old))
            names = [f"{chosen}_{end}" for end in partials]
            kinds = dict.fromkeys(re.sub(r"_\d+\.npy", ".npy", end) for end in partials)
            about = self._relative(names[0]), " ".join(list(kinds)[1:])
            with contextlib.ExitStack() as undo:
                undo.enter_context(self._table.listing(file, [(*row, *about) for row in rows]))
                undo.enter_context(self._objects.listing(file, objects_found))
                with contextlib.ExitStack() as renamed:
                    for partial, name in zip(partials.values(), names, strict=True):
                        os.replace(partial, name)
                        renamed.callback(os.unlink, name)
                    renamed.pop_all()
            for name in old - set(names):
                Path(name).unlink(missing_ok=True)
        stem = Path(chosen).name
        if stem != source.path.stem:
            note = f"{source.path}: the files are {stem}_*, its own name being taken."
            tqdm.write(one_line(note), file=sys.stderr)

    def _old(self, file, base):
        """The files that the table lists for an input, and their name if it is of this kind."""
        last, mask, others = self._table.last.get(file, (0, "", ""))
        if not mask:
            return set(), None
        name, _, suffix = mask.rpartition("_mask.")
        same = re.fullmatch(re.escape(self._relative(base)) + r"(|-\d+)", name)
        name = base + same[1] if same else str(self._folder / name)
        ends = _ends([f"mask.{suffix}", *others.split()], 1 + last)
        return {f"{name}_{end}" for end in ends}, name if same else None

    def _is_free(self, name, count, file, old):
        ends = _SINGLE if count == 1 else _STACK
        paths = [f"{name}_{end}" for end in _ends(ends, count)]
        owner = self._table.owners.get(self._relative(paths[0]), file)
        return owner == file and not any(os.path.lexists(p) and p not in old for p in paths)

    def _relative(self, path):
        return as_text(Path(path).relative_to(self._folder).as_posix())


def _is_own(path):
    """Whether predict.py wrote a PNG file."""
    with contextlib.suppress(Exception), Image.open(path) as image:
        return image.info.get("Software") == _WRITER
    return False


def _ends(ends, count):
    """The ends of the names of an input's files: a stack has probabilities for each page."""
    numbers = [f"_{n:0{len(str(count - 1))}}." for n in range(count)] if count > 1 else ["."]
    return [
        end.replace(".", number)
        for end in ends
        for number in (numbers if end.endswith("npy") else ["."])
    ]


class _Stack(TiffImagePlugin.AppendingTiffWriter):
    """Joins pages; looks for the last one only behind the one before, not from the first on."""

    _last = None

    def skipIFDs(self):
        if self._last:
            self.f.seek(self._last)
        super().skipIFDs()
        self._last = self.whereToWriteNewIFDOffset


@contextlib.contextmanager
def _joined(path, count):
    """Gives a function that adds the bytes of a page to a file, a TIFF if there are several."""
    with open(path, "w+b") as file:
        stack = _Stack(file) if count > 1 else None

        def add(data):
            try:
                (stack or file).write(data)
                if stack:
                    stack.newFrame()
            except struct.error as error:  # its numbers have 32 bits
                raise OSError("more than the 4 GB that a TIFF file can have") from error

        yield add
