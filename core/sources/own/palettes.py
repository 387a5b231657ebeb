"""What the values of own masks mean, found out from all of them or said by a class table."""

from collections import Counter
from pathlib import Path

import numpy as np

from core.config import IGNORE, default_names
from core.imaging.draw import voc_palette
from core.imaging.image import read_indexed
from core.imaging.mask import (
    LOSSY,
    OTHERS,
    count_values,
    find_clash,
    key,
    lossy,
    meanings,
    named,
    unknown,
)
from core.sources.own.values import (
    ADVICE,
    Meaning,
    blurred,
    by_values,
    counted,
    has_colours,
    understand,
)
from core.support.errors import UserError, few
from core.support.threads import attempts

_SHOWN = 6  # classes that a message shows
_BLACK_WHITE = "black-and-white", LOSSY
_EMPTY = "They hold nothing but 0 and 255, which counts as ignored: no object is among them."
_BLURRED = "They are JPEG files: values below 128 are taken for 0, others for 255."


def find_out(infos, names, where, reading=None, table=None, workers=1, remember=None) -> Meaning:
    """Reads all masks and decides what their values mean.

    A palette's indices count, unless palettes contradict each other or other masks have colours.
    Then its colours count, as far as it is known what they mean.

    Args:
        infos: entries of `Dataset.image_info`.
        names: the classes; empty: those of the table, or found in the masks.
        where: the masks' folder, for messages.
        reading: the only reading that is accepted; None: any.
        table: a `ClassTable`, or None.
        workers: threads that read.
        remember: of an `Index` that may know the values; None: there is none.

    Raises:
        UserError: if it cannot be decided, is not `reading`, or contradicts the table.
    """
    names = _agreed(table, names) if table else names
    files = [(info["mask_path"], info.get("page", 0)) for info in infos]
    remember = remember or (lambda kind, infos, function: function())

    def read(file):
        counts, palette = count_file(*file)
        return [*counts.items()], None if palette is None else palette.tolist()

    def count(info):
        file = info["mask_path"], info.get("page", 0)
        counts, palette = remember("values", [info], lambda: read(file))
        return Counter(dict(counts)), None if palette is None else np.array(palette, np.uint8)

    results = list(attempts(count, infos, "Reading masks", workers))
    # Of those that cannot be read, the message comes when the pair is read.
    kept = [i for i, result in enumerate(results) if not isinstance(result, UserError)]
    masks = [(files[i][0], *results[i]) for i in kept]
    if not masks:
        if not names:
            raise results[0]
        return Meaning(reading or "ids", False, names)
    sure = reading == LOSSY and all(lossy(path) for path, *_ in masks)  # all may be black
    if reading in (None, *_BLACK_WHITE) and _are_black_white(table, names):
        if sure or blurred(masks):
            palette = table.colours(names) if table else ()
            return Meaning(LOSSY, False, names or default_names(2), palette, _BLURRED)
    reading = _BLACK_WHITE[0] if reading == LOSSY else reading
    if isinstance(reading, tuple):
        return _by_reading(masks, reading, names, where)
    if table and not (table.plain and names == table.names):
        return _by_table(masks, table, names)
    if names:
        meaning = Meaning(*_by_names(masks, len(names), where, reading), names)
        held = set().union(*(counts for _, counts, _ in masks))
        empty = meaning.reading == "ids" and held == {0, IGNORE}
        return meaning._replace(notes=_EMPTY if empty else "")
    meaning = by_values(masks, [files[i] for i in kept], where)
    return meaning._replace(notes=_naming(meaning, [path for path, *_ in masks]))


def name_of(reading: str | tuple) -> str:
    """Returns what masks hold, in a word: ids, black-and-white, values or colours."""
    if isinstance(reading, str):
        return "black-and-white" if reading == LOSSY else reading
    keys = [colour for colour, _ in reading if colour != OTHERS]
    return "values" if all(colour == f"#{3 * colour[1:3]}" for colour in keys) else "colours"


def count_file(path, page: int) -> tuple:
    """Returns the values of a mask, see `count_values`, and its palette, see `read_indexed`."""
    values, palette = read_indexed(path, page)
    return count_values(values), palette


def _naming(meaning, paths):
    """Says how classes are named that no table names, and how to name them."""
    rows = class_rows(meaning.names, meaning.reading, meaning.palette)
    columns = len(rows[0]) if rows[0][1] == "r" else 2
    header, *lines = (",".join(map(str, row[:columns])) for row in rows)
    jpeg = next(filter(None, map(lossy, paths)), "")
    return (
        f"The classes are named after what the masks hold: {'; '.join(lines[:_SHOWN])}"
        f"{f' and {len(lines) - _SHOWN} more' if len(lines) > _SHOWN else ''}. {meaning.notes}To "
        f"rename them, put such lines of {header} into a classes.csv in the data's folder; the "
        f"run's folder gets one to start from. {jpeg}"
    ).strip()


def class_rows(names: tuple, reading: str | tuple, palette: tuple) -> list:
    """Returns the rows of a class table, the header first, by which masks are read as `reading`.

    Of masks with ids or values, it has these and the colours of the palette; else the colours.
    """
    reading = "black-and-white" if reading == LOSSY else reading
    ids = {key(number): number for number in range(len(names))}
    pairs = ids if reading == "ids" else dict(meanings(reading))
    by_colour = any(value != f"#{3 * value[1:3]}" for value in pairs if value != OTHERS)
    void = OTHERS in pairs or key(IGNORE) not in pairs
    palette = palette or voc_palette().tolist()
    rows = [("name", "r", "g", "b") if by_colour else ("name", "value", "r", "g", "b")]
    for colour, number in pairs.items():
        ignored = number == IGNORE
        if colour == OTHERS or number >= len(names) and not (ignored and void):
            continue
        rgb = tuple(bytes.fromhex(colour[1:]))
        held = rgb if by_colour else (rgb[0], *(rgb if ignored else palette[number]))
        rows.append(("void" if ignored else names[number], *held))
    return rows


def _are_black_white(table, names):
    """Whether classes may be those of 0 and 255, in this order."""
    if not (table and (table.has("value") or table.has("colour"))):
        return len(names) in (0, 2) and (not table or table.plain)
    greys = {r.name: r.colour[0] if r.value is None else r.value for r in table.rows}
    return len(greys) == 2 and [greys[name] for name in names] == [0, IGNORE]


def _by_names(masks, num_classes, where, reading):
    """How masks of so many classes are read, and whether by the colours of palettes."""
    clash = find_clash(masks)
    by_colour = bool(clash or has_colours(masks) or reading == "colours")
    try:
        found = counted(masks, by_colour)
        own = understand(found, num_classes, where)
        known = own != "ids" or set().union(*found.values()) <= {*range(num_classes), IGNORE}
    except UserError:
        if not (clash or reading) or reading != "colours" and has_colours(masks):
            raise
        own, known = reading, False  # all of a few masks may be background
    if clash and not known:
        raise UserError(f"{where}: {clash}. It is not known which class a colour means. {ADVICE}")
    if reading not in (None, own):
        raise UserError(
            f"{where}: the masks look like {own}, but those of the training were read as "
            f"{reading}. Make them alike."
        )
    return own, by_colour


def _agreed(table, names):
    """The names of the classes, in the order of their ids; a table has the same ones."""
    if not names or len(names) == len(table.names) and names == default_names(len(names)):
        return table.names
    if set(names) != set(table.names):
        raise UserError(
            f"{table.path}: has the {len(table.names)} classes {few(table.names)}, and not the "
            f"{len(names)} classes {few(names)}. Leave out --class-names and --num-classes, or "
            "name another file with --class-table."
        )
    return names


def differs(table, names: tuple, reading: str | tuple) -> bool:
    """Returns whether a `ClassTable` says something else than that masks are read as `reading`."""
    if {*table.names} != {*names} or table.plain:
        return table.names != names
    ids = {key(i): i for i in range(len(names))} | {key(IGNORE): IGNORE}
    known = ids if reading == "ids" else dict(meanings(reading))
    kinds = ["value" if table.has("value") else "number"] + ["colour"] * table.has("colour")
    return known not in [dict(table.pairs(kind, names)) for kind in kinds]


def _by_table(masks, table, names):
    """The meaning by a table's values or colours, or by the numbers of its rows."""
    coloured, clash = has_colours(masks), bool(find_clash(masks))
    if coloured and not table.has("colour"):
        raise UserError(
            f"{coloured}: has colours, but {table.path} has none. Give it the columns name,r,g,b."
        )
    kind, found = "value" if table.has("value") else "number", counted(masks, clash)
    if table.has("colour") and (kind == "number" or coloured):
        # The colours may be for people, and the masks hold the numbers of the rows.
        by_colour, by_row = (dict(table.pairs(what, names)) for what in ("colour", "number"))
        shown = counted(masks, True)
        seen = {key(value) for counts in shown.values() for value in counts} - {key(0)}
        strange = unknown(found, by_row)[0]
        if coloured or strange or seen & by_colour.keys():
            kind, found = "colour", shown
        elif by_colour.get(key(0), IGNORE) not in (IGNORE, by_row[key(0)]):
            black = names[by_colour[key(0)]]
            raise UserError(
                f"{table.path}: 0 in the masks is the colour of {black}, but by the order of the "
                f"rows {table.rows[0].name}. Say what masks hold in a column value, or put "
                f"{black} first."
            )
    if kind == "number" and {IGNORE} <= set().union(*found.values()) <= {0, IGNORE}:
        raise UserError(
            f"{table.path}: the masks hold 0 and 255. Say by a column value which class each is."
        )
    reading = table.pairs(kind, names)
    ids = {key(i): i for i in range(len(names))} | {key(IGNORE): IGNORE}
    palette, by_colour = table.colours(names), clash or kind == "colour"
    if dict(reading) == ids:  # wrong values are named mask by mask
        return Meaning("ids", by_colour, names, palette)
    told = _left_over(found, reading, f"{table.path}: has no row for")
    return Meaning(reading, by_colour, names, palette, told)


def _by_reading(masks, reading, names, where):
    """The meaning of masks that are read as those of the training."""
    coloured = name_of(reading) == "colours"
    for by_colour in (coloured, True):  # greys may be in palettes
        found = counted(masks, by_colour)
        if not unknown(found, dict(reading))[0]:
            break
    told = _left_over(found, reading, f"{where}: the classes of the training do not have")
    return Meaning(reading, by_colour, names, notes=told)


def _left_over(found, reading, source):
    """Says which values mean nothing and are ignored; a UserError if the reading says otherwise."""
    pixels, paths = unknown(found, dict(reading))
    if not pixels:
        return ""
    files = sorted({Path(path).name for some in paths.values() for path in some})
    share = pixels.total() / sum(counts.total() for counts in found.values())
    text = f"{source} {named(pixels)} ({share:.2%} of all pixels, in {few(files)})"
    advice = next(filter(None, map(lossy, files)), "")
    if OTHERS in dict(reading) and not advice:
        return f"{text}, which count as ignored."
    more = "Add a row for each, or one named void: then they are ignored. Name it by --class-table."
    raise UserError(f"{text}. {advice or more}")
