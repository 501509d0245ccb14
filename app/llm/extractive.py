"""The embedded generator: an answer made of sentences of the evidence, cited, never invented.

Picks sentences that answer the question, keeps conditions and warnings with the sentence they belong to, removes
repetition and orders them as a person would: the direct answer first, then points, then when to see a doctor.
Owns selection and wording of the frame; what is evidence is decided before, what may be said is reviewed after.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.llm.answer_fit import EntitiesOf, entity_fit, kind_fit, wanted
from app.llm.base import Finished, GenerationRequest, Part, Started, Text
from app.safety.types import Audience

MODEL = "extractive-1"
MAX_POINTS = 5
MAX_POINTS_CLINICIAN = 8
MAX_DIRECT_CHARS = 160
MAX_CARE = 3
SAME_IDEA = 0.55
MIN_RELATIVE = 0.5
PAIR_RELATIVE = 0.75

_LEANS_BACK = re.compile(
    r"^(但|不过|然而|因此|所以|同时|此外|另外|这|它|其|该|否则|如果仍|若仍|即使|尤其|特别|也|还|并且|而且|其中|上述|以上|随后|之后)"
)
_BINDS_NEXT = re.compile(r"^(但|不过|然而|除非|否则|尤其|特别是|禁用|以下情况|有.{1,12}的人(不|慎|禁))")
_QUESTION = re.compile(r"^\s*(\*\*)?问[:：]")
_ANSWER = re.compile(r"^\s*(\*\*)?答[:：]\s*")
_MARKUP = re.compile(r"\*\*|^[-*+]\s+|^\d+[.、]\s*|^#+\s*", re.MULTILINE)
_NOT_WORD = re.compile(r"[^\w一-鿿]+")
_STOP = frozenset("的了吗呢吧啊呀么是有在我你您他她它们这那和与及就都也还要能可以会怎什")
_CARE = re.compile(r"急诊|就医|医院|就诊")
_YES_NO = re.compile(r"(吗|么|可不可以|能不能|可以不可以|要不要|行不行|会不会|是不是|有没有|该不该)")
_VERDICT = re.compile(
    r"^(可以|不可以|不能|不要|不宜|不建议|一般(可以|不)|通常(可以|不)|需要|不需要|不必|应|不应|禁止|会|不会|是|不是|能|没有必要|大多)"
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage. `n` is the citation number, `place` its position (passage, sentence).

    `lead` is the instruction that a list item stands under ("出现下面的情况，请立即拨打120：").
    """

    text: str
    n: int
    place: tuple[int, int]
    score: float
    lead: str = ""


def no_entities(_text: str) -> frozenset[str]:
    return frozenset()


class ExtractiveGenerator:
    """Answers with sentences of the evidence. `entities_of` names the drugs in a text (the medical graph)."""

    def __init__(self, entities_of: EntitiesOf = no_entities) -> None:
        self._entities_of = entities_of

    async def stream(self, request: GenerationRequest) -> AsyncIterator[Part]:
        yield Started("extractive", MODEL)
        text = await asyncio.to_thread(compose, request, self._entities_of)
        for block in _blocks(text):
            yield Text(block)
        yield Finished(0, len(text))

    async def check(self) -> str:
        return MODEL


def compose(request: GenerationRequest, entities_of: EntitiesOf = no_entities) -> str:
    """The whole answer as text with `[n]` marks; "" when no passage has a usable sentence."""
    sentences = score_sentences(request, entities_of)
    if not sentences:
        return ""
    direct = direct_answer(request, sentences)
    limit = MAX_POINTS_CLINICIAN if request.audience is Audience.CLINICIAN else MAX_POINTS
    points = pick_points(request, sentences, direct, limit)
    care = pick_care(request, [*direct, *points])
    parts = ["".join(cited(s) for s in direct)]
    if points:
        parts.append("\n".join(f"- {cited(s)}" for s in points))
    if care:
        parts.append(care_block(care))
    return "\n\n".join(parts)


def score_sentences(request: GenerationRequest, entities_of: EntitiesOf = no_entities) -> list[Sentence]:
    """Every usable sentence of the passages with how well it answers the question (higher is better)."""
    asked = bigrams(request.question)
    want = wanted(request.question, entities_of)
    top = max((hit.score for hit in request.passages), default=0.0)
    nearness = sentence_nearness(request)
    out: list[Sentence] = []
    for index, hit in enumerate(request.passages):
        if index in request.care:
            continue
        weight = hit.score / top if top > 0 else 1.0
        subject = entities_of(hit.chunk.title) if want.entities else frozenset()
        for position, raw in enumerate(hit.chunk.sentences or (hit.chunk.text,)):
            for text in usable(raw):
                lexical = overlap(asked, bigrams(text))
                about = entity_fit(want, entities_of(text), subject) if want.entities else 0.0
                score = (
                    0.5 * weight
                    + 0.9 * nearness.get((index, position), 0.0)
                    + 0.6 * lexical
                    + 0.35 * kind_fit(want, text)
                    + 0.5 * about
                )
                out.append(Sentence(text, index + 1, (index, position), score))
    return out


def usable(raw: str) -> list[str]:
    """What of a piece of a passage can stand in an answer: the sentence, or the rows of a table as sentences."""
    if raw.lstrip().startswith("|"):
        return table_rows(raw)
    text = clean(raw)
    complete = len(text) >= 6 and not _QUESTION.match(raw) and not text.endswith(("？", "?", "：", ":"))
    return [text] if complete else []


def table_rows(table: str) -> list[str]:
    """Each row of a Markdown table as "first cell：column name second cell；…。"."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    if len(rows) < 3:
        return []
    head, body = rows[0], rows[2:]
    out = []
    for row in body:
        rest = [f"{name}{cell}" if len(head) > 2 else cell for name, cell in zip(head[1:], row[1:], strict=False)]
        if rest and row[0]:
            out.append(f"{row[0]}：{'；'.join(rest)}。")
    return out


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


def direct_answer(request: GenerationRequest, sentences: Sequence[Sentence]) -> list[Sentence]:
    """One to three sentences that answer at once: a matching question-answer pair, else the best sentence."""
    paired = _paired_answer(request, sentences)
    if paired:
        return paired
    yes_no = _YES_NO.search(request.question) is not None
    ranked = sorted(
        sentences, key=lambda s: s.score + (0.12 if yes_no and _VERDICT.match(s.text) else 0), reverse=True
    )
    return _with_context(ranked[0], sentences)


def _paired_answer(request: GenerationRequest, sentences: Sequence[Sentence]) -> list[Sentence]:
    asked = bigrams(request.question)
    nearness = sentence_nearness(request)
    best: tuple[float, int] | None = None
    for index, hit in enumerate(request.passages[:4]):
        question = next((clean(s) for s in hit.chunk.sentences if _QUESTION.match(s)), None)
        if question is None or index in request.care:
            continue
        alike = (overlap(asked, bigrams(question)) + overlap(bigrams(question), asked)) / 2
        fit = alike + 0.3 * nearness.get((index, 0), 0.0) - 0.05 * index
        if (index == 0 or fit > 0.45) and (best is None or fit > best[0]):
            best = (fit, index)
    if best is None:
        return []
    chosen = [s for s in sentences if s.place[0] == best[1]]
    strongest = max(s.score for s in sentences)
    if not chosen or max(s.score for s in chosen) < PAIR_RELATIVE * strongest:
        return []
    return _within(chosen, MAX_DIRECT_CHARS)


def _with_context(sentence: Sentence, sentences: Sequence[Sentence]) -> list[Sentence]:
    """The sentence with the one it leans on and the warning that follows it."""
    by_place = {s.place: s for s in sentences}
    passage, position = sentence.place
    group = [sentence]
    before = by_place.get((passage, position - 1))
    if _LEANS_BACK.match(sentence.text) and before is not None:
        group.insert(0, before)
    after = by_place.get((passage, position + 1))
    if after is not None and _BINDS_NEXT.match(after.text):
        group.append(after)
    return group


def pick_points(
    request: GenerationRequest, sentences: Sequence[Sentence], direct: Sequence[Sentence], limit: int
) -> list[Sentence]:
    """Further sentences, each a new idea, in the order of the evidence."""
    if not sentences:
        return []
    floor = max(s.score for s in sentences) * MIN_RELATIVE
    chosen: list[Sentence] = []
    for sentence in sorted(sentences, key=lambda s: s.score, reverse=True):
        if len(chosen) >= limit or sentence.score < floor:
            break
        group = [s for s in _with_context(sentence, sentences) if s not in chosen and s not in direct]
        fresh = [s for s in group if not _repeats(s, [*direct, *chosen])]
        if fresh and sentence in fresh:
            chosen.extend(fresh)
    return sorted(chosen[: limit + 1], key=lambda s: s.place)


def pick_care(request: GenerationRequest, said: Sequence[Sentence]) -> list[Sentence]:
    """When to seek care, from the passages marked for it; list items carry the instruction that leads them."""
    asked = bigrams(request.question)
    found: list[Sentence] = []
    for index in sorted(request.care):
        lead = ""
        for position, raw in enumerate(request.passages[index].chunk.sentences):
            text = clean(raw)
            if text.endswith(("：", ":")):
                lead = text
                continue
            if len(text) < 8 or text.endswith("？"):
                continue
            is_item = raw.lstrip().startswith(("-", "*"))
            urgent = 0.5 if "120" in (lead if is_item else "") + text else 0.2 if _CARE.search(lead + text) else 0.0
            score = urgent + overlap(asked, bigrams(text)) - 0.01 * position
            found.append(Sentence(text, index + 1, (index, position), score, lead if is_item else ""))
    chosen: list[Sentence] = []
    for sentence in sorted(found, key=lambda s: s.score, reverse=True):
        if len(chosen) < MAX_CARE and not _repeats(sentence, [*said, *chosen]):
            chosen.append(sentence)
    return sorted(chosen, key=lambda s: s.place)


def care_block(care: Sequence[Sentence]) -> str:
    """The last part of an answer: items under the instruction that leads them in the document."""
    lead = next((s.lead for s in care if s.lead), "")
    heading = lead if lead else "什么时候要就医："
    first = [s for s in care if s.lead] if lead else list(care)
    rest = [s for s in care if s not in first]
    lines = [heading, *(f"- {cited(s)}" for s in first), *(f"- {cited(s)}" for s in rest)]
    return "\n".join(lines)


def _repeats(sentence: Sentence, said: Sequence[Sentence]) -> bool:
    own = bigrams(sentence.text)
    return any(max(overlap(own, bigrams(s.text)), overlap(bigrams(s.text), own)) > SAME_IDEA for s in said)


def _within(sentences: Sequence[Sentence], max_chars: int) -> list[Sentence]:
    kept: list[Sentence] = []
    for sentence in sentences:
        if kept and sum(len(s.text) for s in kept) + len(sentence.text) > max_chars:
            break
        kept.append(sentence)
    return kept


def clean(sentence: str) -> str:
    """A sentence without Markdown marks, question/answer labels and line breaks."""
    text = _ANSWER.sub("", _QUESTION.sub("", sentence))
    return _MARKUP.sub("", text).replace("\n", "").strip()


def cited(sentence: Sentence) -> str:
    """The sentence with its mark before the closing punctuation."""
    text = sentence.text
    if text and text[-1] in "。！？!?；;":
        end = "。" if text[-1] in "；;" else text[-1]
        return f"{text[:-1]}[{sentence.n}]{end}"
    return f"{text}[{sentence.n}]。"


def bigrams(text: str) -> frozenset[str]:
    """Character bigrams without stop characters, words of Latin letters and digits kept whole."""
    out: set[str] = set()
    for run in _NOT_WORD.split(text.lower()):
        for piece in re.findall(r"[a-z0-9]+|[一-鿿]+", run):
            if piece[0].isascii():
                out.add(piece)
                continue
            kept = "".join(char for char in piece if char not in _STOP)
            out.update(kept[i : i + 2] for i in range(len(kept) - 1))
    return frozenset(out)


def overlap(of: frozenset[str], within: frozenset[str]) -> float:
    """The share of `of` found in `within`, 0..1."""
    return len(of & within) / len(of) if of else 0.0


def _blocks(text: str) -> list[str]:
    """The answer in a few pieces for the stream, cut at blank lines."""
    parts = text.split("\n\n")
    return [part + ("\n\n" if i < len(parts) - 1 else "") for i, part in enumerate(parts) if part]
