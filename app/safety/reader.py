"""A small transformer that reads messages and answers for what linear models over words miss.

It is the embedded model (`retrieval/embedders/e5.py`) with changed weights and three linear heads: how urgent a message
is, which codes a sentence of an answer breaks in the light of its question, and whether a passage supports a claim. Owns
the file `reader.npz`, how texts are put to the model, and the logits. What they lead to is decided in
`triage_semantic.py`, `review_detector.py` and `claims.py`. Training is `reader_train.py`.

The file holds changes, not weights: the matrices' differences from the embedded model in five levels, 64 values to a step.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.safety.types import ViolationCode
from retrieval.embedders.e5 import BOS, E5, EOS, give_back_memory, graph_weights, tuned_e5, wheel_file

READER_FILE = Path(__file__).with_name("reader.npz")
# What each kind of text starts with, so that the one model knows what it is asked.
MESSAGE, ANSWER, CLAIM = "分诊:", "审查:", "依据:"
HEADS = ("triage", "review", "claim")
MESSAGE_TOKENS, QUESTION_TOKENS, SENTENCE_TOKENS, CLAIM_TOKENS, PASSAGE_TOKENS = 160, 48, 90, 80, 220
LEVELS, BLOCK = 2, 64

Floats = NDArray[np.float32]
Head = tuple[Floats, Floats]


class Packed(NamedTuple):
    """A change of a matrix: `levels` (values,) in -2 … 2 and `steps` (values / 64,)."""

    levels: NDArray[np.int8]
    steps: NDArray[np.float16]

    @classmethod
    def of(cls, change: Floats) -> Packed:
        """Round to the nearest level, the largest change of a block being the highest: cutting off large changes costs
        more than coarse steps. The number of values must be a multiple of `BLOCK`."""
        blocks = change.reshape(-1, BLOCK)
        steps = (np.abs(blocks).max(axis=1) / LEVELS).astype(np.float16)
        safe = np.where(steps > 0, steps, 1).astype(np.float32)[:, None]
        levels = np.clip(np.round(blocks / safe), -LEVELS, LEVELS).astype(np.int8)
        return cls(levels.reshape(-1), steps)

    def values(self) -> Floats:
        """(values,)"""
        blocks = self.levels.reshape(-1, BLOCK) * self.steps.astype(np.float32)[:, None]
        return np.asarray(blocks.reshape(-1), dtype=np.float32)


class Reader:
    """The loaded model and its heads. Blocking; safe to call from several threads."""

    def __init__(self, model: E5, heads: Mapping[str, Head], codes: Sequence[str]) -> None:
        self._model = model
        self._heads = heads
        self.codes = tuple(ViolationCode(code) for code in codes)

    @classmethod
    def load(cls, path: Path = READER_FILE, *, threads: int | None = None) -> Reader:
        """Raises `OSError` when the file is missing, `ValueError` when it is not a reader."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                changes = _changes(stored)
                heads = {
                    name: (
                        stored[f"{name}_weight"].astype(np.float32),
                        stored[f"{name}_bias"].astype(np.float32),
                    )
                    for name in HEADS
                }
                codes = str(stored["codes"]).split("\n")
        except (KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path.name} is not a reader: {error}") from error
        return cls(tuned_e5(changes, threads), heads, codes)

    def urgency(self, texts: Sequence[str]) -> Floats:
        """(n, 3) log-probabilities of routine, urgent and emergency of messages, normalised as triage reads them."""
        tokens = self._model.tokens
        read = [[BOS, *tokens(MESSAGE + text)[:MESSAGE_TOKENS], EOS] for text in texts]
        scores = self._scores("triage", read)
        logs: Floats = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        return logs

    def faults(self, question: str, sentences: Sequence[str]) -> Floats:
        """(n, codes) logits that a sentence of an answer to `question` breaks each of `codes`."""
        tokens = self._model.tokens
        asked = tokens(ANSWER + question)[:QUESTION_TOKENS]
        return self._scores("review", [pair(asked, tokens(text)[:SENTENCE_TOKENS]) for text in sentences])

    def support(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """(n,) logits that the passage supports the claim, for (claim, passage) pairs."""
        tokens = self._model.tokens
        read = [
            pair(tokens(CLAIM + claim)[:CLAIM_TOKENS], tokens(passage)[:PASSAGE_TOKENS])
            for claim, passage in pairs
        ]
        scores: Floats = self._scores("claim", read)[:, 0]
        return scores

    def _scores(self, head: str, sequences: Sequence[list[int]]) -> Floats:
        weight, bias = self._heads[head]
        scores: Floats = self._model.pooled(sequences) @ weight.T + bias
        return scores


@cache
def shipped_reader() -> Reader | None:
    """The shipped reader, loaded once; None where its file is not installed. Raises ValueError when it is broken."""
    if not READER_FILE.exists():
        return None
    reader = Reader.load()
    give_back_memory()
    return reader


def pair(first: list[int], second: list[int]) -> list[int]:
    """Two texts as one sequence with its marks."""
    return [BOS, *first, EOS, EOS, *second, EOS]


def _changes(stored: Mapping[str, NDArray[np.generic]]) -> dict[str, Floats]:
    """The changes by the name of their weight, shaped like the graph's weights."""
    changes = {
        name.removeprefix("change_"): value.astype(np.float32)
        for name, value in stored.items()
        if name.startswith("change_")
    }
    levels, steps = stored["levels"].astype(np.int8), stored["steps"].astype(np.float16)
    at = 0
    for name, shape in zip(str(stored["matrices"]).split("\n"), stored["shapes"].tolist(), strict=True):
        size = int(np.prod(shape))
        part = Packed(levels[at : at + size], steps[at // BLOCK : (at + size) // BLOCK])
        changes[name] = part.values().reshape(shape)
        at += size
    return changes


def save(path: Path, tuned: Mapping[str, Floats], heads: Mapping[str, Head], codes: Sequence[str]) -> None:
    """Write what `tuned` (weights by the graph's names and shapes) differs in from the embedded model, and the `HEADS`."""
    base = graph_weights(wheel_file())
    vectors = {name: value - base[name] for name, value in tuned.items() if value.ndim == 1}
    matrices = {name: value - base[name] for name, value in tuned.items() if value.ndim == 2}
    packed = [Packed.of(value) for value in matrices.values()]
    stored: dict[str, Any] = {
        "levels": np.concatenate([part.levels for part in packed]),
        "steps": np.concatenate([part.steps for part in packed]),
        "matrices": np.array("\n".join(matrices)),
        "shapes": np.array([value.shape for value in matrices.values()]),
        "codes": np.array("\n".join(codes)),
    }
    stored |= {f"change_{name}": value.astype(np.float16) for name, value in vectors.items()}
    for name in HEADS:
        weight, bias = heads[name]
        stored |= {f"{name}_weight": weight.astype(np.float16), f"{name}_bias": bias.astype(np.float32)}
    np.savez_compressed(path, **stored)
