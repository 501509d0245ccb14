"""Dangerous pairs: medicines (and alcohol, food, conditions) of the question and the draft, checked together.

Owns when a draft affirms a pair that must not be combined, and when an asked pair is left without its warning. What
is known about pairs comes from the medical graph, or without it from the reviewed table `codes/combinations.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Protocol

import yaml
from pydantic import BaseModel, ConfigDict

from app.safety.interactions_apart import kept_apart, named_as_indication, taken_together
from app.safety.review_text import Lexicon, View, fold
from app.safety.review_wording import Wording
from app.safety.types import ReviewContext

TABLE_FILE = "combinations.yaml"
CONTRAINDICATED, SERIOUS = "contraindicated", "serious"
MAX_NAMES = 8


class NamedEntity(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...


class NamedMention(Protocol):
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def surface(self) -> str: ...
    @property
    def entity(self) -> NamedEntity: ...


class KnownPair(Protocol):
    @property
    def a(self) -> str: ...
    @property
    def b(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def given_a(self) -> str: ...
    @property
    def given_b(self) -> str: ...
    @property
    def min_interval_h(self) -> int | None: ...


class PairReport(Protocol):
    @property
    def interactions(self) -> Sequence[KnownPair]: ...


_TAKES = re.compile(r"[吃服用喝打混搭配含注吸贴]|联合|并存")
_SEEN_TOGETHER = re.compile(r"一起(?:来)?(?:评估|商量|讨论|会诊|把关|决定)")
# What to do when both have been taken is no permission, unless it says more than that.
_IF_TAKEN = re.compile(
    r"^(?:如果|若|要是|万一|一旦)[^,;。!?]{0,4}(?:已经|不小心|误服|误吃)[^。!?]{0,40}(?:赶紧|立即|马上|尽快|立刻)[^,;。!?]{0,6}(?:医院|就医|急诊|就诊|看医生|120)"
)
_PERMITS = re.compile(r"可以|没事|不要紧|照样|照常|仍|继续|放心|无妨|没关系|不影响|不打紧|还能|也行|不碍")


class MedicalTerms(Protocol):
    """What review needs of the medical graph; `MedicalGraph` fulfils it."""

    def mentions(self, text: str) -> Sequence[NamedMention]: ...

    def interactions(self, drugs: Sequence[str], conditions: Sequence[str] = ()) -> PairReport: ...


# The small reviewed table, behind the same protocol


@dataclass(frozen=True, slots=True)
class Term:
    id: str
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class TermMention:
    start: int
    end: int
    surface: str
    entity: Term


@dataclass(frozen=True, slots=True)
class Pair:
    a: str
    b: str
    severity: str
    why: str
    given_a: str
    given_b: str
    min_interval_h: int | None = None


@dataclass(frozen=True, slots=True)
class Pairs:
    interactions: tuple[Pair, ...]


class GroupRow(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = "drug"
    names: str


class PairRow(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    a: str
    b: str
    severity: str
    why: str
    source: str


class TableFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str
    review_date: str
    groups: dict[str, GroupRow]
    pairs: tuple[PairRow, ...]


class ReviewedTerms:
    """The table as `MedicalTerms`: names grouped by what matters for a pair; the first name of a group is shown."""

    def __init__(self, file: TableFile) -> None:
        self._group_of: dict[str, list[str]] = {}
        self._types = {group: row.type for group, row in file.groups.items()}
        for group, row in file.groups.items():
            for name in row.names.split():
                self._group_of.setdefault(fold(name), []).append(group)
        self._pairs = {frozenset((row.a, row.b)): row for row in file.pairs}
        names = sorted(self._group_of, key=len, reverse=True)
        self._names = re.compile("|".join(map(re.escape, names)))

    @classmethod
    def load(cls, folder: Path) -> ReviewedTerms:
        text = (folder / TABLE_FILE).read_text(encoding="utf-8")
        return cls(TableFile.model_validate(yaml.safe_load(text)))

    def mentions(self, text: str) -> list[TermMention]:
        found = []
        for match in self._names.finditer(text.lower()):
            group = self._group_of[match.group()][0]
            term = Term(f"{group}:{match.group()}", self._types[group], match.group())
            found.append(TermMention(match.start(), match.end(), match.group(), term))
        return found

    def interactions(self, drugs: Sequence[str], conditions: Sequence[str] = ()) -> Pairs:
        names = dict.fromkeys(fold(name) for name in (*drugs, *conditions))
        return Pairs(tuple(pair for a, b in combinations(names, 2) for pair in self._between(a, b)))

    def _between(self, a: str, b: str) -> Iterable[Pair]:
        for first in self._group_of.get(a, ()):
            for second in self._group_of.get(b, ()):
                row = self._pairs.get(frozenset((first, second)))
                if row is not None:
                    yield Pair(a, b, row.severity, row.why, a, b)


# What a draft says about pairs


@dataclass(frozen=True, slots=True)
class Finding:
    """A dangerous pair; `rule` names it for the audit."""

    pair: KnownPair
    rule: str


_TOGETHER = re.compile(
    r"一起|同时|一块|合用|联用|同服|并用|联合|搭配|同吃|配合|就着|送服|加上|叠加|一同|间隔|错开|(?<!间)隔(?:开|几|半|\d|一)|继续(?:吃|服|用)|照(?:吃|喝|用)|代替"
)
_AFFIRMS = re.compile(
    r"(?:可以(?![^,;。!?]{0,12}(?:发生|出现|见于|引起|导致))|(?<![可只])能(?!否|引起|导致|会|增加)|可(?!能|疑|怕|惜|是|见)|没(?:有)?(?:什么|啥|任何|明显|多大|太大)?(?:大)?(?:问题|事|关系|影响|冲突|禁忌|妨|风险|危险|相互作用|不良)|不(?:会)?(?:影响|冲突|要紧|碍事|打紧|碍|矛盾|受影响|会有(?:什么)?(?:问题|影响|危险|事))|无(?:妨|碍|禁忌|影响|冲突|大碍|明显)|放心|安全|问题不大|不用担心|不必担心|无需担心|没必要(?:停|分开|避|担心)|互不|不用(?:停|分开|避|忌|间隔|隔|管|怕)|不必(?:停|分开|避|忌)|照(?:吃|喝|用|常)|尽管|随便|随意|只要.{0,20}就|效果(?:更|会更)(?:好|强)|增强(?:疗效|效果|[^,;。!?]{0,4}作用)|适合|更健康|有益|(?:更|退烧|睡得|起效)[^,;。!?]{0,2}(?:快|香|好|强)|换成|推荐|建议(?!.{0,6}(?:不|避|咨询|问))|无妨|行的|没啥|少量|一点点?|一小杯|ok|错开|间隔|隔)"
)
_WARNS = re.compile(
    r"不(?:能|可(?!能)|宜|得|应|该|建议|推荐|适合|可以|主张|安全|允许|许)|不要(?!紧)|不行|禁|避免|切勿|千万|严禁|(?<!禁)忌|危险|风险|严重|致命|休克|中毒|慎|警惕|加重|后果|骤|致死|危及|不良反应|双硫仑|大忌|横纹肌|高钾|出问题|告诉医生|联系医生|尿不出|先停|停够|(?:一般|通常|多|尽量)不(?!会|影响|用担心|要紧|必)|不(?:启用|选用|合用|联用|同用|并用)|心动过缓|停跳|(?:会|可|可能|能|容易|易|将|能够|大幅|明显|显著)[^,;。!?不没]{0,12}(?:引起|诱发|导致|增加|升高|降低|削弱|妨碍|影响|减弱|出血|毒性|叠加|重复|过量|过低|下降)|影响胎儿|重复用药|(?:至少|必须|需要?|要|应)[^,;。!?]{0,6}(?:间隔|隔|等)"
)
_DENIED = re.compile(
    r"(?:不(?!会|用|必|影响|冲突|要紧|碍|打紧|需|矛盾|受|仅|但|同|妨|至|错)|没(?:有)?(?:证据|说)|禁止|避免|切勿|切忌|严禁|勿|别|绝不|千万不?|并非|不是|无法|难以|忌|慎|禁)[^,;。!?]{0,14}$"
)
_ASKS_TOGETHER = re.compile(
    r"一起|同时|一块|合用|联用|同服|并用|能不能|可不可以|可以|能(?:吃|喝|用|服)|还能|冲突|影响|行不行|行吗|要紧|间隔|隔|之后|能|敢|没事|配|有没有(?:问题|事)"
)
# Somebody who takes one medicine already takes whatever he adds beside it.
_TAKING = re.compile(
    r"(?:吃|服|用|打|喷|喝)着|(?:正|现|目前|一直|长期|每天|天天|平时|常年)在?[^,;。!?]{0,3}(?:吃|服|用|打|喝)|(?:在|已经)(?:吃|服|用|打)|刚(?:吃|服|用|打|喝)"
)


class CombinationChecker:
    """Opens the check of one answer; holds the terms and the lexicon."""

    def __init__(self, terms: MedicalTerms, lexicon: Lexicon) -> None:
        self.terms = terms
        self.lexicon = lexicon

    def open(self, context: ReviewContext) -> Combinations:
        return Combinations(self.terms, context)

    @staticmethod
    def warning(finding: Finding, wording: Wording) -> str:
        """The reviewed warning for the pair."""
        pair = finding.pair
        template = wording.combination if pair.severity == CONTRAINDICATED else wording.serious_combination
        why = f"，{pair.why}" if pair.why else ""
        return template.format(a=pair.given_a, b=pair.given_b, why=why.rstrip("。"))


class Combinations:
    """The pairs of one conversation: those the user named, and those each sentence adds."""

    def __init__(self, terms: MedicalTerms, context: ReviewContext) -> None:
        self._terms = terms
        turns = [turn.content for turn in context.history if turn.role == "user"][-4:]
        self._question = fold(context.question)
        self._states: set[str] = set()
        self._foods: set[str] = set()
        self._asked = self._names(self._question)
        self._background = list(
            dict.fromkeys([name for turn in turns for name in self._names(fold(turn))] + self._asked)
        )
        self._known: dict[tuple[str, ...], tuple[KnownPair, ...]] = {}
        self._draft_names: list[str] = []
        self._warned: set[frozenset[str]] = set()

    def affirmed(self, view: View, *, quoted: bool = False) -> Finding | None:
        """Return the pair that the sentence says may be combined though it must not.

        A sentence `quoted` from the evidence may state for which conditions a medicine is used.
        """
        text = view.folded
        own = self._names(text)
        self._draft_names.extend(own)
        pairs = self._pairs([*own, *self._background])
        if not pairs:
            return None
        warns = bool(_WARNS.search(_AFFIRMED_SAFE.sub("□", text)))
        for pair in pairs:
            if warns and self._concerns(pair, own, text):
                self._warned.add(frozenset((pair.given_a, pair.given_b)))
        if warns or view.question or view.refuted(0, len(view.masked)):
            return None
        if _IF_TAKEN.search(text) and not _PERMITS.search(text):
            return None
        if not own and _SEEN_TOGETHER.search(text) and not _TAKES.search(text):
            return None
        together = self._says_together(text)
        pairs = tuple(pair for pair in pairs if self._may_be_meant(pair, text, together, quoted))
        for match in _AFFIRMS.finditer(text):
            if self._denied(text, match.start()) or view.hedged(0, len(view.masked)):
                continue
            for pair in pairs:
                if self._concerns(pair, own, text):
                    return Finding(pair, f"contraindicated_combination.{pair.severity}")
        return None

    def beside(self, view: View) -> Finding | None:
        """Return a dangerous pair that a sentence, unsafe on other grounds, is about without warning of it."""
        own = self._names(view.folded)
        if _WARNS.search(_AFFIRMED_SAFE.sub("□", view.folded)):
            return None
        for pair in self._pairs([*own, *self._background]):
            given = {pair.given_a, pair.given_b}
            if given & self._states or str(getattr(pair, "kind", "")).startswith("duplicate"):
                continue
            if self._kept_apart(pair, view.folded):
                continue
            if given & set(own) and self._concerns(pair, own, view.folded):
                return Finding(pair, f"contraindicated_combination.{pair.severity}")
        return None

    def unwarned(self) -> Finding | None:
        """Return a contraindicated pair that the user asked about and the whole draft did not warn of."""
        for pair in self._pairs(self._asked):
            key = frozenset((pair.given_a, pair.given_b))
            if self._kept_apart(pair, self._question):
                continue
            if pair.severity == CONTRAINDICATED and key not in self._warned:
                return Finding(pair, "contraindicated_combination.asked")
        return None

    def _may_be_meant(self, pair: KnownPair, text: str, together: bool, quoted: bool) -> bool:
        """True when the sentence can be about taking both: said so, or one of them is a condition or a food."""
        given = {pair.given_a, pair.given_b}
        if self._kept_apart(pair, text) or self._for_another(pair, text):
            return False
        if str(getattr(pair, "kind", "")).startswith("duplicate"):
            return bool(_TOGETHER.search(text)) and not quoted
        if (given & self._states or str(pair.severity) != CONTRAINDICATED) and quoted:
            return False
        if given & self._states:
            return True
        return together or bool(given & self._foods)

    def _kept_apart(self, pair: KnownPair, text: str) -> bool:
        """True when the pair is compared or exchanged in `text`, or in the question that `text` answers.

        A pair with a waiting time between the two stays dangerous when one replaces the other.
        """
        if pair.min_interval_h is not None or {pair.given_a, pair.given_b} & (self._states | self._foods):
            return False
        if kept_apart(pair.given_a, pair.given_b, text):
            return True
        return kept_apart(pair.given_a, pair.given_b, self._question) and not taken_together(text)

    def _for_another(self, pair: KnownPair, text: str) -> bool:
        for state, drug in ((pair.given_a, pair.given_b), (pair.given_b, pair.given_a)):
            if state in self._states and state not in self._question:
                return named_as_indication(state, drug, text)
        return False

    def _says_together(self, text: str) -> bool:
        return bool(_TOGETHER.search(text)) or (
            len(self._background) >= 2
            and bool(_ASKS_TOGETHER.search(self._question) or _TAKING.search(self._question))
        )

    def _concerns(self, pair: KnownPair, own: list[str], text: str) -> bool:
        """True when the sentence is about this pair: both named in it, or one named or meant, the other asked."""
        given = {pair.given_a, pair.given_b}
        inside = given & set(own)
        if len(inside) == 2:
            return True
        if inside:
            return given <= {*own, *self._background} or bool(_TOGETHER.search(text))
        others = [name for name in own if name not in self._states]
        return not others and given <= set(self._asked)

    def _denied(self, text: str, start: int) -> bool:
        clause = re.split(r"[,;:。!?]", text[:start])[-1]
        return bool(_DENIED.search(clause))

    def _pairs(self, names: Sequence[str]) -> tuple[KnownPair, ...]:
        key = tuple(dict.fromkeys(names))[:MAX_NAMES]
        if len(key) < 2:
            return ()
        if key not in self._known:
            report = self._terms.interactions(key, key)
            self._known[key] = tuple(
                pair for pair in report.interactions if str(pair.severity) in (CONTRAINDICATED, SERIOUS)
            )
        return self._known[key]

    def _names(self, text: str) -> list[str]:
        kinds = {"drug", "drug_class", "food", "disease", "population"}
        found = [
            mention
            for mention in self._terms.mentions(text)
            if mention.entity.type in kinds and not _NOT_TAKEN.search(text[: mention.start])
        ]
        self._states.update(
            mention.surface for mention in found if mention.entity.type in {"disease", "population"}
        )
        if (not found and _ALCOHOL.search(text)) or (found and _ALCOHOL.search(_without(text, found))):
            found = [*found, *(item for item in self._terms.mentions(ALCOHOL) if item.entity.type in kinds)]
        self._foods.update(mention.surface for mention in found if mention.entity.type == "food")
        return list(dict.fromkeys(mention.surface for mention in found))


# Any drink with 酒 in its name counts as alcohol, though no list of names holds them all.
ALCOHOL = "饮酒"
_ALCOHOL = re.compile(r"(?<![碘不戒])酒(?!石酸|精过敏|店|窝)")
# 睡前不喝酒、不吃安眠药: these are not taken.
_NOT_TAKEN = re.compile(r"(?:不|没|未|戒|忌|停|禁)(?:要|能|再|可|喝|吃|服|用|饮|有|得){0,2}$")
_AFFIRMED_SAFE = re.compile(
    r"(?:没有?|无|不会有?|不存在|毫无)[^,;。!?]{0,8}(?:风险|危险|禁忌|反应|影响|出血|冲突|问题)|不(?:用|必|需要?)[^,;。!?]{0,4}(?:避免|担心|忌)"
)


def _without(text: str, mentions: Sequence[NamedMention]) -> str:
    """Blank out what has been recognised already."""
    chars = list(text)
    for mention in mentions:
        chars[mention.start : mention.end] = " " * (mention.end - mention.start)
    return "".join(chars)
