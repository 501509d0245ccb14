"""How alike two patients' questions are: the same question in other words, or only the same topic.

Owns the judgement of one pair. Sentence vectors alone cannot tell the two apart (measured: twins and same-topic pairs
overlap between 0.90 and 0.97), so the judgement also looks at what each question names and asks: `concepts.tsv` maps
ways of saying to one concept, the words left over count as they are. The weights are fitted on
`calibration/question_pairs*.tsv` and measured on `question_pairs_measured.tsv` (`python -m benchmarks.near_twins` does both).
Finding candidate pairs is `twins.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from zhconv import convert

from finetune.deidentify.words import tokens

Vector = NDArray[np.float32]
CALIBRATION = Path(__file__).with_name("calibration")
FEATURES = (
    "cosine",
    "concepts",
    "contained",
    "other_thing",
    "other_aspect",
    "signs",
    "rest_cosine",
    "one_sided",
    "opposed",
)
# In the order of FEATURES; the last one (other numbers, or 高 against 低) is too rare in the pairs to fit, it is set by hand.
WEIGHTS = (0.55, 0.63, 0.56, -0.37, -0.82, -1.17, 1.25, 0.59, -2.5)
INTERCEPT = -0.83
_KIND_WEIGHT = {"thing": 1.6, "ask": 1.4, "do": 1.4}
_WORD_WEIGHT = 0.7
_SIGN_WEIGHT = 0.35
_COSINE_CENTRE, _COSINE_SCALE = 0.93, 20.0
_REST_CENTRE, _REST_SCALE = 0.85, 10.0
# Nothing left over on one side counts like two left-overs that are this alike; two left-overs are hardly ever more so.
ONE_SIDED_COSINE = 0.92
HIGHEST_REST_COSINE = 0.97
_OPPOSITES = (
    ("高", "低"),
    ("快", "慢"),
    ("左", "右"),
    ("加量", "减量"),
    ("阳性", "阴性"),
    ("上肢", "下肢"),
    ("便秘", "腹泻"),
    ("术前", "术后"),
    ("偏瘦", "肥胖"),
    ("孕妇", "儿童"),
    ("男", "女"),
)
_GREETING = re.compile(
    r"(?:^|(?<=[，,。！!\s]))(?:医生|大夫|护士|专家|老师|主任|教授)?(?:您好|你好|好|请问(?:一下)?|想问(?:一下|问)?|麻烦问(?:一下)?|咨询(?:一下)?|谢谢(?:您|医生)?)(?:医生|大夫)?[，,。！!？?\s]*"
)
_PARTICLES = re.compile(r"[呢吗吧啊呀么嘛][\s？?。.！!]*$")
_STOP_SIGNS = frozenset(
    "的了吗呢吧啊是我你他她它们这那有没在和与及或跟就都也还要会能可以不应该当需怎么如何什哪些个一上下后之前时候得被把给让请问医生您好爸妈老人患者病做用吃服治疗"
    "出现情况题处理办缓解点多少几天每日因为所果家里去来过又很太再对于从到中着进行必须担心紧现今明最近目干嘛该老总算引起"
)


@dataclass(frozen=True, slots=True)
class Concepts:
    """What a question is about: weight by concept or word, and which of them are things or aspects by the table."""

    weights: Mapping[str, float]
    things: frozenset[str]
    aspects: frozenset[str]
    signs: frozenset[str]
    numbers: frozenset[str]


def normalised(text: str) -> str:
    """For exact comparison: NFKC, simplified, lower case, without greetings, spaces and punctuation."""
    plain = convert(unicodedata.normalize("NFKC", text), "zh-hans").lower()
    stripped = _PARTICLES.sub("", _GREETING.sub(" ", plain))
    return re.sub(r"[\W_]+", "", stripped) or re.sub(r"\s+", "", plain)


@lru_cache(maxsize=65536)
def concepts_of(text: str) -> Concepts:
    lowered = _GREETING.sub(" ", convert(unicodedata.normalize("NFKC", text), "zh-hans").lower())
    weights: dict[str, float] = {}
    things: set[str] = set()
    aspects: set[str] = set()
    rest = list(lowered)
    for kind, name, pattern in _table():
        for found in pattern.finditer(lowered):
            weights[name] = _KIND_WEIGHT[kind]
            (things if kind == "thing" else aspects).add(name)
            rest[found.start() : found.end()] = " " * (found.end() - found.start())
    for word in tokens("".join(rest)):
        if re.fullmatch(r"\w+", word) and not all(sign in _STOP_SIGNS for sign in word):
            weights[word] = _WORD_WEIGHT if len(word) > 1 else _SIGN_WEIGHT
    plain = normalised(text)
    signs = frozenset(plain[i : i + 2] for i in range(len(plain) - 1)) or frozenset({plain})
    return Concepts(
        weights,
        frozenset(things),
        frozenset(aspects),
        signs,
        frozenset(re.findall(r"\d+(?:\.\d+)?", lowered)),
    )


def left_over(a: str, b: str) -> tuple[str, str]:
    """What each question names that the other does not, joined; the vectors of these two tell twins from neighbours."""
    left, right = concepts_of(a).weights, concepts_of(b).weights
    return "".join(w for w in left if w not in right), "".join(w for w in right if w not in left)


def pair_features(a: str, b: str, cosine: float, rest_cosine: float) -> tuple[float, ...]:
    """See `FEATURES`; `cosine` is that of the questions, `rest_cosine` that of `left_over`."""
    left, right = concepts_of(a), concepts_of(b)
    shared = _shared(left.weights, right.weights)
    total_left, total_right = sum(left.weights.values()), sum(right.weights.values())
    union = total_left + total_right - shared
    one_sided = not all(left_over(a, b))
    rest = ONE_SIDED_COSINE if one_sided else rest_cosine
    return (
        (cosine - _COSINE_CENTRE) * _COSINE_SCALE,
        shared / union if union else 0.0,
        shared / max(min(total_left, total_right), 0.1),
        float(bool(left.things - right.things and right.things - left.things)),
        float(bool(left.aspects - right.aspects and right.aspects - left.aspects)),
        len(left.signs & right.signs) / len(left.signs | right.signs),
        (rest - _REST_CENTRE) * _REST_SCALE,
        float(one_sided),
        float(_opposed(left, right, a, b)),
    )


def _opposed(left: Concepts, right: Concepts, a: str, b: str) -> bool:
    """Both name numbers and none in common, or one says the opposite of the other."""
    if left.numbers and right.numbers and left.numbers.isdisjoint(right.numbers):
        return True
    return any(
        (x in a and y in b and x not in b and y not in a) or (y in a and x in b and y not in b and x not in a)
        for x, y in _OPPOSITES
    )


def _shared(left: Mapping[str, float], right: Mapping[str, float]) -> float:
    """Weight in common; a left-over word with a sign in common with one of the other side counts half."""
    shared = sum(weight for name, weight in left.items() if name in right)
    open_right = [name for name, weight in right.items() if name not in left and weight <= _WORD_WEIGHT]
    for name, weight in left.items():
        if name in right or weight > _WORD_WEIGHT:
            continue
        partner = next((other for other in open_right if set(other) & set(name)), None)
        if partner is not None:
            open_right.remove(partner)
            shared += 0.5 * min(weight, right[partner])
    return shared


def twin_probability(a: str, b: str, cosine: float, rest_cosine: float) -> float:
    """How likely two questions ask the same, 0 to 1; equal after normalisation is 1."""
    if normalised(a) == normalised(b):
        return 1.0
    features = pair_features(a, b, cosine, rest_cosine)
    score = INTERCEPT + sum(w * x for w, x in zip(WEIGHTS, features, strict=True))
    return float(1.0 / (1.0 + np.exp(-score)))


@lru_cache(maxsize=1)
def _table() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    lines = (CALIBRATION / "concepts.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return tuple((kind, name, re.compile(pattern)) for kind, name, pattern in rows)
