"""The files of a prediction: their names, and how they are written.

Every mask and overlay carries a note of the picture that it was made from, so that only what was
written for the same picture is ever replaced.
"""

import contextlib
import glob
import hashlib

import numpy as np
from PIL import Image, TiffImagePlugin

from core.files import replacing
from core.image import palette_image, read_note, write_image


class Files:
    """The files of one input: NAME_mask, NAME_overlay and NAME_probabilities.

    Where these names belong to something else, NAME-2 takes their place, then NAME-3.

    Args:
        output: the folder of all predictions.
        source: a `core.pictures.Source`.
        pages: how many pages it has; more than one make TIFF files with as many, else PNG files.
        palette: the classes' colours.
        taken: the set of names that this run has given away; this one's is added.
    """

    def __init__(self, output, source, pages, palette, taken):
        self.source = source
        self.folder = output / source.folder
        self.pages = pages
        self.palette = palette
        self.note = hashlib.sha256(str(source.path.resolve()).encode()).hexdigest()[:16]
        self.suffix = ".png" if pages == 1 else ".tif"
        self.stem = source.path.stem
        number = 1
        while self.path("mask") in taken or not self._free():
            number += 1
            self.stem = f"{source.path.stem}-{number}"
        taken.add(self.path("mask"))

    def path(self, kind):
        """Returns the path of the mask or the overlay."""
        return self.folder / f"{self.stem}_{kind}{self.suffix}"

    def write(self, mask, overlay):
        """Writes mask, uint8 `[H, W]`, and overlay, uint8 `[H, W, 3]`, of a picture."""
        write_image(self.path("mask"), palette_image(mask, self.palette), self.note)
        write_image(self.path("overlay"), Image.fromarray(overlay), self.note)

    @contextlib.contextmanager
    def stack(self):
        """Gives a function like `write` that adds a page; if the block fails, nothing is left."""
        with (
            self._tiff("mask") as add_mask,
            self._tiff("overlay") as add_overlay,
        ):

            def write(mask, overlay):
                add_mask(palette_image(mask, self.palette))
                add_overlay(Image.fromarray(overlay))

            yield write

    def write_probabilities(self, probabilities, page):
        """Writes the class probabilities of a picture or a page, `[H, W, K]`, as float16."""
        number = "" if self.pages == 1 else f"_{page:0{len(str(self.pages - 1))}}"
        with replacing(self.folder / f"{self.stem}_probabilities{number}.npy") as partial:
            np.save(partial, probabilities.astype(np.float16, copy=False))

    @contextlib.contextmanager
    def _tiff(self, kind):
        with (
            replacing(self.path(kind)) as partial,
            TiffImagePlugin.AppendingTiffWriter(partial, new=True) as file,
        ):

            def add(image):
                image.save(file, "TIFF", compression="tiff_adobe_deflate", description=self.note)
                file.newFrame()

            yield add

    def _free(self):
        """Whether the files are not there, or were written for the same picture."""
        there = [self.path(kind) for kind in ("mask", "overlay") if self.path(kind).exists()]
        if there:
            return all(read_note(path) == self.note for path in there)
        return not list(self.folder.glob(f"{glob.escape(self.stem)}_probabilities*.npy"))
