"""Heads on two encoders that read messages and answers for what linear models over words miss.

Linear heads on unit vectors say how urgent a message is, which codes a sentence of an answer breaks in the light of its
question, and whether a passage supports a claim. A message is read from the very vector that it is searched with
(`retrieval/embedders/e5.py`); two texts side by side are read by an encoder that keeps all that it was trained to
(decision 10). Owns `reader.npz` (the heads), `pairs.npz` (that encoder), how texts are put to them, and the logits. What the logits lead to is decided in `triage_semantic.py`, `review_detector.py` and `claims.py`.
Training is `finetune.encoder`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.safety.types import ViolationCode
from retrieval.embedders import changes
from retrieval.embedders.e5 import BOS, E5, EOS, QUESTION, anxin_e5, tuned_e5

READER_FILE = Path(__file__).with_name("reader.npz")
PAIRS_FILE = Path(__file__).with_name("pairs.npz")
# What each kind of text starts with, so that the one model knows what it is asked. A message is read as it is searched with.
MESSAGE, ANSWER, CLAIM = QUESTION, "审查:", "依据:"
HEADS = ("triage", "review", "claim")
QUESTION_TOKENS, SENTENCE_TOKENS, CLAIM_TOKENS, PASSAGE_TOKENS = 48, 90, 80, 220
# Unit vectors are multiplied by this before a head, so that its weights and the encoder's learn at the same pace.
HEAD_SCALE = 20.0

Floats = NDArray[np.float32]
Head = tuple[Floats, Floats]


class Reader:
    """The encoders and their heads. Blocking; safe to call from several threads."""

    def __init__(self, model: E5, pairs: E5, heads: Mapping[str, Head], codes: Sequence[str]) -> None:
        """`model` reads messages, `pairs` two texts side by side."""
        self._model = model
        self._pairs = pairs
        self._heads = heads
        self.codes = tuple(ViolationCode(code) for code in codes)

    @classmethod
    def load(cls, path: Path = READER_FILE, model: E5 | None = None) -> Reader:
        """Heads of `path` on the shipped encoders, or all on `model`.

        Raises `OSError` when a file is missing, `ValueError` when it holds something else, `ImportError` without the wheel.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
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
        if model is not None:
            return cls(model, model, heads, codes)
        shipped = anxin_e5()
        pairs = tuned_e5(changes.read(PAIRS_FILE), tokenizer=shipped.tokenizer)
        return cls(shipped, pairs, heads, codes)

    def urgency(self, texts: Sequence[str]) -> Floats:
        """(n, 3) log-probabilities of routine, urgent and emergency of messages, normalised as triage reads them."""
        scores = self._logits("triage", self._model.questions(texts))
        return np.asarray(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), dtype=np.float32)

    def faults(self, question: str, sentences: Sequence[str]) -> Floats:
        """(n, codes) logits that a sentence of an answer to `question` breaks each of `codes`."""
        tokens = self._model.tokens
        asked = tokens(ANSWER + question)[:QUESTION_TOKENS]
        return self._read("review", [pair(asked, tokens(text)[:SENTENCE_TOKENS]) for text in sentences])

    def support(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """(n,) logits that the passage supports the claim, for (claim, passage) pairs."""
        tokens = self._model.tokens
        read = [
            pair(tokens(CLAIM + claim)[:CLAIM_TOKENS], tokens(passage)[:PASSAGE_TOKENS])
            for claim, passage in pairs
        ]
        scores: Floats = self._read("claim", read)[:, 0]
        return scores

    def _read(self, head: str, sequences: Sequence[list[int]]) -> Floats:
        pooled = self._pairs.pooled(sequences)
        lengths = np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), np.float32(1e-6))
        return self._logits(head, pooled / lengths)

    def _logits(self, head: str, vectors: Floats) -> Floats:
        weight, bias = self._heads[head]
        return np.asarray((np.float32(HEAD_SCALE) * vectors) @ weight.T + bias, dtype=np.float32)


@cache
def shipped_reader() -> Reader | None:
    """The shipped reader, loaded once; None where its file is not installed. Raises ValueError when it is broken."""
    return Reader.load() if READER_FILE.exists() else None


def pair(first: list[int], second: list[int]) -> list[int]:
    """Two texts as one sequence with its marks."""
    return [BOS, *first, EOS, EOS, *second, EOS]


def save(path: Path, heads: Mapping[str, Head], codes: Sequence[str]) -> None:
    """Write the `HEADS` and the codes that the head for answers names."""
    stored: dict[str, Any] = {"codes": np.array("\n".join(codes))}
    for name in HEADS:
        weight, bias = heads[name]
        stored |= {f"{name}_weight": weight.astype(np.float16), f"{name}_bias": bias.astype(np.float32)}
    np.savez_compressed(path, **stored)
