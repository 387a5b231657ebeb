"""Reads class tables, in the forms that programs and published data have them in."""

import csv
import re
from pathlib import Path

from core.config import BACKGROUND, IGNORE, IGNORED
from core.sources.own.classes import ClassTable, Row
from core.sources.own.layouts import TABLES
from core.support.errors import UserError
from core.support.files import read_text

_COLUMNS = {
    "name": ("name", "class", "class_name", "classname", "label"),
    "value": ("value", "id", "class_id", "index", "pixel", "pixel value", "grey", "gray"),
    "r": ("r", "red"),
    "g": ("g", "green"),
    "b": ("b", "blue"),
    "ignore": ("ignore", "ignored"),
}
_HEADINGS = {heading: name for name, headings in _COLUMNS.items() for heading in headings}
_HEADERLESS = {1: ("name",), 2: ("name", "value"), 4: ("name", "r", "g", "b")}
_SPACED = re.compile(r"(?P<r>\d+)\s+(?P<g>\d+)\s+(?P<b>\d+)\s+(?P<name>[^\s\d,;].*)")
_CVAT = re.compile(r"(?P<name>[^:]+):(?P<colour>[^:]*):[^:]*:[^:]*")


def find_table(folder: Path, given: str | None) -> ClassTable | None:
    """Reads the class table that is given, else the first one of `TABLES` in a folder, if any."""
    if given is None:
        there = {path.name.lower(): path for path in sorted(folder.glob("*")) if path.is_file()}
        given = next((there[name] for name in TABLES if name in there), None)
    return given and read_table(Path(given))


def read_table(path: Path) -> ClassTable:
    """Reads a class table, or raises a UserError that names the line that is wrong.

    It is CVAT's labelmap.txt; or CSV with the columns name,r,g,b or name,value or value,name, in
    another order if a header says so; or a text with a name a line, and perhaps its id before or
    behind it, or its colour before it.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this class table cannot be read ({error}). Use UTF-8.") from error
    lines = {number: line for number, line in enumerate(lines, 1) if line.strip()}
    first = next(iter(lines.values()), "")
    if any(map(_CVAT.fullmatch, lines.values())):
        rows = _cvat(lines, path)
    elif not _SPACED.match(first) and (any(map(first.count, ",;\t")) or path.suffix == ".csv"):
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
            f"{path}: has {len(names)} classes besides ignored ones. It needs 2 to {IGNORE}."
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
    return Row(
        name,
        numbers["value"],
        None if None in colour else colour,
        name.lower() in IGNORED or marked in ("1", "yes", "true", "x"),
    )


def _cvat(lines, path):
    """The rows of CVAT's labelmap.txt, each `label:color_rgb:parts:actions`."""
    rows = []
    for number, line in lines.items():
        if not line.startswith("#"):
            found = _CVAT.fullmatch(line)
            colour = found["colour"].split(",") if found and found["colour"] else []
            if not found or len(colour) not in (0, 3):
                raise UserError(f"{path}, line {number}: {line!r} must be like road:128,64,128::")
            cells = {"name": found["name"], **dict(zip("rgb", colour, strict=False))}
            rows.append((number, _row(cells, f"{path}, line {number}")))
    return rows


def _csv(lines, first, path):
    """The rows of CSV, with commas, semicolons or tabs between the columns."""
    mark, columns, rows = max(",;\t", key=first.count), None, []
    cells = [next(csv.reader([t], delimiter=mark, skipinitialspace=True)) for t in lines.values()]
    for number, row in zip(lines, cells, strict=True):
        where = f"{path}, line {number}"
        if columns is None:
            columns = [_HEADINGS.get(cell.strip().lower(), cell) for cell in row]
            if "name" in columns:
                if 0 < len({"r", "g", "b"} & {*columns}) < 3 or len({*columns}) < len(columns):
                    raise UserError(
                        f"{where}: the columns are {', '.join(columns)}. A colour needs r, g and "
                        "b, each once."
                    )
                continue
            columns = _headerless(cells, where)
        if len(row) != len(columns):
            raise UserError(f"{where}: has {len(row)} columns, and not {len(columns)}.")
        rows.append((number, _row(dict(zip(columns, row, strict=True)), where)))
    return rows


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
    where = f"{path}, line"
    return [(n, _row(row, f"{where} {n}")) for n, row in zip(lines, cells, strict=True)]
