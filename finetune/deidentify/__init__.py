"""De-identification: `find_spans` for a text, `deidentify_value` for a raw record."""

from finetune.deidentify.find import find_in_record, find_spans
from finetune.deidentify.records import FieldSpan, deidentify_value
from finetune.deidentify.types import DIRECT_TYPES, Span, SpanType

__all__ = [
    "DIRECT_TYPES",
    "FieldSpan",
    "Span",
    "SpanType",
    "deidentify_value",
    "find_in_record",
    "find_spans",
]
