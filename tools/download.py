"""Fetches PASCAL VOC 2012, SBD and ISBI 2012: python -m tools.download --help."""

import argparse
import contextlib
import hashlib
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from core.config import ISBI_STACKS
from core.support import errors
from core.support.errors import UserError
from core.support.files import check_folder
from core.support.flags import Parser
from tools import sbd
from tools.archive import BadArchive, check_python, locate, staging, unpack
from tools.fetch import fetch


class Home(NamedTuple):
    """Where an archive is published, and where its data goes below `--output`."""

    title: str
    folder: str
    url: str
    checksum: str | None  # None: not known


HOMES = {
    "voc": Home(
        "PASCAL VOC 2012",
        "VOCdevkit/VOC2012",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
    ),
    "sbd": Home(
        "VOC 2012 with SBD's masks",
        f"VOCdevkit/VOC2012/{sbd.MASKS}",
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
        "benchmark.tgz",
        "82b4d87ceb2ed10f6038a1cba92111cb",
    ),
    "isbi": Home("ISBI 2012", "isbi", "https://downloads.imagej.net/ISBI-2012-challenge.zip", None),
}


def address(text: str) -> str:
    """Parses an http, https or file URL."""
    parts = urlsplit(text)
    parts.port  # noqa: B018, raises a ValueError for what is no number
    if parts.scheme != "file" and not (parts.scheme in ("http", "https") and parts.hostname):
        raise argparse.ArgumentTypeError(f"{text!r} must be an http, https or file URL")
    return text


def checksum(text: str) -> str:
    """Parses an md5 or a sha256."""
    if not re.fullmatch("[0-9a-fA-F]{32}|[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be an md5 of 32 or a sha256 of 64 hexadecimal digits"
        )
    return text.lower()


def main():
    """Fetches what is asked for."""
    parser = Parser(
        prog="python -m tools.download",
        description="Fetches a data set and unpacks it to where train.py looks for it. What is "
        "there already is not fetched again; a broken download resumes where it broke off.",
    )
    parser.add_argument("dataset", choices=["voc", "isbi"], help="PASCAL VOC 2012 or ISBI 2012")
    parser.add_argument(
        "--sbd",
        action="store_true",
        help="with voc: also add the masks of SBD, for 10,582 instead of 1,464 training images",
    )
    text = "where to (default: %(default)s)"
    parser.add_argument("--output", metavar="DIR", default="data", help=text)
    text = "take the archive from here instead of from its home; with --sbd, SBD's archive"
    parser.add_argument("--url", type=address, help=text)
    parser.add_argument(
        "--checksum",
        type=checksum,
        metavar="HEX",
        help="md5 or sha256 of that archive (default: the known one of the home, none for --url)",
    )
    args = parser.parse_args()
    if args.sbd and args.dataset != "voc":
        raise UserError(f"--sbd adds masks to voc, it does not go with {args.dataset}.")
    output = check_folder(args.output)
    if args.sbd:
        get("voc", output)
    get("sbd" if args.sbd else args.dataset, output, args.url, args.checksum)


def get(name: str, output: Path, url: str | None = None, checksum: str | None = None) -> None:
    """Makes sure that a data set of `HOMES` is in the folder `output`, and says so.

    Without a checksum, that of the home is taken; an archive from another URL is not checked then.
    It is a UserError if it cannot be fetched, unpacked or written.
    """
    home = HOMES[name]
    target = output / home.folder
    with contextlib.suppress(OSError):  # an empty folder is as good as none
        target.rmdir()
    if target.exists():
        lack = first_missing(name, target)
        if lack:
            raise UserError(
                f"{target}: lacks {lack}. Move the folder away, so that it can be fetched anew."
            )
        print(f"{target}: {home.title} is there already.")
        return
    url = url or home.url
    if url == home.url:
        checksum = checksum or home.checksum
    check_python()
    output.mkdir(parents=True, exist_ok=True)
    archive = hidden(output, name, url)
    fetch(url, archive, checksum)
    try:
        with staging(target) as folder:
            unpack(archive, folder)
            place(name, folder, target)
    except BadArchive as error:  # such an archive goes
        archive.unlink()
        raise UserError(f"{url}: {error}. Name another home with --url.") from error
    archive.unlink()
    print(f"{target}: {home.title} is there now.")


def hidden(output: Path, name: str, url: str) -> Path:
    """Where an archive lies until it is unpacked: for another URL elsewhere, and nobody's own."""
    return output / f".{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def place(name: str, unpacked: Path, target: Path) -> None:
    """Moves what was unpacked to where it belongs; it may raise a BadArchive."""
    if name == "sbd":
        dataset = locate(unpacked, ("cls", "img", "train.txt", "val.txt"))
        sbd.augment_voc(target.parent, dataset, staging=unpacked)
        return
    folder = locate(unpacked, ISBI_STACKS if name == "isbi" else ("JPEGImages", "ImageSets"))
    lack = first_missing(name, folder)
    if lack:
        raise BadArchive(f"lacks {lack}")
    folder.rename(target)


def first_missing(name: str, folder: Path) -> str | None:
    """Returns the path, below a data set's folder, of the first file it lacks; None: it has all."""
    if name == "isbi":
        needed = ISBI_STACKS
    elif name == "voc":
        needed = _files_of_voc(folder, "Segmentation", "SegmentationClass")
    else:
        folder = folder.parent
        needed = _files_of_voc(folder, sbd.LISTS, sbd.MASKS)
    return next((path for path in needed if not (folder / path).is_file()), None)


def _files_of_voc(voc, lists, masks):
    """Yields the lists, and the images and masks that are in them."""
    for split in ("train", "val"):
        listing = f"ImageSets/{lists}/{split}.txt"
        yield listing
        for name in sbd.read_list(voc / listing):
            yield f"JPEGImages/{name}.jpg"
            yield f"{masks}/{name}.png"


if __name__ == "__main__":
    errors.run(main)
