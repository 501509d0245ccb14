"""What the embedded reranker looks at, for all candidates of a question at once.

Owns the features, their order and meaning; leaves weights to `retrieval.rerank.embedded`. Everything comes
from the question, the stored vectors and words, and a fixed table of word weights: nothing is embedded or
segmented per passage, and no feature depends on which other candidates there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.word_weights import WordWeights
from retrieval.tokens import Tokenizer, grams
from retrieval.types import Chunk, Hit, Matrix, Stored

Vector = NDArray[np.float32]
MentionsOf = Callable[[str], Collection[str]]
"""Entity ids named in a text; the graph provides it."""

SEMANTIC = ("passage", "best_sentence", "top_sentences", "first_sentence")
LEXICAL = (
    "bm25_root", "bm25_share", "words", "asked_words", "rarest_word", "missing_word", "words_shared",
    "terms", "rarest_term", "missing_term", "other_terms", "pairs", "telling_pairs", "pairs_shared", "triples", "length",
)  # fmt: skip
FIELDS = ("heading", "entities")
FEATURES = (*SEMANTIC, *LEXICAL, *FIELDS)
_SHORT, _LONG = 40, 320
"""Characters between which length counts; beyond, texts differ by form rather than by how much they say."""
_REMEMBERED = 8_192
"""Headings, and passages, whose words or entities are kept."""


class FeatureExtractor:
    """Computes (n hits, n FEATURES). Thread-safe."""

    def __init__(
        self, tokenizer: Tokenizer, weights: WordWeights, mentions: MentionsOf | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._weights = weights
        self._mentions: MentionsOf = (lambda text: ()) if mentions is None else mentions
        # A passage comes back for many questions; its heading and entities never change. Questions are not kept.
        self._words_of: Callable[[str], frozenset[str]] = lru_cache(_REMEMBERED)(
            lambda text: frozenset(tokenizer.words(text))
        )
        self._mentions_of: Callable[[str], frozenset[str]] = lru_cache(_REMEMBERED)(
            lambda text: frozenset(self._mentions(text))
        )

    def matrix(self, query: str, query_vector: Matrix, hits: Sequence[Hit]) -> NDArray[np.float64]:
        """Raises ValueError when a hit comes without its stored parts."""
        parts = [_stored(hit) for hit in hits]
        question = _Question(query, self._tokenizer, self._weights)
        asked = frozenset(self._mentions(query))
        rows = [
            [
                *question.compare(hit, part),
                self._heading(question, hit.chunk),
                self._entities(asked, hit.chunk),
            ]
            for hit, part in zip(hits, parts, strict=True)
        ]
        similar = similarities(np.asarray(query_vector, dtype=np.float32).reshape(-1), parts)
        return np.concatenate([similar, np.asarray(rows, dtype=np.float64)], axis=1)

    def _heading(self, question: _Question, chunk: Chunk) -> float:
        """Share of the question's weight that title, section and keywords name."""
        return question.share(self._words_of(f"{chunk.title}\n{chunk.section}\n{' '.join(chunk.keywords)}"))

    def _entities(self, asked: frozenset[str], chunk: Chunk) -> float:
        """Share of the question's graph entities that the passage names; 0 without a graph."""
        if not asked:
            return 0.0
        return len(asked & self._mentions_of(chunk.embedded_text)) / len(asked)


class _Question:
    """A question's words, pairs and triples of characters with their weights, prepared once."""

    def __init__(self, query: str, tokenizer: Tokenizer, weights: WordWeights) -> None:
        self._tokenizer = tokenizer
        self._all_weights = weights
        self.counts = Counter(tokenizer.words(query))
        self.weights = {word: weights.word(word) for word in self.counts}
        self._total = sum(self.weights.values()) or 1.0
        self._asked = sum(self.weights[w] * n for w, n in self.counts.items()) or 1.0
        self.terms = {word for word in self.counts if tokenizer.is_term(word)}
        self._terms_total = sum(self.weights[word] for word in self.terms) or 1.0
        self.pairs, self.triples = grams(query, 2), grams(query, 3)
        self._pair_weights = {pair: weights.pair(pair) for pair in self.pairs}
        self._pairs_total = sum(self._pair_weights.values()) or 1.0

    def share(self, words: frozenset[str]) -> float:
        return sum(self.weights[w] for w in self.counts.keys() & words) / self._total

    def _heaviest(self, words: Iterable[str]) -> float:
        return max((self.weights[word] for word in words), default=0.0)

    def compare(self, hit: Hit, part: Stored) -> list[float]:
        """The LEXICAL features of one candidate."""
        words = set(part.tokens)
        text = hit.chunk.embedded_text
        pairs, triples = grams(text, 2), grams(text, 3)
        both_pairs = self.pairs & pairs
        both, both_terms = self.counts.keys() & words, self.terms & words
        others = sum(
            self._all_weights.word(w) for w in words - self.counts.keys() if self._tokenizer.is_term(w)
        )
        in_passage = sum(self._all_weights.word(w) for w in words) or 1.0
        bm25 = hit.scores.get("bm25", 0.0)
        return [
            math.sqrt(bm25),
            bm25 / self._asked,
            sum(self.weights[w] for w in both) / self._total,
            sum(self.weights[w] * self.counts[w] for w in both) / self._asked,
            self._heaviest(both),
            self._heaviest(self.counts.keys() - words),
            sum(self.weights[w] for w in both) / in_passage,
            sum(self.weights[w] for w in both_terms) / self._terms_total,
            self._heaviest(both_terms),
            self._heaviest(self.terms - words),
            others / (len(words) + 1),
            len(both_pairs) / (len(self.pairs) + 1),
            sum(self._pair_weights[p] for p in both_pairs) / self._pairs_total,
            len(both_pairs) / (len(pairs) + 1),
            len(self.triples & triples) / (len(self.triples) + 1),
            math.log(min(max(len(hit.chunk.text), _SHORT), _LONG)),
        ]


def similarities(query: Vector, parts: Sequence[Stored]) -> NDArray[np.float64]:
    """The SEMANTIC features, (n, 4): cosines with passage, best sentence, best three (mean), first
    sentence.
    """
    passage = np.stack([part.vector for part in parts]) @ query
    columns = np.repeat(passage[:, None], len(SEMANTIC), axis=1).astype(np.float64)
    counts = [len(part.sentence_vectors) for part in parts]
    if not sum(counts):
        return columns
    every = np.concatenate([part.sentence_vectors for part in parts if len(part.sentence_vectors)]) @ query
    start = 0
    for i, count in enumerate(counts):
        if count:
            scores = every[start : start + count]
            ordered = np.sort(scores)[::-1]
            columns[i, 1:] = ordered[0], ordered[:3].mean(), scores[0]
            start += count
    return columns


def _stored(hit: Hit) -> Stored:
    if hit.stored is None:
        raise ValueError(f"{hit.chunk.chunk_id} comes without its stored parts")
    return hit.stored
