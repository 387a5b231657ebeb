"""What the canvas alone costs: scores the true masks, fitted into it and mapped back.

No network that works on this canvas can be expected to score higher: python -m benchmarks.resizing
--help.
"""

import argparse

import numpy as np
from tqdm import tqdm

from core.config import IGNORE, VOC_CLASSES, VOC_HOME, Config
from core.evaluation.metrics import ConfusionMatrix
from core.evaluation.report import block
from core.imaging.letterbox import letterbox_mask
from core.prediction.predict import OnCanvas
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--val-list", metavar="FILE", help="default: VOC's own or SBD's val")
    parser.add_argument(
        "--size", nargs=2, type=whole_number(1), metavar=("H", "W"), default=(320, 320)
    )
    return parser.parse_args()


def main():
    """Measures."""
    args = get_args()
    backend.start()
    from core.sources.choose import open_dataset

    dataset = open_dataset(Config(data=args.data, val_list=args.val_list), "val")
    classes = len(VOC_CLASSES)
    matrix = ConfusionMatrix(classes)
    votes = np.zeros((256, classes), np.float32)
    votes[:classes] = np.eye(classes)  # pixels of 255 vote for no class
    assert not votes[IGNORE].any()
    for index in tqdm(range(len(dataset.image_info)), unit="image"):
        mask = dataset.read_mask(index)
        matrix.add(mask, OnCanvas(votes[letterbox_mask(mask, args.size)], mask.shape).class_map())
    print(block(matrix, VOC_CLASSES))


if __name__ == "__main__":
    errors.run(main)
