"""Formats in and out: `read_records` and `to_target`."""

from finetune.formats.parse import Located, read_records
from finetune.formats.write import ConversionError, Target, to_target

__all__ = ["ConversionError", "Located", "Target", "read_records", "to_target"]
