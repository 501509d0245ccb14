"""The acceptance questions: asked of a new collection before it may be served, and by the benchmark.

Owns the question files, the figures and the bound. The questions are in patients' words and none comes from a
document; the development half is for calibrating, the test half only for measuring.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from retrieval.types import Filter, Retrieved

HERE = Path(__file__).parent
ANSWERABLE = HERE / "acceptance.jsonl"
UNANSWERABLE = HERE / "unanswerable.jsonl"
MIN_HIT_AT_5 = 0.95
"""Below it a collection is not served without an operator's word. The aim for the shipped documents is 0.97."""
DEPTH = 20

Progress = Callable[[int, int], None]


class AsksNow(Protocol):
    """A searcher bound to the collection under test, with its evidence threshold at 0."""

    def search_now(self, query: str, *, filter: Filter | None = None, limit: int = 8) -> Retrieved: ...  # noqa: A002


@dataclass(frozen=True, slots=True)
class Question:
    """`documents` are those in which the answer can be read; empty where the knowledge has none."""

    text: str
    documents: frozenset[str] = frozenset()
    department: str = ""
    audience: str = "patient"
    split: str = ""

    @property
    def filter(self) -> Filter:
        return Filter(audience="patient" if self.audience == "patient" else None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rank` (1-based) of the first passage of a right document among the best DEPTH, None when there is none.

    `score` is that of the best passage, 0 without any; `right` that of the best right one.
    """

    question: Question
    rank: int | None
    score: float
    right: float
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares (0..1) over `questions`."""

    questions: int
    hit_at_1: float
    hit_at_5: float
    mrr: float


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the questions showed. `lost` and `withheld` are at the evidence threshold in use."""

    overall: Figures
    departments: dict[str, Figures]
    lost: float
    withheld: float | None
    passed: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_questions(path: Path, *, split: str | None = None) -> list[Question]:
    """Questions of a file, one JSON object a line; `split` keeps one half."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    questions = [
        Question(
            row["question"],
            frozenset(row.get("documents", [])),
            row.get("department", ""),
            row.get("audience", "patient"),
            row.get("split", ""),
        )
        for row in rows
    ]
    return [question for question in questions if split in (None, question.split)]


def applicable(questions: Iterable[Question], present: Collection[str]) -> list[Question]:
    """Those whose answer is in one of the documents that are present."""
    return [question for question in questions if question.documents & set(present)]


def ask(searcher: AsksNow, questions: Sequence[Question], progress: Progress | None = None) -> list[Outcome]:
    """The outcome of every question, in order. Blocking."""
    outcomes = []
    for number, question in enumerate(questions, start=1):
        found = searcher.search_now(question.text, filter=question.filter, limit=DEPTH)
        places = [i for i, hit in enumerate(found.hits) if hit.chunk.document_id in question.documents]
        outcomes.append(
            Outcome(
                question,
                places[0] + 1 if places else None,
                found.hits[0].score if found.hits else 0.0,
                found.hits[places[0]].score if places else 0.0,
                tuple(hit.chunk.document_id for hit in found.hits[:5]),
            )
        )
        if progress is not None:
            progress(number, len(questions))
    return outcomes


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """hit@1, hit@5 and mean reciprocal rank by passage; zeros for no questions."""
    number = len(outcomes)
    if not number:
        return Figures(0, 0.0, 0.0, 0.0)
    ranks = [outcome.rank for outcome in outcomes if outcome.rank is not None]
    return Figures(
        number,
        round(sum(rank <= 1 for rank in ranks) / number, 4),
        round(sum(rank <= 5 for rank in ranks) / number, 4),
        round(sum(1 / rank for rank in ranks) / number, 4),
    )


def judge(
    answerable: Sequence[Outcome],
    unanswerable: Sequence[Outcome],
    *,
    threshold: float,
    bound: float = MIN_HIT_AT_5,
) -> Acceptance:
    """The figures, and whether hit@5 reaches the bound. Without any question nothing was shown: not passed."""
    overall = figures(answerable)
    names = sorted({outcome.question.department for outcome in answerable})
    lost = sum(outcome.score < threshold for outcome in answerable)
    withheld = sum(outcome.score < threshold for outcome in unanswerable)
    return Acceptance(
        overall,
        {name: figures([o for o in answerable if o.question.department == name]) for name in names},
        round(lost / len(answerable), 4) if answerable else 0.0,
        round(withheld / len(unanswerable), 4) if unanswerable else None,
        bool(answerable) and overall.hit_at_5 >= bound,
    )
