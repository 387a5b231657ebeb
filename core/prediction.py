"""From pictures in files to masks and overlays in files."""

import contextlib
import dataclasses
import itertools
import sys
from collections import deque

import numpy as np
from tqdm import tqdm

from core.errors import UserError, one_line
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
        tta: whether to average over mirror images and turns, see `inference.predict`.
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
                files = Files(output, source, count, config.palette, taken)
            except UserError as error:
                failures[source.path] = error
                continue
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
        drawn = [mask, overlay(page.image, mask, config.palette, alpha)]
        drawn.append(answer.probabilities() if probabilities else None)
        page.image = None
        if page.files.pages == 1:
            with page.files.open(probabilities) as write:
                write(*drawn)
            drawn = None
        return page, drawn, f"{page.name}: {summary(mask, config.names)}"

    drawn_pages = mapped(draw, answers(), ahead)
    for files, group in itertools.groupby(drawn_pages, key=lambda entry: entry[0].files):
        lines = []
        try:
            stack = files.open(probabilities) if files.pages > 1 else contextlib.nullcontext()
            with stack as write:
                for _, drawn, line in group:
                    if write:
                        write(*drawn)
                    lines.append(line)
                if files.source.path in failures:
                    raise _Unfinished
        except _Unfinished:
            continue
        if files.stem != files.source.path.stem:
            note = f"{files.source.path}: the files are {files.stem}_*, its own name being taken."
            tqdm.write(one_line(note), file=sys.stderr)
        yield from map(one_line, lines)
