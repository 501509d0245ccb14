"""Files of any kind in, documents out: see `reader.read_file`."""

from knowledge_base.ingest.reader import read_file
from knowledge_base.ingest.types import FileKind, IngestError, Limits, Parsed, Problem

__all__ = ["FileKind", "IngestError", "Limits", "Parsed", "Problem", "read_file"]
