"""What keeps files from being read again: an index of what is known, and large images, shrunk."""

import contextlib
import functools
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Hashable
from pathlib import Path

import cv2
import numpy as np
import PIL
from tqdm import tqdm

from core.imaging.letterbox import larger, shrink
from core.support.errors import one_line
from core.support.files import replacing

INDEX_FILE = "index.json.gz"
# What a container may use; "max", or a number beyond all memory, is no limit.
_LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"


def total_memory() -> int:
    """Returns the bytes of memory of the machine, or of the container that this runs in."""
    found = [4 << 30]  # where nothing tells, as on Windows
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        with contextlib.suppress(ValueError, OSError):
            found.append(int(Path(path).read_text()))
    return max(0, min(found))


class Store:
    """Keeps large images, mostly shrunk, with their masks: in memory, and beyond that in a file.

    The file has no name. So it is gone when the program ends, however it ends. Pairs that find no
    room are read anew each time. Threads may share a store, and so may data sets.

    Args:
        memory: bytes of memory; None: a quarter of all.
        disk: bytes of the file; None: half of what is free in the folder.
        folder: where the file lies; None: the system's folder for temporary files.
        users: how many processes may share the machine, and so the quarter of its memory.
    """

    def __init__(self, memory: int | None = None, disk: int | None = None, folder=None, users=1):
        self.memory = total_memory() // (4 * users) if memory is None else memory
        self.disk = disk
        self.folder = folder or tempfile.gettempdir()
        self._pairs = {}  # in memory
        self._places = {}  # in the file: where a pair begins, and the shape and dtype of its parts
        self._file = None
        self._lock = threading.Lock()

    def shrunk(self, key: Hashable, load: Callable, size, ratio: float) -> tuple:
        """Returns an image and its mask as `shrink` makes them; keeps them if they are smaller.

        Args:
            key: stands for the pair and all that its reading depends on.
            load: reads the pair.
            size: a canvas, `(height, width)`, as for `shrink`.
            ratio: pairs that are so many times larger are kept.
        """
        return self._kept(key, load, lambda pair: shrink(*pair, size, ratio), size, ratio)

    def whole(self, key: Hashable, load: Callable, size, ratio: float) -> tuple:
        """Returns an image and its mask as they are; keeps large ones, in memory only.

        The arguments are those of `shrunk`. A file of such pairs might fill the disk.
        """
        return self._kept(key, load, tuple, size, ratio, disk=False)

    def _kept(self, key, load, change, size, ratio, disk=True):
        pair = self._get(key)
        if pair is None:
            loaded = load()
            pair = change(loaded)
            if larger(loaded[1].shape, size, ratio):
                with self._lock:
                    self._keep(key, pair, disk)
        return pair

    def clear(self) -> None:
        """Lets everything go, and keeps no more."""
        with self._lock:
            self.memory = self.disk = 0
            self._pairs, self._places = {}, {}
            if self._file:
                self._file.truncate(0)

    def _get(self, key):
        """A copy of a pair, which its user may change; None if it is not kept."""
        if pair := self._pairs.get(key):
            return tuple(part.copy() for part in pair)
        if not (place := self._places.get(key)):
            return None
        start, kinds = place
        pair = tuple(np.empty(*kind) for kind in kinds)
        with self._lock:
            self._file.seek(start)
            whole = all(self._file.readinto(part) == part.nbytes for part in pair)
        return pair if whole else None

    def _keep(self, key, pair, disk):
        size = sum(part.nbytes for part in pair)
        if key in self._pairs or key in self._places:
            return  # another thread was quicker
        if size <= self.memory:
            self.memory -= size
            self._pairs[key] = [np.array(part, order="C") for part in pair]
            return
        if not disk:
            return
        try:
            if self.disk is None:
                self.disk = shutil.disk_usage(self.folder).free // 2
            if size > self.disk:
                return
            self._file = self._file or self._open()
            start = self._file.seek(0, os.SEEK_END)
            parts = map(np.ascontiguousarray, pair)
            if all(self._file.write(part) == part.nbytes for part in parts):
                self.disk -= size
                self._places[key] = start, [(part.shape, part.dtype) for part in pair]
        except OSError:  # the disk is full, or cannot be written to
            self.disk = 0

    def _open(self):
        file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        note = (
            "Large images are kept shrunk while this program runs: those beyond a quarter of the "
            f"memory in {self.folder}, at most {self.disk / 1e9:.1f} GB. Set TMPDIR for "
            "another folder."
        )
        tqdm.write(one_line(note), file=sys.stderr)
        return file


class Index:
    """Remembers what was found in files, until these change.

    A result counts only for the same path, size and time of change of each file, the same settings,
    and the same code: that of `core/` and the versions of the libraries that read images. A
    damaged index is ignored. `changed` has the images that are others than at the last start, or
    whose masks are, once the data has been checked.

    Args:
        folder: the run's folder; what an earlier start saved there is known.
        write: whether to save; of several processes only one does.
    """

    def __init__(self, folder: Path | str, write: bool = True):
        self.path = Path(folder, INDEX_FILE)
        self.write = write
        self._new = False  # whether there is something to save
        self.changed = set()
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
        key, files = _text([kind, infos[0]]), _digest(_text([s[:2] for s in states]).encode())
        state = _digest(_text([_code(), infos, states, settings]).encode())
        known = self._rows.get(key)
        before = known[2:] if known else []  # also of an index from before this was kept
        if kind == "check" and before not in ([], [files]):
            self.changed.add(str(paths[0]))
        if not known or known[0] != state:
            known = self._rows[key] = [state, json.loads(_text(function())), files]
            self._new = True
        return known[1]

    def save(self) -> None:
        """Writes what is new; raises a UserError if it cannot be written."""
        if self.write and self._new:
            with replacing(self.path) as partial:
                text = json.dumps(self._rows, separators=(",", ":"))
                partial.write_bytes(gzip.compress(text.encode(), compresslevel=1))
            self._new = False


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
