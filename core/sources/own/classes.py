"""Class tables: the name of each class of own data, and its colour or value in the masks."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

from core.config import BACKGROUND, IGNORE, IGNORED
from core.imaging.draw import voc_palette
from core.imaging.mask import OTHERS, key
from core.sources.own.layouts import TABLES
from core.support.errors import UserError
from core.support.files import read_text


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


_COLUMNS = {
    "name": "name class class_name classname label",
    "value": "value id class_id label_id index pixel pixel_value mask_value grey gray grayscale",
    "r": "r red",
    "g": "g green",
    "b": "b blue",
    "colour": "colour color rgb hex",
    "ignore": "ignore ignored",
}
_HEADINGS = {heading: name for name, headings in _COLUMNS.items() for heading in headings.split()}
_HEADERLESS = {1: ("name",), 2: ("name", "value"), 4: ("name", "r", "g", "b")}
_SPACED = re.compile(r"(?P<r>\d+)\s+(?P<g>\d+)\s+(?P<b>\d+)\s+(?P<name>[^\s\d,;].*)")
_CVAT = re.compile(r"(?P<name>[^:]+):(?P<colour>(?:\s*\d+\s*,\s*\d+\s*,\s*\d+\s*)?):[^:]*:[^:]*")
_RGB = re.compile(r"(?:rgb)?[\[(]?\s*(\d+)[\s,;]+(\d+)[\s,;]+(\d+)\s*[\])]?")


def find_table(folder: Path, given: str | None) -> ClassTable | None:
    """Reads the class table that is given, else the first one of `TABLES` in a folder, if any."""
    if given is None:
        there = {path.name.lower(): path for path in sorted(folder.glob("*")) if path.is_file()}
        given = next((there[name] for name in TABLES if name in there), None)
    return given and read_table(Path(given))


def read_table(path: Path) -> ClassTable:
    """Reads a class table, or raises a UserError that names the line that is wrong.

    It is CVAT's labelmap.txt; or CSV with the columns name,r,g,b or name,value or value,name, or
    others if a header says so, such as name,hex; or a text with a name a line, and perhaps its id
    before or behind it, or its colour before it.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this class table cannot be read ({error}). Use UTF-8.") from error
    lines = {number: line for number, line in enumerate(lines, 1) if line.strip()}
    first = next(iter(lines.values()), "")
    if path.suffix.lower() != ".csv" and any(map(_CVAT.fullmatch, lines.values())):
        rows = _cvat(lines, path)
    elif not _SPACED.match(first) and (
        any(map(first.count, ",;\t")) or path.suffix.lower() == ".csv"
    ):
        rows = _csv(lines, first, path)
    else:
        rows = _lines(lines, path)
    return _checked(rows, path)


def _checked(rows, path):
    """The table of rows, tuples of their line and a `Row`; or a UserError."""
    for what in ("value", "colour"):
        seen = {}
        for line, row in rows:
            here = getattr(row, what)
            if (here is None) != (getattr(rows[0][1], what) is None):
                raise UserError(f"{path}, line {line}: some classes have a {what}, others none.")
            if here is not None and seen.setdefault(here, row.name) != row.name:
                if what == "value" or rows[0][1].value is None:
                    shown = ",".join(map(str, here)) if what == "colour" else here
                    raise UserError(
                        f"{path}, line {line}: {row.name} has the {what} {shown}, as "
                        f"{seen[here]} has. Each class needs its own."
                    )
    rows = [row for _, row in rows]
    known = [row for row in rows if not row.ignored]
    known.sort(key=lambda row: (row.name.lower() not in BACKGROUND, row.value or 0))
    colours = {row.name: row.colour for row in known[::-1]}
    names = tuple(dict.fromkeys(row.name for row in known))
    if not 2 <= len(names) <= IGNORE:
        raise UserError(
            f"{path}: has {len(names)} classes besides ignored ones. It needs 2 to {IGNORE}. The "
            "background is one of them."
        )
    return ClassTable(path, names, tuple(map(colours.get, names)), tuple(rows))


def _row(cells, where):
    """The row of a dictionary of texts."""
    name, marked = cells.get("name", "").strip(), cells.get("ignore", "").strip().lower()
    if not name:
        raise UserError(f"{where}: there is no name.")
    numbers = {}
    for column in ("value", "r", "g", "b"):
        text = cells.get(column, "").strip()
        if column in cells and not (text.isdecimal() and int(text) <= 255):
            raise UserError(f"{where}: {column} is {text!r}. It must be a whole number, 0 to 255.")
        numbers[column] = int(text) if column in cells else None
    colour = numbers["r"], numbers["g"], numbers["b"]
    ignored = name.lower() in IGNORED or marked in ("1", "yes", "true", "x")
    return Row(name, numbers["value"], None if None in colour else colour, ignored)


def _cvat(lines, path):
    """The rows of CVAT's labelmap.txt, each `label:color_rgb:parts:actions`."""
    rows = []
    for number, line in lines.items():
        if not line.startswith("#"):
            found, where = _CVAT.fullmatch(line), f"{path}, line {number}"
            if not found:
                raise UserError(f"{where}: {line!r} must be like road:128,64,128::")
            cells = {name: text for name, text in found.groupdict().items() if text}
            rows.append((number, _row(_split(cells, where), where)))
    return rows


def _csv(lines, first, path):
    """The rows of CSV, with commas, semicolons or tabs between the columns."""
    mark, columns, rows = max(",;\t", key=first.count), None, []
    cells = [next(csv.reader([t], delimiter=mark, skipinitialspace=True)) for t in lines.values()]
    for number, row in zip(lines, cells, strict=True):
        where = f"{path}, line {number}"
        if columns is None:
            columns = [_HEADINGS.get(c.strip().lower().replace(" ", "_"), c) for c in row]
            if "name" in columns:
                _check_columns(columns, row, where)
                continue
            columns = _headerless(cells, where)
        if len(row) != len(columns):
            raise UserError(f"{where}: has {len(row)} columns, and not {len(columns)}.")
        rows.append((number, _row(_split(dict(zip(columns, row, strict=True)), where), where)))
    return rows


def _check_columns(columns, headings, where):
    """Refuses columns that do not say what masks hold, or say it twice."""
    others = {*filter(None, columns)} - {"name", "ignore"}
    pairs = zip(headings, columns, strict=True)
    twice = [heading for heading, c in pairs if c in _COLUMNS and columns.count(c) > 1]
    if twice:
        raise UserError(f"{where}: {' and '.join(twice)} mean the same. Take out all but one.")
    if 0 < len({*"rgb"} & others) < 3:
        raise UserError(
            f"{where}: the columns are {', '.join(columns)}. A colour needs r, g and b, each once."
        )
    if others and others.isdisjoint((*"rgb", "value", "colour")):
        raise UserError(
            f"{where}: the columns are {', '.join(columns)}, and none of them has what masks hold. "
            "Call that one value or colour, or take the others out."
        )


def _split(cells, where):
    """Adds r, g and b of a colour such as #800000 or 128 0 0.

    Beside a value, a colour is for people only, and may be a word.
    """
    if (text := cells.get("colour")) is None or "r" in cells:
        return cells
    digits, numbers = (re.fullmatch(p, text.strip()) for p in (r"#?([0-9a-fA-F]{6})", _RGB))
    if digits or numbers:
        found = bytes.fromhex(digits[1]) if digits else numbers.groups()
        return cells | dict(zip("rgb", map(str, found), strict=True))
    if "value" in cells:
        return cells
    raise UserError(f"{where}: colour is {text!r}. It must be like #800000 or 128 0 0.")


def _headerless(cells, where):
    """The columns of CSV without a header; of two, all that the one with the values has are."""
    pairs = [row for row in cells if len(row) == len(cells[0]) == 2]
    first, second = (pairs and all(row[i].strip().isdecimal() for row in pairs) for i in (0, 1))
    if len(cells[0]) not in _HEADERLESS or first and second:
        raise UserError(
            f"{where}: has {len(cells[0])} columns and no header. Begin with a line such as "
            "name,r,g,b or name,value."
        )
    return ("value", "name") if first else _HEADERLESS[len(cells[0])]


def _lines(lines, path):
    """The rows of a text with a name a line; ids count if all lines have one."""
    before, behind = r"(?P<value>\d+)[\s:=]+(?P<name>.+)", r"(?P<name>.+?)[\s:=]+(?P<value>\d+)"
    for pattern in (_SPACED, before, behind):
        found = [re.fullmatch(pattern, line.strip()) for line in lines.values()]
        if all(found) and len({match["name"] for match in found}) == len(found):  # not "class 1"
            cells = [match.groupdict() for match in found]
            break
    else:
        cells = [{"name": line} for line in lines.values()]
    return [(n, _row(row, f"{path}, line {n}")) for n, row in zip(lines, cells, strict=True)]
