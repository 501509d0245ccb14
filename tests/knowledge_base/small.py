"""A small library and an embedder that needs no model: for tests about life cycles, not about relevance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from knowledge_base.document import Document, Section, Source
from retrieval.types import Embedding, Purpose

NUMERALS = "一二三四五六七八九十"


class HashEmbedder:
    """Vectors from character pairs, the same on every machine; texts that share words are near."""

    name = "hash"
    dim = 32

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for pair in {text[i : i + 2] for i in range(max(1, len(text) - 1))}:
                digest = hashlib.md5(pair.encode(), usedforsecurity=False).digest()
                row[digest[0] % self.dim] += 1.0 if digest[1] % 2 else -1.0
        norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return Embedding(np.asarray(rows / norms, dtype=np.float32))


def library(number: int) -> list[Document]:
    """So many documents, each different, always the same."""
    return [
        Document(
            f"t-{n:03d}",
            f"第{NUMERALS[n % 10]}篇",
            "general",
            "faq",
            "patient",
            (
                Section(("甲",), f"第{n}篇的第一段，讲的是第{NUMERALS[n % 10]}件事情。还有第二句话。"),
                Section(("乙",), f"第{n}篇的第二段，讲的是别的{NUMERALS[n * 7 % 10]}件事情。"),
            ),
            sources=(Source("某指南", "某杂志", "2024"),),
            content_hash=f"hash-{n}",
        )
        for n in range(number)
    ]
