"""How much a word or a pair of characters says: inverse document frequency.

Counts of a fixed table of medical texts, to which the served collection's own are added when it is loaded:
a small collection alone would call its own subjects common words. Owns the table and its making.

    python -m retrieval.rerank.word_weights --texts a.jsonl … --out FILE

counts in how many texts (JSON lines with a key "text") each occurs. The shipped table counts 8,345 texts: questions
and answers of public medical dialogues and sections of this project's documents; no passage of the retrieval
benchmark.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrieval.tokens import DATA, default_tokenizer, grams

_MIN_COUNT = 3


@dataclass(frozen=True, slots=True)
class WordWeights:
    """In how many of `texts` texts a word or a pair of characters occurs."""

    texts: int
    words: Mapping[str, int]
    pairs: Mapping[str, int]

    @classmethod
    def read(cls, path: Path) -> WordWeights:
        data = json.loads(gzip.decompress(path.read_bytes()))
        return cls(int(data["texts"]), data["words"], data["pairs"])

    @classmethod
    def count(cls, texts: Iterable[tuple[Iterable[str], str]]) -> WordWeights:
        """From (words, text) of each text."""
        total, words, pairs = 0, Counter[str](), Counter[str]()
        for tokens, text in texts:
            total += 1
            words.update(set(tokens))
            pairs.update(grams(text, 2))
        return cls(total, words, pairs)

    def plus(self, other: WordWeights) -> WordWeights:
        """Both tables as one."""
        return WordWeights(
            self.texts + other.texts,
            Counter(self.words) + Counter(other.words),
            Counter(self.pairs) + Counter(other.pairs),
        )

    def write(self, path: Path) -> None:
        """What occurs once or twice is left out."""
        data = {
            "texts": self.texts,
            "words": {word: n for word, n in sorted(self.words.items()) if n >= _MIN_COUNT},
            "pairs": {pair: n for pair, n in sorted(self.pairs.items()) if n >= _MIN_COUNT},
        }
        path.write_bytes(gzip.compress(json.dumps(data, ensure_ascii=False).encode("utf-8"), mtime=0))

    def word(self, word: str) -> float:
        """log((N + 1) / (n + 1/2)); what was never counted weighs as much as what was counted once."""
        return math.log((self.texts + 1.0) / (self.words.get(word, 1) + 0.5))

    def pair(self, pair: str) -> float:
        """The same for two characters."""
        return math.log((self.texts + 1.0) / (self.pairs.get(pair, 1) + 0.5))


def shipped_word_weights() -> WordWeights:
    """The table that goes with the default tokenizer."""
    return WordWeights.read(DATA / "word_counts.json.gz")


def main() -> None:
    """Command line, see the module's description."""
    parser = argparse.ArgumentParser(description="Count words for the reranker.")
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = default_tokenizer()
    lines = (line for path in arguments.texts for line in path.read_text(encoding="utf-8").splitlines())
    texts = (str(json.loads(line)["text"]) for line in lines if line.strip())
    weights = WordWeights.count((tokenizer.words(text), text) for text in texts)
    weights.write(arguments.out)
    print(f"{weights.texts} texts -> {arguments.out}")


if __name__ == "__main__":
    main()
