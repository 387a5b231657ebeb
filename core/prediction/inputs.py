"""Which images a user means, and how a model is to look at them."""

import dataclasses
import glob
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.config import BYTES
from core.imaging.image import describe, read_values
from core.imaging.intensity import as_image, beyond, finite_values, in_words
from core.support.errors import UserError, one_line
from core.support.pairs import SUFFIXES, walk

PREDICTIONS = "predictions"  # the folder for the predictions of all models
USUAL = (255, 4095, 65535)  # the most that cameras of 8, 12 and 16 bits give


@dataclasses.dataclass(frozen=True)
class Source:
    """A file to predict."""

    path: Path
    folder: Path = Path()  # where it lies below the folder that the user named


def folder_for(weights: Path) -> Path:
    """Returns the folder for the predictions of a model: `predictions/` and its run's name.

    A model that is not in a run has its file's name there, and `last.keras` both.
    """
    run = weights.parent.resolve().name
    names = {"best.keras": run, "last.keras": f"{run}-last"}
    return Path(PREDICTIONS, names.get(weights.name, weights.stem))


def collect(inputs, output, left_out=None, hidden=None):
    """Returns the images that are meant, each once, or raises a UserError.

    Args:
        inputs: names of files, of folders (all images in and below them, in order; hidden ones
            are left out), and patterns such as `*.jpg`.
        output: the folder for the predictions, which is never gone into, and must not be one of
            the images' own.
        left_out: a list that receives the files in these folders that are no images.
        hidden: another folder that is never gone into, by default the output.
    """
    left_out = [] if left_out is None else left_out
    output, hidden = _real(output), _real(hidden or output)
    found = {}
    for name in map(str, inputs):
        matches = [Path(name)]
        if not os.path.lexists(name):
            matches = map(Path, sorted(glob.glob(name, recursive=True)))
            matches = [match for match in matches if hidden not in _real(match).parents]
            if not matches:
                raise UserError(f"{name or repr(name)}: there is no such file or folder.")
        for match in matches:
            for source in _walk(match, hidden, left_out) if match.is_dir() else [Source(match)]:
                found.setdefault(_real(source.path), source)
    folders = {real.parent: source.path for real, source in found.items()}
    for target in {_real(output / source.folder) for source in found.values()}:
        if target in folders:
            raise UserError(
                f"{target}: {folders[target]} lies there, and predictions would. Name another "
                "folder with --output."
            )
    return list(found.values())


def _real(path):
    return Path(os.path.realpath(path))


def _walk(top, hidden, left_out):
    """The images in and below a folder."""
    found = []
    for folder, files in walk(top, None if hidden == _real(top) else hidden):
        for path in files:
            if path.suffix.lower() not in SUFFIXES:
                left_out.append(path)
            elif path.is_file() or path.is_symlink():
                found.append(Source(path, folder.relative_to(top)))
    if not found:
        raise UserError(f"{top}: this folder has no images ({', '.join(sorted(SUFFIXES))}).")
    return found


class Intensity:
    """The range of a model, for images that it is given.

    A model that was trained on images of 8 bits says nothing about others. For these, the first
    one decides once: the range is the smallest of 0..255, 0..4095 and 0..65535 (for floating point
    also 0..1) that holds 99.9 % of its values.

    Args:
        known: the range that the model was trained on; None for models of version 0.1.
        given: the range that the user names instead, or None.

    Attributes:
        range: the values that become 0 and 255.
    """

    def __init__(self, known: tuple | None, given: tuple | None = None):
        self.range = tuple(given or known or BYTES)
        self._bytes = self.range == BYTES
        self._open = self._bytes and not given
        self._read, self._narrow, self._beyond = 0, [], []
        if given:
            _say(in_words(self.range))

    def look(self, path, page: int = 0) -> None:
        """Looks at an image before it is read; call it in the order of the images."""
        if not self._open:
            return
        try:
            if not describe(path, page)[0]:
                return
            values = finite_values(_sample(read_values(path, page)[0]))
        except UserError:  # the message comes when it is read
            return
        self._open = False
        low, high = np.percentile(values, (0.1, 99.9)) if values.size else (0, 1)
        usual = (1, *USUAL) if values.dtype.kind == "f" else USUAL
        top = next((top for top in usual if high <= top), None)
        self.range = (0, top) if top else (float(low), float(high))
        _say(
            f"{path}: has more than 8 bits, unlike the training images. {in_words(self.range)} If "
            "that is not their range, name it with --intensity LOW HIGH."
        )

    def read(self, path, page: int, channels: int, half: bool = False) -> np.ndarray:
        """Reads an image, uint8 `[H, W, channels]`; keeps in mind whether its range is another.

        With `half`, a JPEG may come in half its size, see `read_values`.
        """
        values, white_is_zero = read_values(path, page, half and self._bytes)
        self._read += 1
        if values.dtype != np.uint8 or not self._bytes:
            low, high = self.range
            finite = finite_values(_sample(values))
            if 2 * beyond(finite, self.range).sum() > finite.size:
                self._beyond.append(path)
            elif finite.size and np.ptp(finite.astype(float)) < 0.02 * (high - low):
                self._narrow.append(path)
        return as_image(values, white_is_zero, channels, self.range)

    def close(self) -> None:
        """Says once which images were of quite another range.

        One without contrast may be as dark as it looks; most are not.
        """
        strange = self._beyond + self._narrow * (2 * len(self._beyond + self._narrow) > self._read)
        if strange:
            first, *others = sorted(set(map(str, strange)))
            and_others = f" and {len(others)} more images" if others else ""
            _say(
                f"{first}{and_others}: the values are of quite another range than the model knows. "
                f"{in_words(self.range)} Name their own range with --intensity LOW HIGH."
            )


def _sample(values):
    """Of large images every few values, which are enough for a share of them."""
    step = 1 + max(values.shape) // 4096
    return values[::step, ::step]


def _say(note):
    tqdm.write(one_line(note), file=sys.stderr)
