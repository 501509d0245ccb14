"""Scores the sentences of the evidence for a question: words and meaning in common, the kind of answer, the heading or
question it stands under, and whether it speaks of the asked thing.

Owns similarity and its weights; reading passages is in `extractive_text.py`, choosing in `extractive_select.py`.
The weights were set on two thirds of the documents' wordings (`knowledge_base/asked`) and the development answers.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from app.llm.answer_fit import (
    EntitiesOf,
    Wanted,
    coverage,
    drug_fit,
    entity_fit,
    kind_agreement,
    kind_fit,
    related,
    section_fit,
    subjects,
    wanted,
)
from app.llm.base import GenerationRequest
from app.llm.extractive_text import Sentence, clean, read_sentences
from app.llm.extractive_values import numbers_of, value_fit
from app.llm.lay_words import written_words
from app.safety.types import Audience

CONTEXT_WEIGHT = 0.5
"""Share of a word's weight when only the background of the question has it, not the clause that asks."""
SINGLE_WEIGHT = 0.45
TRIPLE_WEIGHT = 0.75
NAME_WEIGHT, TITLE_WEIGHT = 0.15, 0.25
"""Share of a word's weight in titles and names: the name of the subject says which document, not which sentence."""
NEAR, WORDS, KIND, UNDER = 1.2, 1.5, 0.5, 1.1
PASSAGE, ABOUT, VALUE = 0.7, 0.3, 0.4
LACKING = 0.8
"""Taken off where a passage leaves out what another one names: an answer on half of the question misleads."""
FOR_READER = 0.8
"""Added for clinicians to what was written for them; patients are never given it, see `EvidenceFinder`."""
ASIDE = 0.5
"""Taken off outside the main documents: they were found by a word in common more often than for the subject."""
RANK_OFFSET, NEARLY_MAIN = 2, 0.7
WRONG_PAIR = 0.3
"""A pair whose question is less like the asked one than this answers something else."""
_NOT_WORD = re.compile(r"[^\w一-鿿]+")
_STOP = frozenset("的了吗呢吧啊呀么是有在我你您他她它们这那和与及就都也还要能可以会怎什老咋啥呗")


@dataclass(frozen=True, slots=True)
class Scored:
    """The scored sentences of the evidence and what was asked.

    `pairs` says for each passage how alike its pair's question is to the asked one, 0..1, and `known` whether any
    passage speaks of what was asked; `sure` is the best fit found by words, kind and heading alone, 0..1.
    """

    want: Wanted
    sentences: tuple[Sentence, ...]
    pairs: Mapping[int, float]
    known: bool
    sure: float


def score_sentences(request: GenerationRequest, entities_of: EntitiesOf) -> Scored:
    """Every usable sentence of the passages (those on when to seek care excepted), scored."""
    want = wanted(request.question, entities_of)
    raw = [
        s for i, hit in enumerate(request.passages) if i not in request.care for s in read_sentences(hit, i)
    ]
    headings = [s.asks if s.asks else s.section for s in raw if s.place[1] <= 1]
    words = QuestionWords(
        want, [*(s.text for s in raw), *headings], {hit.chunk.title for hit in request.passages}
    )
    given = numbers_of(request.question) if want.reads_value else ()
    near = sentence_nearness(request)
    titles = {i: subjects(entities_of(hit.chunk.title)) for i, hit in enumerate(request.passages)}
    lacking = lacks(want, request, entities_of)
    top = max((hit.score for hit in request.passages), default=0.0)
    main = main_document(request)
    for_clinicians = request.audience is Audience.CLINICIAN
    readers = [
        FOR_READER if for_clinicians and h.chunk.audience == "clinician" else 0.0 for h in request.passages
    ]
    under = {}
    for index, hit in enumerate(request.passages):
        under[index] = under_fit(words, want, near, index, [s for s in raw if s.place[0] == index])
        if (
            under[index]
            and want.entities
            and entity_fit(want, subjects(entities_of(hit.chunk.text)), titles[index]) < 0
        ):
            under[index] = 0.0
    sentences = []
    sure = 0.0
    for sentence in raw:
        index = sentence.place[0]
        own = subjects(entities_of(sentence.text))
        about = entity_fit(want, own, titles[index])
        shared, kind = words.share(sentence.text), kind_fit(want, sentence.text)
        fit = under[index] - (WRONG_PAIR if sentence.asks and under[index] < WRONG_PAIR else 0.0)
        content = NEAR * near.get(sentence.place, 0.0) + WORDS * shared
        content += VALUE * max(value_fit(given, sentence.text), drug_fit(want, own))
        relevance = content + KIND * kind + UNDER * fit - LACKING * lacking[index]
        passage = request.passages[index].score / top if top > 0 else 1.0
        aside = request.passages[index].chunk.document_id not in main and not related(
            want.entities, titles[index]
        )
        sure = max(sure, (shared + kind + max(fit, 0.0)) / 3)
        sentences.append(
            replace(
                sentence,
                about=about,
                content=content,
                relevance=relevance,
                score=relevance
                + PASSAGE * passage
                + ABOUT * about
                - (ASIDE if aside else 0.0)
                + readers[index],
                aside=aside,
            )
        )
    known = not want.drugs or any(s.about > 0 for s in sentences)
    pairs = {s.place[0]: under[s.place[0]] for s in sentences if s.asks}
    return Scored(want, tuple(sentences), pairs, known, sure)


def lacks(want: Wanted, request: GenerationRequest, entities_of: EntitiesOf) -> dict[int, float]:
    """How much less each passage speaks of the things asked about than the passage that speaks of most of them, 0..1."""
    told = {
        i: coverage(want, entities_of(hit.chunk.text), entities_of(f"{hit.chunk.title} {hit.chunk.section}"))
        for i, hit in enumerate(request.passages)
        if i not in request.care
    }
    most = max(told.values(), default=0.0)
    return {i: most - share for i, share in told.items()}


def main_document(request: GenerationRequest) -> frozenset[str]:
    """The documents that most of the evidence comes from, better ranks counting more; nearly always one."""
    votes: dict[str, float] = {}
    for rank, hit in enumerate(request.passages):
        if hit.score > 0:
            votes[hit.chunk.document_id] = votes.get(hit.chunk.document_id, 0.0) + 1 / (RANK_OFFSET + rank)
    most = max(votes.values(), default=0.0)
    return frozenset(document for document, vote in votes.items() if vote >= NEARLY_MAIN * most)


def under_fit(
    words: QuestionWords, want: Wanted, near: Mapping[tuple[int, int], float], index: int, own: list[Sentence]
) -> float:
    """How well the heading, or for a pair its question, agrees with what is asked, 0..1."""
    if not own:
        return 0.0
    asks = own[0].asks
    if asks:
        alike, kinds = words.alike(asks), kind_agreement(want, asks)
        return 0.45 * alike + 0.25 * near.get((index, 0), alike) + 0.3 * kinds
    return 0.6 * words.alike(own[0].section) + 0.4 * section_fit(want, own[0].section)


def sentence_nearness(request: GenerationRequest) -> dict[tuple[int, int], float]:
    """Cosine of the question with each sentence, scaled to 0..1 within this request; {} without vectors.

    Scaling per request makes embedders comparable whose cosines all lie in a narrow band.
    """
    if request.query_vector is None:
        return {}
    cosines: dict[tuple[int, int], float] = {}
    for index, hit in enumerate(request.passages):
        if hit.stored is not None and len(hit.stored.sentence_vectors):
            for position, value in enumerate(hit.stored.sentence_vectors @ request.query_vector):
                cosines[index, position] = float(value)
    if not cosines:
        return {}
    low, high = min(cosines.values()), max(cosines.values())
    spread = high - low
    return {place: (value - low) / spread if spread > 0 else 0.0 for place, value in cosines.items()}


class QuestionWords:
    """The words of a question, weighted: rare among the candidates counts more, background less than the asking."""

    def __init__(self, want: Wanted, texts: Iterable[str], titles: Iterable[str] = ()) -> None:
        rows = [terms(text) for text in texts]
        self._titles = frozenset[str]().union(*(terms(title) for title in titles))
        self._names = frozenset[str]().union(*(terms(name) for name in want.names))
        self._count = len(rows)
        self._seen = Counter(term for row in rows for term in row)
        asked = _said(want.asking)
        context = _said(want.context) - asked
        self._own = {t: self._weight(t) for t in asked} | {
            t: CONTEXT_WEIGHT * self._weight(t) for t in context
        }
        # A word no candidate has says nothing about which candidate is best.
        self._total = sum(weight for term, weight in self._own.items() if self._seen[term])

    def share(self, text: str) -> float:
        """The weighted share of the question's words that the text has, 0..1."""
        if self._total <= 0:
            return 0.0
        return sum(self._own[term] for term in terms(text) if term in self._own) / self._total

    def alike(self, text: str) -> float:
        """How much text and question have in common, seen from both, 0..1."""
        own = terms(text)
        total = sum(self._weight(term) for term in own)
        common = sum(self._weight(term) for term in own if term in self._own)
        return (self.share(text) + (common / total if total > 0 else 0.0)) / 2

    def _weight(self, term: str) -> float:
        rare = math.log(1 + (self._count + 1) / (self._seen[term] + 0.5))
        length = SINGLE_WEIGHT if len(term) == 1 else TRIPLE_WEIGHT if len(term) == 3 else 1.0
        named = NAME_WEIGHT if term in self._names else TITLE_WEIGHT if term in self._titles else 1.0
        return rare * length * named


def _said(clauses: Iterable[str]) -> frozenset[str]:
    return frozenset[str]().union(
        *(terms(text) for clause in clauses for text in (clause, written_words(clause)))
    )


@lru_cache(maxsize=4096)
def terms(text: str) -> frozenset[str]:
    """Single characters, pairs and triples of neighbours without stop characters; Latin words and numbers whole."""
    out: set[str] = set()
    for run in _NOT_WORD.split(text.lower()):
        for piece in re.findall(r"[a-z0-9]+|[一-鿿]+", run):
            if piece[0].isascii():
                out.add(piece)
                continue
            kept = "".join(char for char in piece if char not in _STOP)
            out.update(kept)
            out.update(kept[i : i + 2] for i in range(len(kept) - 1))
            out.update(kept[i : i + 3] for i in range(len(kept) - 2))
    return frozenset(out)


@lru_cache(maxsize=4096)
def bigrams(text: str) -> frozenset[str]:
    """The pairs among the terms of a text, with its Latin words and numbers."""
    return frozenset(term for term in terms(clean(text)) if len(term) == 2 or term[0].isascii())


def overlap(of: frozenset[str], within: frozenset[str]) -> float:
    """The share of `of` found in `within`, 0..1."""
    return len(of & within) / len(of) if of else 0.0


def similarity(one: Sentence, other: Sentence) -> float:
    """How much two sentences say the same, 0..1, by the shorter one."""
    a, b = bigrams(one.text), bigrams(other.text)
    return max(overlap(a, b), overlap(b, a))
