"""From pictures in files to masks and overlays in files."""

import contextlib
import dataclasses
import itertools
import sys
from collections import deque

import numpy as np
from tqdm import tqdm

from core.errors import UserError
from core.image import count_pages, read_image
from core.inference import predict
from core.output import Files
from core.parallel import mapped
from core.visualize import overlay, summary


@dataclasses.dataclass
class Page:
    """A picture, or a page of a stack, on its way from its file to those of its prediction."""

    files: Files
    number: int
    image: np.ndarray | None = None

    @property
    def name(self):
        """What is printed for it."""
        number = f":{self.number}" if self.files.pages > 1 else ""
        return f"{self.files.source.path}{number}"


class _Unfinished(Exception):
    """Not all pages of a stack could be read."""


def predict_files(
    model,
    config,
    sources,
    output,
    *,
    tile=False,
    tta=False,
    batch_size=8,
    alpha=0.5,
    probabilities=False,
    failures=None,
):
    """Predicts files; reading, drawing and writing go on beside the network.

    Args:
        model: from `load_model`.
        config: the model's `Config`.
        sources: list of `core.pictures.Source`.
        output: the folder for the predictions, a Path.
        tile: whether to cut pictures into tiles, see `core.inference.predict`.
        tta: whether to average over flips and turns.
        batch_size: pictures in a batch.
        alpha: opacity of the overlay.
        probabilities: whether to write class probabilities, too.
        failures: a dictionary that receives the UserErrors of the files that cannot be read.

    Yields:
        For each picture, once its files are written, a line that says which classes it has.
    """
    failures = {} if failures is None else failures
    taken = set()
    waiting = deque()  # pages that the network has been given and not yet answered
    ahead = 1 if tile else batch_size  # large pictures wait one by one

    def pages():
        for source in sources:
            try:
                count = count_pages(source.path)
            except UserError as error:
                failures[source.path] = error
                continue
            files = Files(output, source, count, config.palette, taken)
            yield from (Page(files, number) for number in range(count))

    def read(page):
        try:
            page.image = read_image(page.files.source.path, config.channels, page.number)
        except UserError as error:
            failures.setdefault(page.files.source.path, error)
        return page

    def images():
        for page in mapped(read, pages(), ahead):
            if page.files.source.path not in failures:
                waiting.append(page)
                yield page.image

    def answers():
        options = {"tile": tile, "tta": tta, "batch_size": batch_size}
        keep = np.float16 if probabilities else None
        for answer in predict(model, images(), config, keep=keep, **options):
            yield waiting.popleft(), answer

    def draw(answered):
        page, answer = answered
        mask = answer.class_map()
        shown = overlay(page.image, mask, config.palette, alpha)
        page.image = None
        if probabilities:
            page.files.write_probabilities(answer.probabilities(), page.number)
        if page.files.pages == 1:
            page.files.write(mask, shown)
        return page, mask, shown

    drawn = mapped(draw, answers(), ahead)
    for files, group in itertools.groupby(drawn, key=lambda entry: entry[0].files):
        lines = []
        try:
            with files.stack() if files.pages > 1 else contextlib.nullcontext() as write:
                for page, mask, shown in group:
                    if write:
                        write(mask, shown)
                    lines.append(f"{page.name}: {summary(mask, config.names)}")
                if files.source.path in failures:
                    raise _Unfinished
        except _Unfinished:
            continue
        if files.stem != files.source.path.stem:
            note = f"{files.source.path}: the files are {files.stem}_*, its own name being taken."
            tqdm.write(note, file=sys.stderr)
        yield from lines
