"""What --check-data costs beside decoding the files: python -m benchmarks.checking --help."""

import argparse
import statistics
import time

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
    parser.add_argument("--workers", type=whole_number(1), metavar="N", default=2)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    return parser.parse_args()


def main():
    """Measures."""
    args = get_args()
    backend.start()
    from core.imaging.image import read_image, read_mask
    from core.sources.check import survey
    from core.sources.choose import open_dataset
    from core.support.threads import mapped

    config = Config(data=args.data, workers=args.workers)
    datasets = [open_dataset(config, split) for split in ("train", "val")]
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

    decode()  # brings the files into the system's cache
    ratios = []
    print("round  decoding/s  checking/s  ratio")
    for number in range(args.rounds):
        rates = {}
        for job in (decode, check) if number % 2 == 0 else (check, decode):
            start = time.perf_counter()
            job()
            rates[job] = len(infos) / (time.perf_counter() - start)
        ratios.append(rates[check] / rates[decode])
        print(f"{number + 1:5}  {rates[decode]:10.1f}  {rates[check]:10.1f}  {ratios[-1]:5.2f}")
    print(f"median ratio: {statistics.median(ratios):.3f} of {len(infos)} pairs")


if __name__ == "__main__":
    errors.run(main)
