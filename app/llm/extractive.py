"""The embedded generator: an answer made of sentences of the evidence, cited, never invented.

Picks sentences that answer the question, keeps conditions and warnings with the sentence they belong to, removes
repetition and orders them as a person would: the direct answer first, then points, then when to see a doctor.
Owns the written form of the answer; scoring is in `extractive_score.py`, choosing in `extractive_select.py`. What is
evidence is decided before, what may be said is reviewed after.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from app.llm.answer_fit import EntitiesOf
from app.llm.base import Finished, GenerationRequest, Part, Started, Text
from app.llm.extractive_clinician import professional_blocks
from app.llm.extractive_score import score_sentences
from app.llm.extractive_select import Extent, direct_answer, pick_care, pick_points
from app.llm.extractive_text import Sentence, cited, needs_lead, table_rows
from app.safety.types import Audience

__all__ = ["ExtractiveGenerator", "compose", "table_rows"]

MODEL = "extractive-2"
PATIENT_EXTENT = Extent(points=4, chars=300)
CLINICIAN_EXTENT = Extent(points=8, chars=600, closeness=0.15, points_if_unsure=8)
"""Clinicians ask for the whole picture, from suspicion to follow-up."""
CARE_HEADINGS = {Audience.PATIENT: "什么时候要就医：", Audience.CLINICIAN: "急诊与转诊指征："}
NOT_COVERED = "现有资料里没有专门讲到您问的这种药，请带着药盒或说明书问医生、药师。"
"""Said when no passage speaks of the asked drug: what holds for another drug may be wrong for this one."""


def no_entities(_text: str) -> frozenset[str]:
    return frozenset()


class ExtractiveGenerator:
    """Answers with sentences of the evidence. `entities_of` names what a text is about (`extractive_subjects.py`)."""

    def __init__(self, entities_of: EntitiesOf = no_entities) -> None:
        self._entities_of = entities_of

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Part, None]:
        yield Started("extractive", MODEL)
        text = await asyncio.to_thread(compose, request, self._entities_of)
        for block in _blocks(text):
            yield Text(block)
        yield Finished(0, len(text))

    async def check(self) -> str:
        return MODEL


def compose(request: GenerationRequest, entities_of: EntitiesOf = no_entities) -> str:
    """The whole answer as text with `[n]` marks; "" when no passage has a usable sentence."""
    scored = score_sentences(request, entities_of)
    direct = direct_answer(scored)
    if not direct:
        return ""
    if not scored.known:
        return NOT_COVERED
    clinician = request.audience is Audience.CLINICIAN
    named = frozenset(s for s in scored.sentences if s.asks and entities_of(s.text))
    points = pick_points(scored, direct, CLINICIAN_EXTENT if clinician else PATIENT_EXTENT, named)
    care = pick_care(request, direct, [*direct, *points])
    parts = ["".join(direct_lines(direct))]
    if points:
        parts.append(professional_blocks(points) if clinician else point_list(points))
    if care:
        parts.append(care_block(care, CARE_HEADINGS[request.audience]))
    return "\n\n".join(parts)


def direct_lines(direct: Sequence[Sentence]) -> list[str]:
    """The opening sentences; an item that needs its lead is given it."""
    return [cited(s, f"{_lead(s)}{s.text}") if needs_lead(s) else cited(s) for s in direct]


def point_list(points: Sequence[Sentence]) -> str:
    """One line for each point; items that need the same lead share one line under it."""
    lines: list[str] = []
    done: set[Sentence] = set()
    for point in points:
        if point in done:
            continue
        same = [p for p in points if needs_lead(p) and (p.n, p.lead) == (point.n, point.lead)]
        if not needs_lead(point):
            same = [point]
        done.update(same)
        text = "；".join(p.text.rstrip("。；") for p in same)
        lines.append(f"- {cited(point, f'{_lead(point)}{text}。') if needs_lead(point) else cited(point)}")
    return "\n".join(lines)


def care_block(care: Sequence[Sentence], heading: str) -> str:
    """The last part of an answer: items under the instruction that leads them in their document."""
    loose = [s for s in care if not s.lead]
    lines = [heading, *(f"- {cited(s)}" for s in loose)] if loose else []
    for lead in dict.fromkeys(s.lead for s in care if s.lead):
        lines += [lead, *(f"- {cited(s)}" for s in care if s.lead == lead)]
    return "\n".join(lines)


def _lead(sentence: Sentence) -> str:
    return sentence.lead if sentence.lead.endswith(("：", ":")) else f"{sentence.lead}："


def _blocks(text: str) -> list[str]:
    """The answer in a few pieces for the stream, cut at blank lines."""
    parts = text.split("\n\n")
    return [part + ("\n\n" if i < len(parts) - 1 else "") for i, part in enumerate(parts) if part]
