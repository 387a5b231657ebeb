"""Classes of own data: the name of each, and its colour or value in the masks."""

from pathlib import Path
from typing import NamedTuple

from core.config import IGNORE
from core.imaging.draw import voc_palette
from core.imaging.mask import LOSSY, OTHERS, key, meanings


class Row(NamedTuple):
    """A class as a table has it."""

    name: str
    value: int | None
    colour: tuple | None  # red, green and blue
    ignored: bool


class ClassTable(NamedTuple):
    """A class table; rows of one name are one class."""

    path: Path
    names: tuple  # the classes in the order of their ids, without those that are ignored
    palette: tuple  # the colour of each, None where the table has none
    rows: tuple  # in the table's order

    def pairs(self, kind: str, names: tuple) -> tuple:
        """Returns how masks are read by this table, as the class id of each colour.

        Args:
            kind: what the masks hold of a row: its "colour", "value", or "number" in the table.
            names: the classes in the order of their ids.
        """
        values = {
            "colour": lambda _, row: "#{:02x}{:02x}{:02x}".format(*row.colour),
            "value": lambda _, row: key(row.value),
            "number": lambda number, _: key(number % 256),
        }[kind]
        first = -1 if self.rows[0].name == "__ignore__" else 0  # as LabelMe counts
        pairs = {
            values(number, row): IGNORE if row.ignored else names.index(row.name)
            for number, row in enumerate(self.rows, first)
        }
        if kind != "colour":
            pairs.setdefault(key(IGNORE), IGNORE)
        if any(row.ignored for row in self.rows):
            pairs[OTHERS] = IGNORE
        return tuple(pairs.items())

    def has(self, what: str) -> bool:
        """Says whether the table has the "value" or the "colour" of its classes."""
        return getattr(self.rows[0], what) is not None

    @property
    def plain(self) -> bool:
        """Whether the table has nothing but names, in the order of their ids."""
        bare = not (self.has("value") or self.has("colour"))
        return bare and self.names == tuple(row.name for row in self.rows)

    def colours(self, names: tuple) -> tuple:
        """Returns red, green and blue of each class; where the table has none, those of VOC."""
        own = dict(zip(self.names, self.palette, strict=True))
        voc = voc_palette().tolist()
        return tuple(own[name] or tuple(voc[number]) for number, name in enumerate(names))


def class_rows(names: tuple, reading: str | tuple, palette: tuple) -> list:
    """Returns the rows of a class table, the header first, by which masks are read as `reading`.

    Of masks with ids or values, it has these and the colours of the palette; else the colours.
    """
    reading = "black-and-white" if reading == LOSSY else reading
    if reading == "ids":
        pairs = {key(number): number for number in range(len(names))}
    else:
        pairs = dict(meanings(reading))
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
