"""Chooses the sentences of an answer: the direct answer, the points that belong to it, and when to seek care.

Owns choice and order; scores come from `extractive_score.py`, the written form is given in `extractive.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.llm.answer_fit import VERDICT, missing_kinds
from app.llm.base import GenerationRequest
from app.llm.extractive_score import Scored, bigrams, main_document, overlap, similarity
from app.llm.extractive_text import LEANS_BACK, Sentence, clean, stands_alone, with_context

MAX_DIRECT_CHARS = 160
MAX_CARE = 3
MAX_CARE_CHARS = 150
SAME_IDEA = 0.55
PAIR_ALIKE = 0.5
PAIR_RELATED = 0.3
PAIR_VERDICT = 0.4
PAIR_BONUS = 0.45
VERDICT_BONUS = 0.15
POINT_RELATIVE = 0.5
CONTENT_RELATIVE = 0.6
DIVERSITY = 0.5
UNSURE = 0.3
EQUAL = 0.75
BRIEF_CHARS = 60
BESIDE_RELATIVE = 0.45
LEAN_PENALTY = 0.4
FIRST_STEP = 0.3
"""Steps are told from the first one on."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much an answer may hold: points, characters of opening and points together.

    `closeness` is the share of the opening's relevance a point must have, 0..1; `points_if_unsure` is the number of
    points when the evidence hardly fits the question.
    """

    points: int
    chars: int
    closeness: float = POINT_RELATIVE
    points_if_unsure: int = 1


_CARE = re.compile(r"急诊|就医|医院|就诊|门诊")


def direct_answer(scored: Scored) -> list[Sentence]:
    """One to three sentences that answer at once: the best one with its context, then what is still unanswered."""
    ranked = sorted(scored.sentences, key=lambda s: direct_score(scored, s), reverse=True)
    for best in ranked:
        if _answers_another(scored, best):
            continue
        group = _whole_answer(scored, best) or with_context(best, scored.sentences)
        if group:
            return _within([*group, *_completing(scored, best, group)], MAX_DIRECT_CHARS)
    return []


def _answers_another(scored: Scored, sentence: Sentence) -> bool:
    """Whether it is a verdict on a question that was not asked ("不要自己停" when asked whether a drug helps)."""
    if not sentence.asks or scored.pairs[sentence.place[0]] >= PAIR_VERDICT:
        return False
    return not stands_alone(sentence, named=False)


def _whole_answer(scored: Scored, best: Sentence) -> list[Sentence]:
    """The answer from its first sentence on when the pair asks much the same question; [] otherwise."""
    if not best.asks or scored.pairs[best.place[0]] < PAIR_RELATED:
        return []
    own = [s for s in scored.sentences if s.place[0] == best.place[0]]
    return own[: max(1, own.index(best) + 1)] if own[0].opens else []


def direct_score(scored: Scored, sentence: Sentence) -> float:
    """The score as an opening: the answer to the same question, a verdict, or the first of some steps counts more."""
    bonus = 0.0
    if sentence.asks:
        alike = scored.pairs.get(sentence.place[0], 0.0)
        bonus = PAIR_BONUS * alike if alike >= PAIR_ALIKE else -PAIR_BONUS / 2 if sentence.opens else 0.0
    if scored.want.yes_no and VERDICT.search(sentence.text):
        bonus += VERDICT_BONUS
    if scored.want.what_is and not sentence.section:
        bonus += VERDICT_BONUS
    if LEANS_BACK.match(sentence.text) and not sentence.opens:
        bonus -= LEAN_PENALTY
    if scored.want.asks_how and sentence.item:
        bonus += FIRST_STEP / (1 + sentence.place[1])
    return sentence.score + bonus


def _completing(scored: Scored, best: Sentence, group: Sequence[Sentence]) -> list[Sentence]:
    """What the opening still needs: an asked kind of answer it lacks, else the next sentence of the same pair."""
    said = "".join(s.text for s in group)
    for kind in missing_kinds(scored.want, said):
        fitting = [
            s
            for s in scored.sentences
            if s not in group
            and kind.answered.search(s.text)
            and kind.section is not None
            and (kind.section.search(s.section) or kind.section.search(s.asks))
            and s.relevance >= POINT_RELATIVE * best.relevance
            and s.about >= 0
            and not LEANS_BACK.match(s.text)
        ]
        if fitting:
            return [max(fitting, key=lambda s: s.score)]
    if best.asks and group[0].opens:
        return [s for s in scored.sentences if s.place == (best.place[0], group[-1].place[1] + 1)][:1]
    if len(group) > 1 and len(said) > BRIEF_CHARS:
        return []
    return _runner_up(scored, best, group)


def _runner_up(scored: Scored, best: Sentence, group: Sequence[Sentence]) -> list[Sentence]:
    """A second sentence that answers nearly as well and says something else."""
    floor = EQUAL * direct_score(scored, best)
    others = [
        s
        for s in scored.sentences
        if s not in group
        and s.about >= 0
        and direct_score(scored, s) >= floor
        and _near_enough(s, best, alone=len(group) == 1)
        and stands_alone(s, named=False)
        and s.text[-1] not in "；;"
        and not _repeats(s, group)
    ]
    return [max(others, key=lambda s: direct_score(scored, s))] if others else []


def _near_enough(sentence: Sentence, best: Sentence, *, alone: bool) -> bool:
    """Whether a sentence may stand beside the best one: from the same passage, or as close to the question."""
    if sentence.place[0] == best.place[0]:
        return True
    return alone and not sentence.asks and sentence.content >= BESIDE_RELATIVE * best.content


def pick_points(
    scored: Scored, direct: Sequence[Sentence], extent: Extent, named: frozenset[Sentence]
) -> list[Sentence]:
    """Further sentences that belong to the question, each a new idea, in the order of the evidence.

    `named` are the sentences that name a subject. Few or none when the evidence hardly fits.
    """
    if not direct or not scored.known:
        return []
    allowed = extent.points_if_unsure if scored.sure < UNSURE else extent.points
    home = direct[0].place[0]
    floor = extent.closeness * max(s.relevance for s in direct)
    shared = CONTENT_RELATIVE * extent.closeness * max(s.content for s in direct)
    pool = [s for s in scored.sentences if s not in direct and _belongs(scored, s, home, floor, shared)]
    chosen: list[Sentence] = []
    while pool and len(chosen) < allowed:
        said = [*direct, *chosen]
        best = max(pool, key=lambda s: s.score - DIVERSITY * max(similarity(s, o) for o in said))
        pool.remove(best)
        group = [s for s in with_context(best, scored.sentences) if s not in said]
        size = sum(len(s.text) for s in [*direct, *chosen, *group])
        if not group or best not in group or any(_repeats(s, said) for s in group) or size > extent.chars:
            continue
        if len(group) == 1 and not stands_alone(best, best in named):
            continue
        chosen.extend(group)
    return sorted(chosen, key=lambda s: s.place)


def _belongs(scored: Scored, sentence: Sentence, home: int, floor: float, content_floor: float) -> bool:
    """Whether a sentence belongs to the question: it fits well enough and speaks of the same thing."""
    if sentence.about < 0 or sentence.relevance < floor or sentence.content < content_floor:
        return False
    if sentence.aside:
        return False
    if sentence.place[0] == home:
        return True
    return not sentence.asks or scored.pairs.get(sentence.place[0], 0.0) >= PAIR_RELATED


def pick_care(
    request: GenerationRequest, direct: Sequence[Sentence], said: Sequence[Sentence]
) -> list[Sentence]:
    """When to seek care, from the document that answers; list items carry the instruction that leads them."""
    asked = bigrams(request.question)
    found: list[Sentence] = []
    for index in _care_passages(request, direct):
        lead = ""
        for position, raw in enumerate(request.passages[index].chunk.sentences):
            text = clean(raw)
            if text.endswith(("：", ":")):
                lead = text
                continue
            if len(text) < 8 or text.endswith("？"):
                continue
            is_item = raw.lstrip()[:1] in "-*0123456789"
            urgent = (
                0.5
                if "120" in (lead if is_item else "") + text
                else 0.2
                if _CARE.search(lead + text)
                else 0.0
            )
            score = urgent + overlap(asked, bigrams(text)) - 0.01 * position
            found.append(Sentence(text, index + 1, (index, position), score, lead=lead if is_item else ""))
    chosen: list[Sentence] = []
    for sentence in sorted(found, key=lambda s: s.score, reverse=True):
        size = sum(len(s.text) for s in [*chosen, sentence])
        fits = not chosen or (len(chosen) < MAX_CARE and size <= MAX_CARE_CHARS)
        if fits and not _repeats(sentence, [*said, *chosen]) and not LEANS_BACK.match(sentence.text):
            chosen.append(sentence)
    return sorted(chosen, key=lambda s: s.place)


def _care_passages(request: GenerationRequest, direct: Sequence[Sentence]) -> list[int]:
    """The passages on seeking care of the document that answers, else of the main one; never of another."""
    answering = {request.passages[s.place[0]].chunk.document_id for s in direct[:1]}
    care = sorted(request.care)
    own = [i for i in care if request.passages[i].chunk.document_id in answering]
    top = [i for i in care if request.passages[i].chunk.document_id in main_document(request)]
    return own if own else top


def _repeats(sentence: Sentence, said: Sequence[Sentence]) -> bool:
    return any(similarity(sentence, other) > SAME_IDEA for other in said)


def _within(sentences: Sequence[Sentence], max_chars: int) -> list[Sentence]:
    kept: list[Sentence] = []
    for sentence in sentences:
        if kept and sum(len(s.text) for s in kept) + len(sentence.text) > max_chars:
            break
        kept.append(sentence)
    return kept
