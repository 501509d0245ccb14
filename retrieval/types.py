"""What retrieval takes and gives: chunks as indexed, hits as found, evidence as decided.

Owns the vocabulary of the package; no FastAPI, no SQL, nothing about users.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
SparseVector = dict[int, float]
Purpose = Literal["query", "document"]

# The shipped encoder. A newly trained one gets the next number: its vectors and older ones cannot be compared, so neither
# the cache of vectors nor a collection of one may serve the other.
ANXIN_E5 = "anxin_e5_2"


class EvidenceLevel(StrEnum):
    SUFFICIENT = "sufficient"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One indexed passage. `text` is what readers see; `embedded_text` adds title and heading path.

    `sentences` are the sentences of `text` in order (joining them gives the text up to white space);
    `sentence_sources[i]` is the source label of sentence i, "" when it has none of its own.
    `previous_id` / `next_id` link neighbours of the same document.
    """

    chunk_id: str
    document_id: str
    title: str
    section: str
    text: str
    department: str
    kind: str
    audience: str
    source: str
    year: str
    sentences: tuple[str, ...] = ()
    sentence_sources: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    page: int | None = None
    previous_id: str | None = None
    next_id: str | None = None
    expires_on: str | None = None

    @property
    def embedded_text(self) -> str:
        return f"{self.title} {self.section}\n{self.text}" if self.section else f"{self.title}\n{self.text}"


@dataclass(frozen=True, slots=True)
class Embedding:
    """Vectors of a batch: `dense` (n, dim) float32, L2-normalised; `sparse` lexical weights or None."""

    dense: Matrix
    sparse: tuple[SparseVector, ...] | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What the index keeps beside a chunk so that nothing has to be embedded or segmented per question.

    `tokens` are the words of the embedded text; `vector` (dim,) is the passage's; `sentence_vectors` (n,
    dim) are those of the first n sentences (n is less than the number of sentences only when the field was
    full).
    """

    tokens: tuple[str, ...]
    vector: NDArray[np.float32]
    sentence_vectors: Matrix


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk with its score; higher is better. `scores` keeps the parts that led to it, for explanation.

    `stored` is there for the reranker; it takes no part in comparisons.
    """

    chunk: Chunk
    score: float
    scores: dict[str, float] = field(default_factory=dict)
    stored: Stored | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Restricts a search; None means no restriction. `on_date` (ISO) hides documents that have expired."""

    department: str | None = None
    audience: str | None = None
    on_date: str | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The outcome of a search: reranked hits above the threshold, or none with `evidence` = none.

    `query_vector` (dim,) is handed back so that later steps need not embed the question again.
    `timings_ms` holds `embed`, `search`, `rerank`.
    """

    hits: tuple[Hit, ...]
    evidence: EvidenceLevel
    query_vector: NDArray[np.float32]
    index: str
    timings_ms: dict[str, float] = field(default_factory=dict)


class Embedder(Protocol):
    """Turns texts into vectors. Blocking; callers move it off the event loop."""

    name: str
    dim: int

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding: ...


class Reranker(Protocol):
    """Scores candidates for a question on one calibrated scale (0..1, probability that the passage answers).

    Blocking; `hits` come with their fused scores, the result is sorted, best first.
    """

    name: str

    def rerank(self, query: str, query_vector: Matrix, hits: Sequence[Hit]) -> list[Hit]: ...


@runtime_checkable
class IndexAware(Protocol):
    """A reranker that gets to know the collection: words and text of its passages, and its embedder's name."""

    def learn_index(self, passages: Iterable[tuple[Sequence[str], str]], embedder: str) -> None: ...
