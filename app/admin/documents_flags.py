"""What an editor must look at twice before he approves: text that gives orders to the model.

Joins the reviewed input rules of the safety package with the patterns of ingestion; a document is flagged when either
sees something. Owns only the joining.
"""

from __future__ import annotations

from app.safety.injection import flag_document
from knowledge_base.document import Document
from knowledge_base.ingest.instructions import MAX_EXCERPT_CHARS, MAX_FLAGS, Flag, flag_instructions


def flags_of(document: Document) -> list[Flag]:
    """Every place that speaks to the model, the patterns' findings first, at most MAX_FLAGS."""
    found = flag_instructions(document)
    seen = {flag.excerpt for flag in found}
    for section in document.sections:
        for flag in flag_document("\n".join([*section.path, section.text])):
            excerpt = flag.sentence[:MAX_EXCERPT_CHARS]
            if not any(excerpt in other or other in excerpt for other in seen):
                seen.add(excerpt)
                found.append(Flag(flag.rule, " / ".join(section.path), excerpt))
        if len(found) >= MAX_FLAGS:
            break
    return found[:MAX_FLAGS]
