"""Scoring a model on a data set."""

import dataclasses
import heapq
from collections import deque

import numpy as np
from tqdm import tqdm

from core.config import ISBI_CLASSES
from core.evaluation.metrics import ConfusionMatrix, confusion_matrix, judge
from core.evaluation.segments import slice_scores
from core.imaging.letterbox import letterbox
from core.prediction.predict import predict
from core.support.errors import UserError
from core.support.threads import mapped


@dataclasses.dataclass
class Evaluation:
    """What `score` finds.

    Attributes:
        matrix: the `ConfusionMatrix` of all pictures.
        worst: the pictures with the lowest own MIoU, lowest first: tuples of own MIoU, name,
            picture, truth and prediction.
        segments: of membrane models, what `segments.slice_scores` says of each slice; None for
            others.
    """

    matrix: ConfusionMatrix
    worst: list
    segments: list | None


def score(model, dataset, config, protocol, *, tile=False, tta=False, batch_size=8, worst=8):
    """Runs a data set through a model and compares.

    Reading, and the comparing of what has been predicted, go on beside the network. What is kept
    does not grow with the number of pictures.

    Args:
        model: from `load_model`.
        dataset: a `Dataset`.
        config: the model's `Config`.
        protocol: "voc" or "letterbox", see `core.evaluation.metrics.judge`.
        tile: whether to cut pictures into tiles, see `core.prediction.predict.predict`.
        tta: whether to average over mirror images and turns, see `inference.predict`.
        batch_size: pictures in a batch.
        worst: how many of the pictures with the lowest own MIoU to keep.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: for a pair that cannot be used, and if no pixel of the masks has a class.
    """
    count = len(dataset.image_info)
    batch_size = min(batch_size, count)
    found = Evaluation(
        confusion_matrix(config.num_classes, protocol),
        [],
        [] if config.names == ISBI_CLASSES else None,
    )
    lowest = []  # a heap with the best of the worst on top
    given = deque()  # pairs that the network has been given and not yet answered

    def images():
        for pair in mapped(dataset.load, range(count), batch_size, dataset.workers):
            given.append(pair)
            yield pair[0]

    def answers():
        keep = None if found.segments is None else np.float32
        options = {"tile": tile, "tta": tta, "batch_size": batch_size, "keep": keep}
        for answer in predict(model, images(), config, **options):
            yield (*given.popleft(), answer)

    def compare(answered):
        image, mask, answer = answered
        truth, prediction = judge(answer, mask, protocol)
        own = ConfusionMatrix(config.num_classes)  # classes that a picture lacks are left out
        own.add(truth, prediction)
        segments = None
        if found.segments is not None:
            segments = slice_scores(answer.probabilities()[..., 1], mask)
        shown = image if protocol == "voc" else letterbox(image, config.size)
        return own, segments, (shown, truth, prediction)

    compared = mapped(compare, answers(), batch_size, dataset.workers)
    for index, (own, segments, pictures) in enumerate(
        tqdm(compared, "Evaluating", count, unit="picture", disable=None)
    ):
        found.matrix.counts += own.counts
        if segments is not None:
            found.segments.append(segments)
        if not np.isnan(own.mean_iou):
            entry = (-own.mean_iou, -index, *pictures)
            (heapq.heappush if len(lowest) < worst else heapq.heappushpop)(lowest, entry)
    if not found.matrix.counts.any():
        raise UserError(
            f"{dataset.image_info[0]['mask_path']} and all other masks of the data hold nothing "
            "but 255, which means ignored: there is no truth to compare with."
        )
    lowest.sort(key=lambda entry: entry[:2], reverse=True)
    found.worst = [(-miou, dataset.name(-index), *rest) for miou, index, *rest in lowest]
    return found
