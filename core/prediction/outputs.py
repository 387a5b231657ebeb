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
from typing import NamedTuple

import numpy as np
from PIL import TiffImagePlugin
from tqdm import tqdm

from core.config import BACKGROUND
from core.imaging.draw import class_shares, encode_image, legend, overlay, palette_image
from core.prediction.inputs import Source
from core.prediction.table import Table, as_text
from core.support.errors import UserError, one_line
from core.support.files import partial_file

_LONGEST = 255  # bytes in a file's name, on the usual file systems


class Page(NamedTuple):
    """An image of an input: the only one of its file, or a page of a stack."""

    source: Source
    count: int  # of the input's pages; more than one make TIFF files with as many, else PNG files
    number: int


class Drawn(NamedTuple):
    """What is written for a page, and said of it."""

    page: Page
    mask: bytes  # a PNG file, or a TIFF file of one page
    overlay: bytes
    probabilities: np.ndarray | None  # float16 `[H, W, K]`
    shares: list  # the classes that were found: tuples of name, pixels and share
    line: str  # what is printed


def draw(answered, names, palette, alpha, probabilities) -> Drawn:
    """Draws and encodes what is written for a page.

    `answered` is an image, uint8 `[H, W, C]`, with its `Page`, and what the network says of it, an
    `OnCanvas` or `OnTiles`. For the others see `predict_files`.
    """
    (image, page), answer = answered
    kind, number = ("PNG", "") if page.count == 1 else ("TIFF", f":{page.number}")
    mask = answer.class_map()
    shares = class_shares(mask, names)
    background = names[0].lower() in BACKGROUND
    laid = overlay(image, mask, palette, alpha, background)
    if page.count == 1:  # the pages of a stack lie on those of the image
        painted = {name for name, *_ in shares} - {names[0] if background else None}
        listed = [i for i, name in enumerate(names) if name in painted]
        laid = legend(laid, [names[i] for i in listed], [palette[i] for i in listed])
    found = ", ".join(f"{name} {share:.1%}" for name, _, share in shares)
    return Drawn(
        page,
        encode_image(palette_image(mask, palette), kind),
        encode_image(laid, kind, photograph=True),
        answer.probabilities().astype(np.float16, copy=False) if probabilities else None,
        shares,
        one_line(f"{page.source.path}{number}: {found}"),
    )


def check_name(source: Source, count: int):
    """Raises a UserError if the names of the prediction would be too long for the file system."""
    if len(os.fsencode(f"{source.path.stem}-99_probabilities_{count}.npy")) > _LONGEST:
        raise UserError(f"{source.path}: its name leaves no room for those of its prediction.")


class Outputs:
    """A folder of predictions, made when something is written, and its `Table`."""

    def __init__(self, folder: Path, table: Table):
        self._folder, self._table = folder, table
        self._numbers = {}  # the numbers that are left to try, by the name without one

    def write(self, source: Source, count: int, pages: Iterable[Drawn]) -> list[str]:
        """Writes the files of an input of `count` pages: all of them, or none if pages are missing.

        They are NAME_mask, NAME_overlay and NAME_probabilities. If files that are not this input's
        have these names, they become NAME-2, then NAME-3. It is a UserError if that fails.

        Returns:
            For each page the line to print; none if nothing was written.
        """
        base = str(self._folder / source.folder / source.path.stem)
        names = _names(base, count)
        lines, rows, partials = [], [], []
        with contextlib.ExitStack() as together:

            def partial():
                partials.append(together.enter_context(partial_file(names[len(partials)])))
                return partials[-1]

            with _joined(partial(), count) as add_mask, _joined(partial(), count) as add_overlay:
                # Without `count`, `pages` would wait for the next input before they end.
                for number, drawn in enumerate(itertools.islice(pages, count)):
                    add_mask(drawn.mask)
                    add_overlay(drawn.overlay)
                    if drawn.probabilities is not None:
                        np.save(partial(), drawn.probabilities)
                    rows += [(number, name, n, round(share, 6)) for name, n, share in drawn.shares]
                    lines.append(drawn.line)
            if len(lines) < count:
                return []
            self._publish(source, base, count, partials, rows)
        return lines

    def _publish(self, source, base, count, partials, rows):
        """Gives the files of an input their names, and lists them instead of its old ones."""
        file = as_text(os.path.realpath(source.path))
        with self._table.locked():
            old, chosen = self._old(file, base)
            if not chosen or not self._is_free(chosen, count, file, old):
                tried = self._numbers.setdefault((base, count == 1), itertools.count(1))
                named = (base if number == 1 else f"{base}-{number}" for number in tried)
                chosen = next(name for name in named if self._is_free(name, count, file, old))
            names = _names(chosen, count)[: len(partials)]
            about = self._relative(names[0]), "yes" if names[2:] else ""
            listing = self._table.listing(file, [(*row, *about) for row in rows])
            with listing, contextlib.ExitStack() as undo:
                for partial, name in zip(partials, names, strict=True):
                    os.replace(partial, name)
                    undo.callback(os.unlink, name)
                undo.pop_all()
            for name in old - set(names):
                Path(name).unlink(missing_ok=True)
        stem = Path(chosen).name
        if stem != source.path.stem:
            note = f"{source.path}: the files are {stem}_*, its own name being taken."
            tqdm.write(one_line(note), file=sys.stderr)

    def _old(self, file, base):
        """The files that the table lists for an input, and their name if it is of this kind."""
        mask, last, probabilities = self._table.masks.get(file, ("", 0, ""))
        if not mask:
            return set(), None
        name = mask.rpartition("_mask.")[0]
        same = re.fullmatch(re.escape(self._relative(base)) + r"(|-\d+)", name)
        name = base + same[1] if same else str(self._folder / name)
        names = _names(name, 1 + last)
        return set(names if probabilities else names[:2]), name if same else None

    def _is_free(self, name, count, file, old):
        names = _names(name, count)
        owner = self._table.owners.get(self._relative(names[0]), file)
        return owner == file and not any(os.path.lexists(p) and p not in old for p in names)

    def _relative(self, path):
        return as_text(Path(path).relative_to(self._folder).as_posix())


def _names(base, count):
    """The files of an input by the name `base`: mask, overlay, probabilities of each page."""
    suffix = ".png" if count == 1 else ".tif"
    numbers = [f"_{n:0{len(str(count - 1))}}" for n in range(count)] if count > 1 else [""]
    probabilities = [f"{base}_probabilities{number}.npy" for number in numbers]
    return [f"{base}_mask{suffix}", f"{base}_overlay{suffix}", *probabilities]


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
