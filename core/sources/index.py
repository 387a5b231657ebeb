"""What is known about files: kept in a run's folder, so that the next start reads what changed."""

import functools
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL

from core.support.files import replacing

INDEX_FILE = "index.json.gz"


class Index:
    """Remembers what was found in files, until these change.

    A result counts only for the same path, size and time of change of each file, the same settings,
    and the same code: that of `core/` and the versions of the libraries that read images. A
    damaged index is ignored.

    Args:
        folder: the run's folder; what an earlier start saved there is known.
        write: whether to save; of several processes only one does.
    """

    def __init__(self, folder: Path | str, write: bool = True):
        self.path = Path(folder, INDEX_FILE)
        self.write = write
        self._changed = False
        try:
            self._rows = dict(json.loads(gzip.decompress(self.path.read_bytes())))
        except (OSError, EOFError, ValueError, TypeError, zlib.error):
            self._rows = {}

    def remember(self, kind: str, infos: list[dict], function: Callable, *settings):
        """Returns what a function finds in files, without calling it if that is known.

        Threads may call this. What the function raises is raised, and not remembered.

        Args:
            kind: a word for what is looked for.
            infos: entries of `Dataset.image_info`, whose images and masks are looked at.
            function: takes nothing and returns what JSON can hold.
            *settings: what else the result depends on, such as the canvas.

        Returns:
            The function's result as JSON gives it back: tuples become lists. Do not change it.
        """
        names = "image_path", "mask_path"
        paths = [info[name] for info in infos for name in names if name in info]
        try:  # before the file is read: what changes later is seen by the next start
            states = [(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in map(os.stat, paths)]
        except (OSError, TypeError, ValueError):
            return function()  # which says what is wrong, or knows another way to read
        if not paths:
            return function()
        key = _text([kind, infos[0]])
        state = _digest(_text([_code(), infos, states, settings]).encode())
        known = self._rows.get(key)
        if not known or known[0] != state:
            known = self._rows[key] = [state, json.loads(_text(function()))]
            self._changed = True
        return known[1]

    def save(self) -> None:
        """Writes what is new; raises a UserError if it cannot be written."""
        if self.write and self._changed:
            with replacing(self.path) as partial:
                text = json.dumps(self._rows, separators=(",", ":"))
                partial.write_bytes(gzip.compress(text.encode(), compresslevel=1))
            self._changed = False


def _text(value):
    """A value as JSON; arrays become lists, paths and other things text."""
    return json.dumps(value, default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v))


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:32]


@functools.cache
def _code():
    """A digest of what reads files: a change in there may change what is found."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    versions = f"{np.__version__} {cv2.__version__} {PIL.__version__}"
    return _digest(b"".join([versions.encode(), *(path.read_bytes() for path in sources)]))
