"""A second look at what a message asks for: a linear model over its character n-grams.

Owns the features, the stored weights and the score. It catches requests in words that no rule of `codes/input.yaml`
knows; rules stay the first word. Training is `input_train.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

INPUT_DETECTOR_FILE = "input_detector.npz"
MAX_NGRAM = 4
MAX_CHARS = 600
"""Longer messages are read in parts of this size: what a request asks stands in few words."""


def ngrams(folded: str) -> set[str]:
    """The distinct character n-grams of a folded text, its ends marked."""
    text = f"^{folded}$"
    return {text[at : at + size] for size in range(1, MAX_NGRAM + 1) for at in range(len(text) - size + 1)}


@dataclass(frozen=True, slots=True)
class InputDetector:
    """`weights` (n, kinds) over `vocabulary`, `bias` (kinds,); a kind counts from `threshold` (logit) on."""

    vocabulary: dict[str, int]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    kinds: tuple[str, ...]
    threshold: float

    @classmethod
    def load(cls, folder: Path) -> InputDetector:
        """Raises `OSError` or `KeyError` when the file is missing or not a detector."""
        with np.load(folder / INPUT_DETECTOR_FILE, allow_pickle=False) as data:
            grams = str(data["grams"]).split("\n")
            return cls(
                {gram: index for index, gram in enumerate(grams)},
                data["weights"].astype(np.float32),
                data["bias"].astype(np.float32),
                tuple(str(data["kinds"]).split("\n")),
                float(data["threshold"]),
            )

    def suspects(self, folded: str) -> str | None:
        """The kind of request that the text looks most like, None when it looks like an ordinary message."""
        parts = [folded[at : at + MAX_CHARS] for at in range(0, len(folded), MAX_CHARS)]
        scores = np.array([self.scores(part) for part in parts if part])
        if not len(scores) or scores.max() <= self.threshold:
            return None
        return self.kinds[int(scores.max(axis=0).argmax())]

    def scores(self, folded: str) -> NDArray[np.float32]:
        """Logits (kinds,): the weights of the known n-grams, scaled by the root of their number."""
        known = [index for gram in ngrams(folded) if (index := self.vocabulary.get(gram)) is not None]
        if not known:
            return self.bias
        return np.asarray(self.weights[known].sum(axis=0) / np.sqrt(len(known)) + self.bias, dtype=np.float32)
