"""The register of sources: what a document may cite, each once, and whether it was found.

Owns reading `sources.toml`. Which document cites what is `document.py`; the rule that it must is `check.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from knowledge_base.document import Source

REGISTER = Path(__file__).parent / "sources.toml"


class SourceKind(StrEnum):
    GUIDELINE = "guideline"
    CONSENSUS = "consensus"
    STATEMENT = "statement"
    STANDARD = "standard"
    LABEL = "label"
    TEXTBOOK = "textbook"


@dataclass(frozen=True, slots=True)
class RegisteredSource:
    """`confirmed` only where title, publisher and year were found outside this project; `note` says where."""

    source: Source
    kind: SourceKind
    confirmed: bool
    note: str


def read_register(path: Path = REGISTER) -> Mapping[Source, RegisteredSource]:
    """The register by source.

    Raises:
        ValueError: not TOML, a field is missing, a kind is unknown, or a source is listed twice.
    """
    register: dict[Source, RegisteredSource] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("source", []):
        try:
            source = Source(entry["title"], entry["publisher"], str(entry["year"]))
            registered = RegisteredSource(
                source, SourceKind(entry["kind"]), bool(entry["confirmed"]), entry.get("note", "")
            )
        except KeyError as error:
            raise ValueError(f"{path.name}: an entry lacks {error}") from error
        if source in register:
            raise ValueError(f"{path.name}: {source.title} ({source.year}) is listed twice")
        register[source] = registered
    return register
