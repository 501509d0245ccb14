"""A file to its raw items, one at a time: JSON lines, JSON arrays, CSV.

Owns containers: where an item begins (its line), and how reading goes on behind a broken one. What an item means is
`parse.py`. Memory use is that of one item, whatever the size of the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.formats.array import array_items
from finetune.formats.decode import Line, lines_of
from finetune.problems import Code

CSV_SUFFIXES = {".csv": ",", ".tsv": "\t"}
MAX_FIELD_CHARS = 64 * 1024 * 1024
_LOOSE_OBJECT_CHARS = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """One raw item: its 1-based first line and its value, or the code and message of why there is none."""

    line: int
    value: Any = None
    code: Code | None = None
    message: str = ""


def read_items(path: Path) -> Iterator[Item]:
    """Every item of the file; broken ones come as items with a `code`.

    Raises:
        DataError: the file cannot be opened.
    """
    delimiter = CSV_SUFFIXES.get(path.suffix.lower())
    if delimiter is not None:
        yield from _csv_items(path, delimiter)
        return
    lines = lines_of(path)
    for line in lines:
        if not line.text.strip():
            continue
        if line.text.lstrip().startswith("[") and not _whole_list_of_scalars(line.text):
            yield from map(_array_item, array_items(_chain(line, lines)))
        elif line.text.strip() == "{":
            yield from _loose_object(path, _chain(line, lines))
        else:
            yield from map(_json_line, _chain(line, lines))
        return


def _chain(first: Line, rest: Iterator[Line]) -> Iterator[Line]:
    yield first
    for line in rest:
        if line.text.strip():
            yield line


def _whole_list_of_scalars(text: str) -> bool:
    """A line such as `[1, 2]` followed by other lines is a wrong record, not the beginning of an array."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return bool(value) and not any(isinstance(entry, dict | list) for entry in value)


def _json_line(line: Line) -> Item:
    if line.bad:
        return Item(line.number, code=Code.BAD_ENCODING, message=line.bad)
    return _parsed(line.number, line.text)


def _array_item(found: tuple[int, str, str, Code | None]) -> Item:
    number, text, message, code = found
    if code is not None:
        return Item(number, code=code, message=message)
    return _parsed(number, text)


def _parsed(number: int, text: str) -> Item:
    try:
        return Item(number, value=json.loads(text))
    except json.JSONDecodeError as error:
        return Item(number, code=Code.BAD_JSON, message=f"{error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:
        return Item(number, code=Code.BAD_JSON, message=f"cannot be read as JSON ({type(error).__name__})")


def _loose_object(path: Path, lines: Iterator[Line]) -> Iterator[Item]:
    """One pretty-printed object as the whole file; anything else with a lone `{` line is reported once."""
    first = 0
    parts: list[str] = []
    for line in lines:
        first = line.number if first == 0 else first
        parts.append(line.text)
        if sum(map(len, parts)) > _LOOSE_OBJECT_CHARS:
            yield Item(first, code=Code.BAD_JSON, message="a record must be on one line of a JSON lines file")
            return
    yield _parsed(first, "".join(parts))


def _csv_items(path: Path, delimiter: str) -> Iterator[Item]:
    csv.field_size_limit(MAX_FIELD_CHARS)
    broken: dict[int, str] = {}

    def texts() -> Iterator[str]:
        for line in lines_of(path):
            if line.bad:
                broken[line.number] = line.bad
            yield line.text.replace("\x00", "\ufffd")

    reader = csv.reader(texts(), delimiter=delimiter)
    header: list[str] | None = None
    last = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Item(last + 1, code=Code.BAD_CSV, message=str(error))
            last = reader.line_num
            continue
        start, last = last + 1, reader.line_num
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip() for cell in row]
            continue
        yield _csv_row(header, row, start, broken, last)


def _csv_row(header: list[str], row: list[str], start: int, broken: dict[int, str], last: int) -> Item:
    for number in range(start, last + 1):
        if number in broken:
            return Item(start, code=Code.BAD_ENCODING, message=broken[number])
    if len(row) > len(header):
        message = f"{len(row)} cells in a row under {len(header)} column names (a comma outside quotes?)"
        return Item(start, code=Code.BAD_CSV, message=message)
    cells = {name: cell for name, cell in zip(header, row, strict=False) if name}
    if len(row) < len(header):
        missing = ", ".join(header[len(row) :])
        return Item(start, code=Code.BAD_CSV, message=f"the row ends before {missing}")
    return Item(start, value=cells)
