"""Large images, shrunk once and kept, so that training does not wait for their files."""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.imaging.letterbox import shrink
from core.support.errors import one_line

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
    """Keeps shrunk images with their masks: in memory, and beyond that in a file.

    The file has no name. So it is gone when the program ends, however it ends. Pairs that find no
    room are read anew each time. Threads may share a store, and so may data sets.

    Args:
        memory: bytes of memory; None: a quarter of all.
        disk: bytes of the file; None: half of what is free in the folder.
        folder: where the file lies; None: the system's folder for temporary files.
    """

    def __init__(self, memory: int | None = None, disk: int | None = None, folder=None):
        self.memory = total_memory() // 4 if memory is None else memory
        self.disk = disk
        self.folder = folder or tempfile.gettempdir()
        self._pairs = {}  # in memory
        self._places = {}  # in the file: where a pair begins, and the shape and dtype of its parts
        self._file = None
        self._lock = threading.Lock()

    def shrunk(self, key: Hashable, load: Callable, *size_and_ratio) -> tuple:
        """Returns an image and its mask as `shrink` makes them; keeps them if they are smaller.

        Args:
            key: stands for the pair and all that its reading depends on.
            load: reads the pair.
            *size_and_ratio: the arguments of `shrink`.
        """
        pair = self._get(key)
        if pair is None:
            image, mask = load()
            pair = shrink(image, mask, *size_and_ratio)
            if pair[1] is not mask:
                with self._lock:
                    self._keep(key, [np.array(part, order="C") for part in pair])
        return pair

    def _get(self, key):
        """A copy of a pair, which its user may change; None if it is not kept."""
        if key in self._pairs:
            return tuple(part.copy() for part in self._pairs[key])
        if key not in self._places:
            return None
        start, kinds = self._places[key]
        pair = tuple(np.empty(*kind) for kind in kinds)
        with self._lock:
            self._file.seek(start)
            whole = all(self._file.readinto(part) == part.nbytes for part in pair)
        return pair if whole else None

    def _keep(self, key, pair):
        size = sum(part.nbytes for part in pair)
        if key in self._pairs or key in self._places:
            return  # another thread was quicker
        if size <= self.memory:
            self.memory -= size
            self._pairs[key] = pair
            return
        try:
            if self.disk is None:
                self.disk = shutil.disk_usage(self.folder).free // 2
            if size > self.disk:
                return
            self._file = self._file or self._open()
            start = self._file.seek(0, os.SEEK_END)
            if all(self._file.write(part) == part.nbytes for part in pair):
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
