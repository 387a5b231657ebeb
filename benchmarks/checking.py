"""What --check-data costs beside decoding the files: python -m benchmarks.checking --help."""

import argparse

from benchmarks.common import Row, in_turns, show
from core.config import VOC_HOME, Config
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares the pairs per second of train.py --check-data, start-up aside, with "
        "those of only decoding images and masks, with as many threads.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--images", type=whole_number(1), metavar="N", default=3000, help="at most")
    parser.add_argument("--workers", type=whole_number(1), metavar="N", default=2)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    return parser.parse_args()


def main():
    """Measures."""
    args = get_args()
    backend.start()
    from core.evaluation.check import survey
    from core.imaging.image import read_mask
    from core.imaging.intensity import read_image
    from core.sources.choose import open_dataset
    from core.support.threads import mapped

    config = Config(data=args.data, workers=args.workers)
    datasets = [open_dataset(config, split) for split in ("train", "val")]
    for dataset in datasets:
        dataset.image_info = dataset.image_info[: args.images // 2]
    infos = [info for dataset in datasets for info in dataset.image_info]

    def decode():
        def both(info):
            read_image(info["image_path"])
            read_mask(info["mask_path"])

        for _ in mapped(both, infos, 4 * args.workers, args.workers):
            pass

    def check():
        for dataset in datasets:
            survey(dataset)

    seconds = in_turns({"checking": check, "decoding": decode}, args.rounds)
    rates = ([len(infos) / s for s in times] for times in seconds.values())
    show([Row("pairs per second of --check-data / only decoding", *rates, "", "1/s")], "numpy")


if __name__ == "__main__":
    errors.run(main)
