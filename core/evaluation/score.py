"""Scoring a model on a data set."""

import contextlib
import dataclasses

import keras
import numpy as np
from tqdm import tqdm

from core.config import ISBI_CLASSES, Config
from core.dataset import Dataset
from core.evaluation.metrics import ABSENT, ConfusionMatrix, judge
from core.evaluation.segments import slice_scores
from core.imaging.letterbox import letterbox, placement
from core.imaging.mask import check_palettes
from core.prediction.inputs import Intensity
from core.prediction.predict import answers
from core.support.errors import UserError
from core.support.threads import mapped

WORST = 8  # so many images are kept for worst.png


@dataclasses.dataclass
class Evaluation:
    """What `score` finds."""

    matrix: ConfusionMatrix  # of all images
    worst: list  # tuples of own matrix, name, image, truth and prediction, the lowest MIoU first
    segments: list | None  # `segments.slice_scores` of each slice for membrane models


def set_range(dataset: Dataset, known: tuple | None, given: tuple | None) -> None:
    """Gives a data set the range of a model, see `Intensity`.

    Of its images, nine at most are tried, and it is said if these are of quite another range.
    """
    intensity = Intensity(known, given)
    pages = [(info["image_path"], info.get("page", 0)) for info in dataset.image_info]
    for path, page in pages:
        intensity.look(path, page)
    for path, page in pages[:: 1 + len(pages) // 9]:
        with contextlib.suppress(UserError):  # the message comes when it is scored
            intensity.read(path, page, dataset.channels)
    intensity.close()
    dataset.set_intensity(intensity.range)


def score(
    model: keras.Model, dataset: Dataset, config: Config, protocol: str, batch_size=8, **options
) -> Evaluation:
    """Runs a data set through a model and compares.

    Reading and comparing run in threads beside the network. Memory does not grow with the number of
    images. The model and its `config` come from `load_model`; for the `protocol` see
    `core.evaluation.metrics.judge`, for `batch_size`, `tile` and `tta` see `predict`.

    Raises:
        UserError: if a pair cannot be used, no pixel of the masks has a class, or the masks'
            palettes contradict each other.
    """
    count = len(dataset.image_info)
    batch_size = min(batch_size, count)
    cells = config.names == ISBI_CLASSES
    matrix = ConfusionMatrix(config.num_classes, ABSENT[protocol])
    found = Evaluation(matrix, [], [] if cells else None)

    def compare(answered):
        (image, mask), answer = answered
        truth, prediction = judge(answer, mask, protocol)
        own = ConfusionMatrix(config.num_classes)  # absent classes do not count here
        own.add(truth, prediction)
        scores = slice_scores(answer.probabilities()[..., 1], mask) if cells else None
        shown = image, truth, prediction
        if protocol == "letterbox":  # without the padding
            top, left, height, width = placement(image.shape, config.size)
            shown = letterbox(image, config.size), truth, prediction
            shown = (array[top : top + height, left : left + width] for array in shown)
        return own, scores, tuple(shown)

    options |= {"batch_size": batch_size, "keep": np.float32 if cells else None}
    pairs = mapped(dataset.load, range(count), batch_size, dataset.workers)
    answered = answers(model, pairs, config, **options)
    compared = mapped(compare, answered, batch_size, dataset.workers)
    shown = tqdm(compared, "Evaluating", count, unit="image", disable=None)
    for index, (own, scores, arrays) in enumerate(shown):
        matrix.counts += own.counts
        if cells:
            found.segments.append(scores)
        if not np.isnan(own.mean_iou):
            found.worst.append((own, dataset.name(index), *arrays))
            found.worst = sorted(found.worst, key=lambda entry: entry[0].mean_iou)[:WORST]
    if not matrix.counts.any():
        raise UserError(
            f"{dataset.image_info[0]['mask_path']}: this mask and all others hold nothing but 255 "
            "(ignored). Give masks with classes to score on."
        )
    check_palettes(dataset.palettes, dataset.where)
    return found
