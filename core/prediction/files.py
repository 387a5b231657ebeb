"""From images in files, through a model, to masks and overlays in files."""

import contextlib
import functools
import itertools

import numpy as np

from core.imaging.image import count_pages
from core.imaging.intensity import Intensity
from core.prediction.outputs import Outputs, Page, check_name, draw
from core.prediction.predict import answers
from core.prediction.table import Table
from core.support.errors import UserError
from core.support.threads import mapped


def predict_files(
    model,
    config,
    palette,
    sources,
    output,
    failures,
    *,
    intensity=(None,),
    alpha=0.5,
    probabilities=False,
    **options,
):
    """Predicts files; reading and drawing go on beside the network.

    Args:
        model: from `load_model`.
        config: the model's `Config`.
        palette: `[K, 3]`, the classes' colours.
        sources: iterable of `Source`.
        output: the folder for the predictions, a Path.
        failures: a dictionary that receives, by path, the UserErrors of files that cannot be read.
        intensity: the arguments of `Intensity`.
        alpha: opacity of the overlay.
        probabilities: whether to write class probabilities, too.
        options: `tile`, `tta` and `batch_size` of `predict`.

    Yields:
        For each image, once its files are written, a line that says which classes it has.

    Raises:
        UserError: if the predictions cannot be written.
    """
    options["keep"] = np.float16 if probabilities else None
    ahead = 1 if options.get("tile") else options.get("batch_size", 8)  # large ones wait singly
    intensity = Intensity(*intensity)
    read = functools.partial(_read, intensity, channels=config.channels, failures=failures)
    drawing = functools.partial(
        draw, names=config.names, palette=palette, alpha=alpha, probabilities=probabilities
    )
    entries = filter(None, mapped(read, _pages(sources, failures, intensity), ahead))
    drawn = mapped(drawing, answers(model, entries, config, **options), ahead)
    with contextlib.closing(Table(output)) as table:
        outputs = Outputs(output, table)
        for (source, count), pages in itertools.groupby(drawn, lambda drawn: drawn.page[:2]):
            yield from outputs.write(source, count, pages)
    intensity.close()


def _pages(sources, failures, intensity):
    """The pages of all files, as far as those can be opened."""
    for source in sources:
        try:
            count = count_pages(source.path)
            check_name(source, count)
            intensity.look(source.path)
        except UserError as error:
            failures[source.path] = error
        else:
            yield from (Page(source, count, number) for number in range(count))


def _read(intensity, page, channels, failures):
    """The image of a page and the page; None if it cannot be read or one before it could not."""
    path = page.source.path
    if path not in failures:
        try:
            return intensity.read(path, page.number, channels), page
        except UserError as error:
            failures.setdefault(path, error)
