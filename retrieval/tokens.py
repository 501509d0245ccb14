"""Chinese word segmentation for keyword search: jieba with the project's medical dictionary.

Owns which tokens a text has, the same for indexing, for questions and for the reranker. The index holds
these tokens (joined by blanks), so Milvus Lite and a Milvus server see the same words whatever analyzer
they ship. Leaves synonyms to the graph. No network; jieba's own word list comes with its package.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import jieba

DATA = Path(__file__).parent / "data"
_WORD = re.compile(r"\w+", re.UNICODE)
_DICTIONARY_FREQUENCY = 20_000
"""High enough that jieba keeps a listed term whole against the product of its parts' frequencies."""


def normalise(text: str) -> str:
    """Full-width to half-width, compatibility forms folded, lower case."""
    return unicodedata.normalize("NFKC", text).lower()


class Tokenizer:
    """Thread-safe segmentation; `add_terms` takes more dictionary words (graph aliases) before indexing."""

    def __init__(self, terms: Iterable[str] = (), *, stop_words: Iterable[str] = ()) -> None:
        jieba.setLogLevel(logging.WARNING)
        self._jieba = jieba.Tokenizer()
        self._lock = threading.Lock()
        self._stop_words = frozenset(stop_words)
        self._terms: set[str] = set()
        with self._lock:
            self._jieba.initialize()
        self.add_terms(terms)

    def add_terms(self, terms: Iterable[str]) -> None:
        """Keep these words whole. Terms of one character or with blanks are left to jieba."""
        with self._lock:
            for term in terms:
                word = normalise(term).strip()
                if len(word) > 1 and not re.search(r"\s", word):
                    self._jieba.add_word(word, _DICTIONARY_FREQUENCY)
                    self._terms.add(word)

    def words(self, text: str) -> list[str]:
        """Words of `text` in order, each after the shorter known words inside it; no stop words."""
        found: list[str] = []
        for piece in self._jieba.cut(normalise(text)):
            for word in _WORD.findall(piece):
                found.extend(self._inner(word))
                found.append(word)
        return [word for word in found if word not in self._stop_words]

    def _inner(self, word: str) -> list[str]:
        """Known words of two or more characters inside a longer one. jieba's own search mode stops at
        three.
        """
        known = self._jieba.FREQ
        return [
            word[i : i + size]
            for size in range(2, len(word))
            for i in range(len(word) - size + 1)
            if known.get(word[i : i + size])
        ]

    def is_term(self, word: str) -> bool:
        """Whether a word (as `words` gives it) is in the medical dictionary."""
        return word in self._terms

    def index_text(self, text: str) -> str:
        """What goes into the keyword field, for a passage and for a question alike."""
        return " ".join(self.words(text))


def grams(text: str, size: int) -> set[str]:
    """Runs of `size` characters inside words that are not plain ASCII: overlap without segmentation."""
    return {
        word[i : i + size]
        for word in _WORD.findall(normalise(text))
        if not word.isascii()
        for i in range(len(word) - size + 1)
    }


def read_terms(path: Path) -> tuple[str, ...]:
    """One term a line; blank lines and lines that open with # are left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


@lru_cache(maxsize=1)
def default_tokenizer() -> Tokenizer:
    """The tokenizer with the shipped dictionary and stop words; loads once (about a second)."""
    return Tokenizer(read_terms(DATA / "medical_terms.txt"), stop_words=read_terms(DATA / "stop_words.txt"))
