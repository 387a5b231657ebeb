"""The files of a prediction: their names, and how they are written.

Every mask and overlay carries a note of the picture that it was made from, so that only what was
written for the same picture is ever replaced.
"""

import contextlib
import glob
import hashlib
import os
import struct

import numpy as np
from PIL import Image, TiffImagePlugin

from core.imaging.image import palette_image, read_note, write_image
from core.support.errors import UserError
from core.support.files import replacing

_LONGEST = 255  # bytes in a file's name, on the usual file systems
_WITH_PROBABILITIES = "+"  # at the end of a note: the probabilities beside the mask are ours, too


class Files:
    """The files of one input: NAME_mask, NAME_overlay and NAME_probabilities.

    Where these names belong to something else, NAME-2 takes their place, then NAME-3.

    Args:
        output: the folder of all predictions.
        source: a `core.prediction.inputs.Source`.
        pages: how many pages it has; more than one make TIFF files with as many, else PNG files.
        palette: the classes' colours.
        taken: the set of names that this run has given away; this one's is added.

    Raises:
        UserError: if the input's name is too long.
    """

    def __init__(self, output, source, pages, palette, taken):
        self.source = source
        self.folder = output / source.folder
        self.pages = pages
        self.palette = palette
        path = os.fsencode(os.path.realpath(source.path))
        self.note = hashlib.sha256(path).hexdigest()[:16]
        self.suffix = ".png" if pages == 1 else ".tif"
        self.stem = source.path.stem
        if len(os.fsencode(f".{self.stem}-99_probabilities_{pages}-partial.npy")) > _LONGEST:
            raise UserError(f"{source.path}: its name leaves no room for those of its prediction.")
        number = 1
        while self.path("mask") in taken or not self._free():
            number += 1
            self.stem = f"{source.path.stem}-{number}"
        taken.add(self.path("mask"))

    def path(self, kind):
        """Returns the path of the mask or the overlay."""
        return self.folder / f"{self.stem}_{kind}{self.suffix}"

    @contextlib.contextmanager
    def open(self, probabilities=False):
        """Gives a function that writes a page: mask, overlay and probabilities or None.

        The mask is a uint8 `[H, W]`, the overlay a uint8 `[H, W, 3]`, the probabilities are a float
        `[H, W, K]` and are written as float16. All files are there at the end of the block; if it
        fails, none is.

        Args:
            probabilities: whether there will be some.
        """
        note = self.note + (_WITH_PROBABILITIES if probabilities else "")
        old = self._probabilities() if read_note(self.path("mask")) else []
        with contextlib.ExitStack() as together:
            files = [together.enter_context(replacing(self.path(k))) for k in ("mask", "overlay")]
            stacks = [together.enter_context(_tiff(f, note)) for f in files if self.pages > 1]
            written = []

            def write(mask, overlay, shares=None):
                images = (palette_image(mask, self.palette), Image.fromarray(overlay))
                for place, image in enumerate(images):
                    if stacks:
                        stacks[place](image)
                    else:
                        write_image(files[place], image, note, photograph=image.mode == "RGB")
                if shares is not None:
                    page = f"_{len(written):0{len(str(self.pages - 1))}}" if stacks else ""
                    written.append(self.folder / f"{self.stem}_probabilities{page}.npy")
                    np.save(
                        together.enter_context(replacing(written[-1])),
                        shares.astype(np.float16, copy=False),
                    )

            yield write
        for path in old:
            if path not in written:
                path.unlink(missing_ok=True)  # of a prediction that is no more

    def _free(self):
        """Whether the files are not there, or were written for the same picture."""
        there = [self.path(kind) for kind in ("mask", "overlay") if self.path(kind).exists()]
        notes = {read_note(path) for path in there}
        if self._probabilities():  # nothing but the notes beside them can tell whose they are
            return notes == {self.note + _WITH_PROBABILITIES}
        return notes <= {self.note, self.note + _WITH_PROBABILITIES}

    def _probabilities(self):
        """The files that have this name, of all pages."""
        if self.pages == 1:  # without going through the folder for every picture
            path = self.folder / f"{self.stem}_probabilities.npy"
            return [path] if path.exists() else []
        return list(self.folder.glob(f"{glob.escape(self.stem)}_probabilities*.npy"))


@contextlib.contextmanager
def _tiff(path, note):
    """Gives a function that adds a page to a TIFF file."""
    with open(path, "w+b") as file:
        stack = TiffImagePlugin.AppendingTiffWriter(file)

        def add(image):
            try:
                image.save(stack, "TIFF", compression="tiff_adobe_deflate", description=note)
                stack.newFrame()
            except struct.error as error:  # its numbers have 32 bits
                raise UserError(
                    f"{path}: would be larger than the 4 GB that a TIFF file can have. Split the "
                    "stack."
                ) from error

        yield add
        stack.close()
