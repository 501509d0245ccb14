"""How likely a passage supports a claim: a linear model over what the two readings share and where they differ.

Owns the features, the stored weights and the score. Numbers and named medicines are not weighed here: they must agree
(`claims_support.py`). Training is `claims_train.py`, on labelled pairs; the weights are in `codes/support.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.safety.claims_text import Reading, containment, content_text

SUPPORT_FILE = Path(__file__).with_name("codes") / "support.json"

_ABSOLUTE = re.compile(r"必须|一定|肯定|所有|都|完全|绝对|只|唯一|永远|任何|全部|彻底|每个")
_HEDGE = re.compile(r"可能|一般|通常|多数|往往|有时|部分|也许|大多")
_ADVICE = re.compile(r"建议|应|需要|可以|请|宜|最好")
_MORE = re.compile(r"高于|超过|大于|以上|≥|>|不少于|至少|多于")
_LESS = re.compile(r"低于|小于|以下|≤|<|不超过|至多|少于|不足")
_PERIOD = re.compile(r"每(?:隔)?(?:个)?(小时|天|日|周|星期|月|年|晚|早)")
_SAME_PERIOD = {"日": "天", "星期": "周"}
_LONG_RUN = 10
_LONG_CLAIM = 80
_LONG_PASSAGE = 300
_MANY_NUMBERS = 4


def describe(
    claim: Reading,
    passage: Reading,
    apart: Mapping[str, float],
    numbers: int,
    assumed: frozenset[str] = frozenset(),
) -> dict[str, float]:
    """The features of a pair by name, each about 0 to 1.

    `apart` are their `differences`, `numbers` is how many quantities of the claim need support, `assumed` what the question names.
    """
    known_parts = [part.bigrams for part in passage.sentences]
    clauses = [containment(c.bigrams, passage.bigrams) for c in claim.clauses if len(c.bigrams) >= 2]
    stated, known = content_text(claim.text), content_text(passage.text)
    pairs, longest = _uncovered(stated, known, 2)
    singles, longest_single = _uncovered(stated, known, 1)
    more, less = bool(_MORE.search(claim.text)), bool(_LESS.search(claim.text))
    known_more, known_less = bool(_MORE.search(passage.text)), bool(_LESS.search(passage.text))
    found = {
        "content": containment(claim.content, passage.bigrams),
        "content_named": containment(claim.bigrams, passage.bigrams),
        "no_content": float(len(claim.content) <= 1),
        "best_sentence": max((containment(claim.bigrams, part) for part in known_parts), default=0.0),
        "least_clause": min(clauses, default=1.0),
        "mean_clause": float(np.mean(clauses)) if clauses else 1.0,
        "says_all": max(
            (containment(part, claim.bigrams) for part in known_parts if len(part) >= 5), default=0.0
        ),
        "uncovered_pairs": pairs,
        "longest_uncovered": min(longest, _LONG_RUN) / _LONG_RUN,
        "uncovered_single": singles,
        "longest_single": min(longest_single, _LONG_RUN) / _LONG_RUN,
        "length": min(len(stated), _LONG_CLAIM) / _LONG_CLAIM,
        "passage_length": min(len(known), _LONG_PASSAGE) / _LONG_PASSAGE,
        "numbers": min(numbers, _MANY_NUMBERS) / _MANY_NUMBERS,
        "has_numbers": float(numbers > 0),
        "denies": float(any(c.forbids for c in claim.clauses)),
        "passage_denies": float(any(c.forbids for c in passage.clauses)),
        "about_asked": float(bool(assumed & passage.keys)),
        "other_period": float(bool(_periods(claim.text) - _periods(passage.text))),
        "question": float("?" in claim.text),
        "direction": float(
            (more and not known_more and known_less) or (less and not known_less and known_more)
        ),
    }
    found["only_passage_denies"] = float(found["passage_denies"] > found["denies"])
    for name, pattern in (("absolute", _ABSOLUTE), ("hedge", _HEDGE), ("advice", _ADVICE)):
        said, held = bool(pattern.search(claim.text)), bool(pattern.search(passage.text))
        found |= {
            name: float(said),
            f"{name}_added": float(said and not held),
            f"{name}_lost": float(held and not said),
        }
    return found | dict(apart)


def _periods(text: str) -> set[str]:
    return {_SAME_PERIOD.get(period, period) for period in _PERIOD.findall(text)}


def _uncovered(text: str, known: str, size: int) -> tuple[float, int]:
    """The share of `text` that no piece of `size` characters shares with `known`, and its longest run."""
    held = [False] * len(text)
    for at in range(len(text) - size + 1):
        if text[at : at + size] in known:
            held[at : at + size] = [True] * size
    longest = run = 0
    for here in held:
        run = 0 if here else run + 1
        longest = max(longest, run)
    return (held.count(False) / len(held) if held else 0.0), longest


@dataclass(frozen=True, slots=True)
class SupportModel:
    """`weights` over the standardised features named by `names`; a pair is supported from its threshold (logit) on."""

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float
    cited: float
    uncited: float

    @classmethod
    def read(cls, path: Path = SUPPORT_FILE) -> SupportModel:
        """Raises OSError, ValueError or KeyError when the file is missing or not a model."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        mean, scale, weights = (
            np.array(stored[name], dtype=np.float64) for name in ("mean", "scale", "weights")
        )
        limits = (float(stored[name]) for name in ("bias", "cited", "uncited"))
        return cls(tuple(stored["names"]), mean, scale, weights, *limits)

    def score(self, found: Mapping[str, float]) -> float:
        """The logit that the passage of the features `found` supports the claim, numbers and names aside."""
        return float(self.weigh([[found[name] for name in self.names]])[0])

    def weigh(self, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """Logits (n,) of feature rows (n, features)."""
        standard = (np.asarray(rows, dtype=np.float64) - self.mean) / self.scale
        return np.asarray(standard @ self.weights + self.bias)


@cache
def support_model() -> SupportModel:
    """The shipped model."""
    return SupportModel.read()
