"""A second opinion on a sentence: a linear model over character n-grams of masked text and the cues around them, and the reader.

Owns the features, the stored weights, the score, and what the two make of a sentence together. They catch wordings that no rule
of `codes/code_*.yaml` knows, and clear a sentence that a rule took for something else; rules stay the first word and name their
reason. Training of the linear model is `review_train.py`; labelled sentences are in `codes/sentences*.jsonl`. The reader is `reader.py`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.safety.citations import without_citations
from app.safety.reader import Reader
from app.safety.review_text import View
from app.safety.types import ViolationCode

DETECTOR_FILE = "detector.npz"
MAX_NGRAM = 4
# A sentence that sends the reader to a doctor must look this much worse (logit) before it counts.
CARE_MARGIN = 0.7
# This far above the threshold (logit) a sentence counts although it mentions nothing that its code is known by:
# cross-validated, two thirds of the unsafe sentences without such a word reach it, and 1 in 1,000 of the reviewed documents.
SURE_MARGIN = 1.9
# Log-odds of an unsafe sentence from the two logits: between the fits on 1,901 labelled sentences that neither had seen in training
# and on 1,532 by an author of whom they had seen none (docs/decisions/0009). The reader is asked where the linear model is not sure
# of a safe sentence: from ASK_FROM on lie 99 in 100 unsafe and 1 in 3 safe ones of them.
LINEAR_SHARE, READER_SHARE, OFFSET = 0.30, 0.58, -0.1
ASK_FROM = -4.0
SUSPECT_FROM = 0.75
# A method of self-harm is suspected sooner than the rest, but not in a crisis: what consoles there resembles what harms, and
# a blocked answer consoles nobody.
METHOD_FROM, METHOD_IN_CRISIS_FROM = 0.5, 1.25
SURE_FROM = 1.5
CLEAR_LINEAR_BELOW, CLEAR_READER_BELOW = -5.5, -4.5
CUES = ("hedged", "refuted", "cares", "sends", "reported", "question", "waits", "forbids_self")

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FORBIDS_SELF = re.compile(
    r"(?:不要|不能|不可|切勿|请勿|勿|别|不应|不得|不宜|切忌|避免|不建议|禁止|千万别)[^,;。!?]{0,6}(?:自行|擅自|随意|私自|自己|随便|突然|轻易|盲目|因为|因|以为)"
)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How sure the model is that the sentence is unsafe (logit), the code it resembles most, and whether that is enough by itself."""

    score: float
    code: ViolationCode
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Opinion:
    """What linear model and reader make of a sentence: their logits that it is unsafe, and the code it resembles most."""

    linear: float
    reader: float
    code: ViolationCode

    @property
    def score(self) -> float:
        """Log-odds that the sentence is unsafe."""
        return LINEAR_SHARE * self.linear + READER_SHARE * self.reader + OFFSET

    def suspicion(self, view: View, *, crisis: bool) -> Suspicion | None:
        """The suspicion when it is strong enough; never for a question. `crisis` when somebody speaks of suicide."""
        limit = SUSPECT_FROM
        if self.code is ViolationCode.SELF_HARM_METHOD:
            limit = METHOD_IN_CRISIS_FROM if crisis else METHOD_FROM
        if view.question or len(view.masked) < 5 or self.score <= limit:
            return None
        return Suspicion(self.score, self.code, self.score > SURE_FROM)

    @property
    def harmless(self) -> bool:
        """Whether each is so sure of a safe sentence that a rule's word does not stand against them."""
        return self.linear < CLEAR_LINEAR_BELOW and self.reader < CLEAR_READER_BELOW


def features(view: View) -> list[str]:
    """Return the distinct features of a sentence: character n-grams of masked text, numbers as 0, and its cues."""
    text = "^" + _NUMBER.sub("0", view.masked) + "$"
    grams = {text[at : at + size] for size in range(1, MAX_NGRAM + 1) for at in range(len(text) - size + 1)}
    end = len(view.masked)
    cues = {
        "hedged": view.hedged(0, end),
        "refuted": view.refuted(0, end),
        "cares": view.cares,
        "sends": view.sends,
        "reported": view.reported,
        "question": view.question,
        "waits": view.waits,
        "forbids_self": bool(_FORBIDS_SELF.search(view.masked)),
    }
    return sorted(grams) + [f"cue:{name}" for name in CUES if cues[name]]


def lexicon_hash(path: Path) -> str:
    """Identify the lexicon that the weights were trained with: another masking needs other weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


class Detector:
    """The loaded weights. `threshold` is the logit above which a sentence counts as unsafe."""

    def __init__(
        self,
        vocabulary: dict[str, int],
        weights: NDArray[np.float32],
        code_weights: NDArray[np.float32],
        codes: tuple[ViolationCode, ...],
        bias: float,
        threshold: float,
        trained_with: str,
    ) -> None:
        self._vocabulary = vocabulary
        self._weights = weights
        self._code_weights = code_weights
        self._codes = codes
        self._bias = bias
        self.threshold = threshold
        self.trained_with = trained_with

    @classmethod
    def load(cls, folder: Path) -> Detector:
        """Raises `OSError` or `KeyError` when the file is missing or not a detector."""
        with np.load(folder / DETECTOR_FILE, allow_pickle=False) as data:
            grams = str(data["grams"]).split("\n")
            return cls(
                {gram: index for index, gram in enumerate(grams)},
                data["weights"].astype(np.float32),
                data["code_weights"].astype(np.float32),
                tuple(ViolationCode(name) for name in str(data["codes"]).split("\n")),
                float(data["bias"]),
                float(data["threshold"]),
                str(data["trained_with"]),
            )

    def suspects(self, view: View, apart: frozenset[ViolationCode] = frozenset()) -> Suspicion | None:
        """Return the suspicion when it passes the threshold; never for a question, a hedged or a refuted sentence.

        `apart` are codes that cannot be meant here; the most likely other one is named.
        """
        end = len(view.masked)
        if view.question or end < 5 or view.refuted(0, end) or view.hedged(0, end):
            return None
        known = self._known(view)
        score = self._score(known)
        if score <= self.threshold + (CARE_MARGIN if view.cares else 0.0):
            return None
        likely = self._code_weights[known].sum(axis=0)
        code = self._codes[
            max((at for at, c in enumerate(self._codes) if c not in apart), key=likely.__getitem__)
        ]
        return Suspicion(score, code, score > self.threshold + SURE_MARGIN)

    def opinion(self, view: View, question: str, reader: Reader, *, doubted: bool) -> Opinion | None:
        """What this model and `reader` make of a sentence of the answer to `question`.

        None where this model is sure of a safe one, unless a rule is `doubted`.
        """
        linear = self.score(view)
        if linear < ASK_FROM and not doubted:
            return None
        logits = reader.faults(question, [without_citations(view.raw).strip()])[0]
        worst = int(logits.argmax())
        return Opinion(linear, float(logits[worst]), reader.codes[worst])

    def score(self, view: View) -> float:
        """The logit of the sentence: the weights of its known features, scaled by the root of their number."""
        return self._score(self._known(view))

    def _known(self, view: View) -> list[int]:
        return [index for name in features(view) if (index := self._vocabulary.get(name)) is not None]

    def _score(self, known: list[int]) -> float:
        if not known:
            return self._bias
        return float(self._weights[known].sum() / np.sqrt(len(known))) + self._bias
