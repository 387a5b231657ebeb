"""Scoring a model on a data set."""

import heapq
from collections import deque

import numpy as np
from tqdm import tqdm

from core.image import letterbox
from core.inference import predict
from core.metrics import ConfusionMatrix, confusion_matrix, judge


def score(model, dataset, config, protocol, batch_size=8, worst=8):
    """Runs a data set through a model and compares.

    Args:
        model: from `load_model`.
        dataset: a `Dataset`.
        config: the model's `Config`.
        protocol: "voc" or "letterbox", see `core.metrics.judge`.
        batch_size: pictures in a batch.
        worst: how many of the pictures with the lowest own MIoU to return.

    Returns:
        The `ConfusionMatrix` of all pictures, and a list of the worst ones, lowest first: tuples of
        own MIoU, name, picture, truth and prediction.
    """
    count = len(dataset.image_info)
    matrix = confusion_matrix(config.num_classes, protocol)
    lowest = []  # a heap with the best of the worst on top
    waiting = deque()  # pairs that the network has been given and not yet answered

    def images():
        for index in range(count):
            waiting.append(dataset.load(index))
            yield waiting[-1][0]

    scores = predict(model, images(), config.size, min(batch_size, count))
    for index, probabilities in enumerate(tqdm(scores, "Evaluating", count, unit="picture")):
        image, mask = waiting.popleft()
        truth, prediction = judge(probabilities, mask, protocol)
        own = ConfusionMatrix(config.num_classes)  # classes that a picture lacks are left out
        own.add(truth, prediction)
        matrix.counts += own.counts
        if not np.isnan(own.mean_iou):
            shown = image if protocol == "voc" else letterbox(image, config.size)
            entry = (-own.mean_iou, -index, shown, truth, prediction.astype(np.uint8))
            (heapq.heappush if len(lowest) < worst else heapq.heappushpop)(lowest, entry)
    lowest.sort(key=lambda entry: entry[:2], reverse=True)
    return matrix, [(-miou, dataset.name(-index), *rest) for miou, index, *rest in lowest]
