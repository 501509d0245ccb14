"""De-identifies a file record by record and writes its report.

Owns the pairing of output and report. Neither ever holds an original: an item that cannot be read is left out, because
nobody can say what is in it.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.deidentify.records import FieldSpan, deidentify_value
from finetune.formats.decode import lines_of
from finetune.formats.source import Item, read_items
from finetune.outputs import atomic_text, dump, refuse_existing
from finetune.problems import Code, DataError, Problem

_MIN_SECRET_CHARS = 16


@dataclass(slots=True)
class FileResult:
    records: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


def deidentify_file(
    source: Path, out: Path, report: Path, *, secret_file: Path | None = None, force: bool = False
) -> FileResult:
    """Write `out` and `report`, both or neither.

    Raises:
        DataError: cannot_read, output_exists, disk_full, short_secret.
    """
    refuse_existing(report, force=force)
    secret = secrets.token_hex(16) if secret_file is None else _read_secret(secret_file)
    result = FileResult()
    plain = source.suffix.lower() == ".txt"
    array = out.suffix.lower() == ".json" and not plain
    with atomic_text(report, force=force) as listing, atomic_text(out, force=force) as file:
        listing.write('{"file": ' + dump(source.name) + ', "records": [')
        for entry, clean in _cleaned(source, plain, secret, result):
            first = result.records == 1
            listing.write(("\n" if first else ",\n") + dump(entry))
            if array:
                file.write(("[\n" if first else ",\n") + dump(clean))
            else:
                file.write((clean if plain else dump(clean)) + "\n")
        if array:
            file.write("\n]\n" if result.records else "[]\n")
        problems = dump([problem.as_dict() for problem in result.problems])
        listing.write(f'\n], "counts": {dump(dict(result.counts))}, "problems": {problems}}}\n')
    return result


def _cleaned(
    source: Path, plain: bool, secret: str, result: FileResult
) -> Iterator[tuple[dict[str, Any], Any]]:
    for item in _lines(source) if plain else read_items(source):
        if item.code is not None:
            result.problems.append(Problem(str(source), item.line, item.code, item.message))
            continue
        try:
            clean, spans = deidentify_value(item.value, secret=secret, key=_key(item))
            dump(clean).encode("utf-8")
        except (UnicodeEncodeError, RecursionError):
            text = "contains half of a surrogate pair, or is nested too deeply"
            result.problems.append(Problem(str(source), item.line, Code.BAD_ENCODING, text))
            continue
        result.records += 1
        result.counts.update(str(entry.span.type) for entry in spans)
        yield _entry(item, result.records, spans), clean


def _entry(item: Item, number: int, spans: list[FieldSpan]) -> dict[str, Any]:
    identity = item.value.get("id") if isinstance(item.value, Mapping) else None
    return {
        "index": number - 1,
        "line": item.line,
        "id": identity,
        "spans": [entry.as_dict() for entry in spans],
    }


def _lines(source: Path) -> Iterator[Item]:
    for line in lines_of(source):
        text = line.text.rstrip("\r\n")
        if line.bad:
            yield Item(line.number, code=Code.BAD_ENCODING, message=line.bad)
        elif text.strip():
            yield Item(line.number, value=text)


def _key(item: Item) -> str:
    """One patient's records share their stand-ins; without a patient each record stands alone."""
    value = item.value if isinstance(item.value, Mapping) else {}
    patient = value.get("patient_id")
    return f"patient {patient}" if patient not in (None, "") else f"line {item.line}"


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("no_secret", f"the secret file {path} cannot be read") from error
    if len(secret) < _MIN_SECRET_CHARS:
        raise DataError("short_secret", f"the secret must have at least {_MIN_SECRET_CHARS} characters")
    return secret
