"""Bytes to numbered lines of text: UTF-8 with or without BOM, UTF-16 with BOM, GB18030.

Owns the choice of encoding and what happens to a line that does not fit it. JSON and CSV are `source.py`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from finetune.problems import DataError


class Encoding(StrEnum):
    UTF8 = "utf-8"
    UTF16 = "utf-16"
    GB18030 = "gb18030"


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line with its ending; `bad` says why it could not be decoded ("" when it could)."""

    number: int
    text: str
    bad: str = ""


def encoding_of(path: Path) -> Encoding:
    """The encoding of the whole file.

    GB18030 only when no line with bytes above 127 is valid UTF-8 and all of them are valid GB18030: a few broken
    lines in a UTF-8 file stay errors instead of turning the rest into nonsense.
    """
    utf8 = foreign = 0
    with _open(path) as file:
        head = file.read(2)
        if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return Encoding.UTF16
        file.seek(0)
        for raw in file:
            if raw.isascii():
                continue
            if _valid(raw, "utf-8"):
                utf8 += 1
            elif _valid(raw, "gb18030"):
                foreign += 1
    return Encoding.GB18030 if foreign and not utf8 else Encoding.UTF8


def lines_of(path: Path) -> Iterator[Line]:
    """Every line, decoded one by one so that a broken one costs only itself.

    Raises:
        DataError: the file cannot be opened.
    """
    encoding = encoding_of(path)
    if encoding is Encoding.UTF16:
        with path.open(encoding="utf-16", errors="replace", newline="\n") as text:
            for number, line in enumerate(text, start=1):
                yield Line(number, line, "not valid UTF-16" if "\ufffd" in line else "")
        return
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            data = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            try:
                yield Line(number, data.decode(encoding))
            except UnicodeDecodeError:
                yield Line(number, data.decode(encoding, "replace"), _reason(data, encoding))


def _reason(data: bytes, encoding: Encoding) -> str:
    if encoding is Encoding.UTF8 and _valid(data, "gb18030"):
        return "not UTF-8 like the rest of the file (this line is GB18030)"
    return f"not valid {encoding.upper()}"


def _valid(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError("cannot_read", f"{path}: {error.strerror}") from error
