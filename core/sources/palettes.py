"""How the masks of own data are to be read, found out from all of them."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from core.config import IGNORE
from core.imaging.image import read_indexed
from core.imaging.mask import by_palette, count_values, find_clash, understand
from core.support.errors import UserError
from core.support.threads import attempts


def find_out(infos: list, num_classes: int, where: Path, reading=None, workers=1, remember=None):
    """Reads all masks and decides what their values mean.

    A palette's indices count, unless palettes contradict each other or other masks have colours.
    Then its colours count, as far as it is known what they mean.

    Args:
        infos: entries of `Dataset.image_info`.
        num_classes: number of classes, background included.
        where: the masks' folder, for messages.
        reading: the only answer that is accepted; None: any.
        workers: threads that read.
        remember: of an `Index` that may know the values; None: there is none.

    Returns:
        The answer of `understand`, and whether the colours of palettes count.

    Raises:
        UserError: if it cannot be decided, or is not `reading`.
    """
    remember = remember or (lambda kind, infos, function: function())

    def read(info):
        values, palette = read_indexed(info["mask_path"], info.get("page", 0))
        return [*count_values(values).items()], None if palette is None else palette.tolist()

    def count(info):
        counts, palette = remember("values", [info], lambda: read(info))
        palette = None if palette is None else np.array(palette, np.uint8)
        return info["mask_path"], Counter(dict(counts)), palette

    found = attempts(count, infos, "Reading masks", workers)
    # Of those that cannot be read, the message comes when the pair is read.
    masks = [mask for mask in found if not isinstance(mask, UserError)]
    if not masks:
        return "ids", False
    clash = find_clash(masks)
    coloured = any(isinstance(value, str) for _, counts, _ in masks for value in counts)
    by_colour = bool(clash or coloured or reading == "colours")
    try:
        own, known = _understand(masks, num_classes, where, by_colour)
    except UserError:
        if not (clash or reading):
            raise
        own, known = reading, False  # all of a few masks may be background
    if clash and not known:
        raise UserError(
            f"{where}: {clash}. It is not known which class a colour means. Save class ids in all "
            "masks, as grey PNGs."
        )
    if reading not in (None, own):
        raise UserError(
            f"{where}: the masks look like {own}, but those of the training were read as "
            f"{reading}. Make them alike."
        )
    return own, by_colour


def _understand(masks, num_classes, where, by_colour):
    """The answer of `understand`, and whether it gives every value a meaning."""
    found = defaultdict(Counter)
    for path, counts, palette in masks:
        if by_colour and palette is not None:
            counts = count_values(by_palette(np.array([sorted(counts)]), palette, path))
        found[path].update(counts)
    own = understand(found, num_classes, where)
    return own, own != "ids" or set().union(*found.values()) <= {*range(num_classes), IGNORE}
