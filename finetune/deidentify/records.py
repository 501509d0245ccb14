"""Replaces personal data in every text of a raw record and reports what was replaced.

Owns which fields are text and which are labels. The patient key stays a key (a keyed digest), the date of the record
keeps its month, a reviewer's name stays: it is the hospital's own signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.deidentify.find import find_in_record
from finetune.deidentify.surrogates import Surrogates
from finetune.deidentify.types import Span, SpanType
from finetune.formats.fields import moment

LABELS = frozenset(
    {"id", "department", "audience", "source", "reference", "review", "disease", "label", "task", "spans"}
)
_KEY_FIELD = "patient_id"
_DATE_FIELD = "date"
_ROLE_KEYS = frozenset({"from", "role"})


@dataclass(frozen=True, slots=True)
class FieldSpan:
    """A find in one field; `start` and `end` count in that field's text as it was read."""

    field: str
    span: Span
    surrogate: str

    def as_dict(self) -> dict[str, object]:
        return {
            "field": self.field,
            "type": str(self.span.type),
            "start": self.span.start,
            "end": self.span.end,
            "surrogate": self.surrogate,
        }


def deidentify_value(value: Any, *, secret: str, key: str) -> tuple[Any, list[FieldSpan]]:
    """The value without personal data, and the finds in reading order.

    `secret` belongs to the run; `key` names the record, or the patient where known, so that one patient's stand-ins
    and day offset agree across records.
    """
    texts = dict(_texts(value, ""))
    names = list(texts)
    found = find_in_record([texts[name] for name in names])
    surrogates = Surrogates(f"{secret}\x1f{key}")
    surrogates.introduce(
        [
            texts[name][span.start : span.end]
            for name, spans in zip(names, found, strict=True)
            for span in spans
            if span.type is SpanType.NAME and not span.surname_only
        ]
    )
    report: list[FieldSpan] = []
    replaced: dict[str, str] = {}
    for name, spans in zip(names, found, strict=True):
        replaced[name], entries = _replace(name, texts[name], spans, surrogates)
        report += entries
    return _rebuilt(value, "", replaced, secret), report


def _replace(name: str, text: str, spans: list[Span], surrogates: Surrogates) -> tuple[str, list[FieldSpan]]:
    parts: list[str] = []
    entries: list[FieldSpan] = []
    at = 0
    for span in spans:
        stand_in = surrogates.of(span.type, text[span.start : span.end], surname_only=span.surname_only)
        parts += [text[at : span.start], stand_in]
        at = span.end
        entries.append(FieldSpan(name, span, stand_in))
    parts.append(text[at:])
    return "".join(parts), entries


def _texts(value: Any, path: str) -> list[tuple[str, str]]:
    """(path, text) of every text a reader would see, such as `conversations.0.value`."""
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, list):
        return [entry for i, item in enumerate(value) for entry in _texts(item, f"{path}.{i}".lstrip("."))]
    if isinstance(value, Mapping):
        return [
            entry
            for key, item in value.items()
            if not _is_label(str(key), path)
            for entry in _texts(item, f"{path}.{key}".lstrip("."))
        ]
    return []


def _is_label(key: str, path: str) -> bool:
    return key in _ROLE_KEYS or (path == "" and (key in LABELS or key in (_KEY_FIELD, _DATE_FIELD)))


def _rebuilt(value: Any, path: str, replaced: Mapping[str, str], secret: str) -> Any:
    if isinstance(value, str):
        return replaced.get(path, value)
    if isinstance(value, list):
        return [_rebuilt(item, f"{path}.{i}".lstrip("."), replaced, secret) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {
            key: _labelled(str(key), item, secret)
            if _is_label(str(key), path)
            else _rebuilt(item, f"{path}.{key}".lstrip("."), replaced, secret)
            for key, item in value.items()
        }
    return value


def _labelled(key: str, value: Any, secret: str) -> Any:
    if key == _KEY_FIELD and value not in (None, ""):
        return pseudonym(str(value), secret)
    if key == _DATE_FIELD and isinstance(value, str) and moment(value) is not None:
        return value[:7].replace("/", "-")
    return value


def pseudonym(patient_id: str, secret: str) -> str:
    """A key that still groups a patient's records and cannot be computed without the run's secret."""
    return "p-" + hashlib.blake2b(patient_id.encode(), key=secret.encode()[:64], digest_size=8).hexdigest()
