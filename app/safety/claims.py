"""Checks what an answer states against the evidence it was given, and puts its citations right.

Owns what happens to a claim that needs support (`claims_needed.py`): a wrong citation is corrected to the
passage that supports the sentence or removed, an unsupported claim is replaced by an honest sentence, nothing is
forced. Numbers are read in `claims_numbers.py`, support is decided in `claims_support.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.safety.citations import bare_claim, cited_numbers, with_citations
from app.safety.claims_model import support_model
from app.safety.claims_needed import DENIES_KNOWING, Needs
from app.safety.claims_numbers import Quantity, contains
from app.safety.claims_support import RELATED_CONTENT, Support, support
from app.safety.claims_text import Name, Reading, containment, contradicts, read
from app.safety.interactions import MedicalTerms
from app.safety.reader import Reader
from app.safety.review_text import Lexicon, View, fold
from app.safety.types import ReviewContext, ViolationCode

UNSUPPORTED = "这一点在现有资料里没有查到依据，请以医生的意见和药品说明书为准。"
OPPOSED_CONTENT = 0.4
WORK_CHARS = 8  # of a named work that must stand in what is known of the evidence

# A work named so that it could be looked up: a journal, an issue, an identifier.
_WORK = re.compile(
    r"pmid[:#]?\d+|doi[:.]?10\.|\d{4}年第?\d+[期卷]|(?:《[^》]{2,30}(?:杂志|学报|期刊|journal)》|柳叶刀|新英格兰医学|欧洲心脏杂志|自然医学|lancet|nejm|jama|bmj|circulation)[^。!?]{0,24}(?:发表|刊登|写明|指出|显示|证实|证明|报道|报告|研究|发现|称)|(?:发表|刊登)(?:在|于)《|"
    r"《[^》]{4,40}》|[\u4e00-\u9fff]{2,3}(?:教授|院士|博士)[^。!?]{0,20}(?:撰文|指出|强调|表示|提出|研究|证实|认为|推荐)|第\d{1,4}号(?:公告|文件|通告|令)"
)
# The reader's part in a decision about a claim, and what agreeing numbers speak for it. On 560 pairs by an author whom neither
# had seen, precision rises from .65 to .79 and recall from .79 to .84 against the reader before (docs/decisions/0009).
AGREEING_NUMBERS = 1.0
READER_SHARE = 0.4
# Margin of the linear model within which the reader's logit (about -8 to 8) can change the decision.
UNSURE = 3.0
# Passages read for one claim and claims read of one answer at most, some 40 ms a pair: a hostile draft may be long.
MOST_PASSAGES, MOST_CLAIMS = 2, 40
_GENERIC = frozenset(
    {"抗生素", "抗菌药", "抗菌药物", "消炎药", "消炎药片", "消炎针", "疫苗", "减肥药", "避孕药", "激素"}
)


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """The sentence as it may be shown, with what was wrong; `removed` when the claim itself had to go."""

    text: str
    violations: tuple[tuple[ViolationCode, str], ...] = ()
    removed: bool = False


class ClaimChecker:
    """Shared by all answers; `open` binds it to one answer's evidence."""

    def __init__(
        self,
        terms: MedicalTerms,
        lexicon: Lexicon,
        *,
        cite_missing: bool = False,
        reader: Reader | None = None,
    ) -> None:
        support_model()  # read now: a file that cannot be used stops the start, not the first answer
        self._terms = terms
        self._lexicon = lexicon
        self.cite_missing = cite_missing
        self._reader = reader
        self.read = lru_cache(maxsize=4096)(self._read)

    def open(self, context: ReviewContext) -> Claims:
        return Claims(self, context)

    def _read(self, raw: str) -> Reading:
        return read(raw, self.names)

    def confirmed(self, claim: str, found: Sequence[tuple[Support, str]], *, numbers: bool) -> list[bool]:
        """Whether each passage supports the claim once the reader has read both, where it can change the decision.

        It is weighed with the linear model, and for a claim with `numbers` with their agreement, which says more than likeness.
        """
        held = [result.supported for result, _ in found]
        unsure = [at for at, (result, _) in enumerate(found) if abs(result.margin) < UNSURE]
        asked = sorted(unsure, key=lambda at: -found[at][0].margin)[:MOST_PASSAGES]
        if self._reader is None or not asked:
            return held
        agreed = AGREEING_NUMBERS if numbers else 0.0
        logits = self._reader.support([(claim, found[at][1]) for at in asked])
        for at, logit in zip(asked, logits, strict=True):
            held[at] = found[at][0].margin + READER_SHARE * float(logit) + agreed >= 0
        return held

    def supports(self, claim: str, passage: str) -> bool:
        """Whether the passage alone supports the claim, every quantity of it included."""
        stated = self.read(claim)
        result = support(stated, stated.numbers, self.read(passage), assumed=frozenset())
        return self.confirmed(claim, [(result, passage)], numbers=bool(stated.numbers))[0]

    def names(self, folded: str) -> tuple[Name, ...]:
        """Return the medicines and diseases of a folded text: those of the graph, and names the lexicon knows."""
        found = [
            Name(mention.entity.id, mention.surface, mention.start, mention.end, mention.entity.type)
            for mention in self._terms.mentions(folded)
            if mention.entity.type in {"drug", "drug_class", "disease"}
        ]
        for match in self._lexicon.named.finditer(folded):
            if (
                match.group() not in _GENERIC
                and folded[match.start() - 1 : match.start()] != "("
                and not any(name.start < match.end() and match.start() < name.end for name in found)
            ):
                kind = (
                    "drug"
                    if len(match.group()) > 2 and not match.group().endswith(("类", "药"))
                    else "drug_class"
                )
                found.append(Name(match.group(), match.group(), match.start(), match.end(), kind))
        return tuple(sorted(found, key=lambda name: name.start))


class Claims:
    """The evidence of one answer, read once, and the check of each sentence against it."""

    def __init__(self, checker: ClaimChecker, context: ReviewContext) -> None:
        self._checker = checker
        self._evidence = context.evidence
        self._passages = [checker.read(f"{item.title}。{item.text}") for item in context.evidence]
        self._sources = [fold(item.source) for item in context.evidence]
        turns = [turn.content for turn in context.history if turn.role == "user"]
        self._said = [checker.read(text) for text in (*turns, context.question) if text]
        self._assumed = frozenset(key for reading in self._said for key in reading.keys)
        self._needs = Needs(self._said, given=bool(self._passages))
        self._explained = False
        self._reads: dict[str, list[bool]] = {}

    def violations(self, view: View) -> tuple[tuple[ViolationCode, str], ...]:
        """What `check` would find, without spending the one explanation of an unsupported sentence."""
        explained = self._explained
        found = self.check(view).violations
        self._explained = explained
        return found

    def check(self, view: View) -> ClaimOutcome:
        """Check one sentence that broke no other rule."""
        raw = view.raw
        if raw.lstrip().startswith(("#", "|")):
            # Headings and table rows name things; the sentences around them make the claims.
            return ClaimOutcome(raw)
        cited = cited_numbers(raw)
        claim = self._claim(view)
        if self._invented_work(claim, view):
            return self._unsupported(raw, ((ViolationCode.FALSE_CITATION, "claims.unknown_work"),))
        literal = self._literal(claim)
        if literal is not None and (not cited or literal + 1 in cited):
            return self._cite(raw, cited, literal, claim)
        needed = () if literal is not None else self._needs.numbers(claim, view, bool(cited))
        wanted = bool(needed) or (literal is None and self._needs.asserts(claim, view, bool(cited)))
        if literal is None and not wanted and self._opposed(claim, view):
            wanted = True
        supporters = [literal] if literal is not None else self._supporters(raw, claim, needed, cited, wanted)
        if not cited:
            return self._uncited(raw, claim, wanted, supporters)
        return self._cited(raw, claim, cited, wanted, supporters, needed)

    def _invented_work(self, claim: Reading, view: View) -> bool:
        """True when the sentence names a publication that neither a passage, its source nor the user names."""
        if view.question or DENIES_KNOWING.search(claim.text):
            return False
        known = [*(reading.text for reading in (*self._passages, *self._said)), *self._sources]
        named = (match.group()[:WORK_CHARS] for match in _WORK.finditer(claim.text))
        return any(not any(name in text for text in known) for name in named)

    def quotes(self, view: View) -> bool:
        """True when the sentence stands word for word in the evidence."""
        return self._literal(self._claim(view)) is not None

    def _claim(self, view: View) -> Reading:
        return self._checker.read(bare_claim(view.raw))

    def _opposed(self, claim: Reading, view: View) -> bool:
        """True when a passage about the same thing says the opposite and none agrees."""
        if view.question or view.sends or view.refuted(0, len(view.masked)) or len(claim.bigrams) < 3:
            return False
        alike = [
            item for item in self._passages if containment(claim.bigrams, item.bigrams) >= OPPOSED_CONTENT
        ]
        return bool(alike) and all(contradicts(claim, item) for item in alike)

    # What supports them

    def _literal(self, claim: Reading) -> int | None:
        """Return the passage that holds the sentence word for word (what an extractive answer quotes)."""
        text = claim.text.strip("。!?,;:\"'“”")
        if len(text) < 6:
            return None
        for index, passage in enumerate(self._passages):
            if text in passage.text:
                return index
        return None

    def _supporters(
        self, raw: str, claim: Reading, needed: Sequence[Quantity], cited: Sequence[int], wanted: bool
    ) -> list[int]:
        """The passages that support the claim, best first; `wanted` claims are read again by the reader."""
        found = [
            support(claim, needed, passage, assumed=self._assumed, cited=index + 1 in cited)
            for index, passage in enumerate(self._passages)
        ]
        held = [result.supported for result in found]
        if wanted:
            held = self._read_again(bare_claim(raw), found, numbers=bool(needed))
        return sorted(
            (index for index, supported in enumerate(held) if supported),
            key=lambda index: (-found[index].score, index),
        )

    def _read_again(self, claim: str, found: Sequence[Support], *, numbers: bool) -> list[bool]:
        """`ClaimChecker.confirmed`, once for a claim that is checked twice, and for so many claims of one answer."""
        if claim not in self._reads:
            if len(self._reads) >= MOST_CLAIMS:
                return [result.supported for result in found]
            texts = (item.text for item in self._evidence)
            pairs = list(zip(found, texts, strict=True))
            self._reads[claim] = self._checker.confirmed(claim, pairs, numbers=numbers)
        return self._reads[claim]

    def _together(self, claim: Reading, needed: Sequence[Quantity], cited: Sequence[int]) -> bool:
        """True when the cited passages support the claim only jointly (a number each)."""
        readings = [self._passages[n - 1] for n in cited if 0 < n <= len(self._passages)]
        if len(readings) < 2:
            return False
        joined = self._checker.read("。".join(reading.text for reading in readings))
        return support(claim, needed, joined, assumed=self._assumed, cited=True).supported

    # What becomes of them

    def _uncited(self, raw: str, claim: Reading, wanted: bool, supporters: Sequence[int]) -> ClaimOutcome:
        if not wanted:
            return ClaimOutcome(raw)
        if supporters or self._together(claim, claim.numbers, range(1, len(self._passages) + 1)):
            return self._cite(raw, (), supporters[0] if supporters else None, claim)
        return self._unsupported(raw, ((ViolationCode.UNSUPPORTED_CLAIM, "claims.uncited"),))

    def _cite(self, raw: str, cited: Sequence[int], index: int | None, claim: Reading) -> ClaimOutcome:
        if cited or index is None or not self._checker.cite_missing or not claim.numbers:
            return ClaimOutcome(raw)
        return ClaimOutcome(with_citations(raw, [index + 1]))

    def _cited(
        self,
        raw: str,
        claim: Reading,
        cited: Sequence[int],
        wanted: bool,
        supporters: Sequence[int],
        needed: Sequence[Quantity],
    ) -> ClaimOutcome:
        good = [n for n in cited if n - 1 in supporters]
        if wanted and not good and self._together(claim, needed, cited):
            good = list(cited)
        kept = [n for n in cited if n in good or ((good or not wanted) and self._related(claim, n))]
        if kept == list(cited):
            return ClaimOutcome(raw)
        wrong = (ViolationCode.FALSE_CITATION, "claims.wrong_passage")
        if kept:
            return ClaimOutcome(with_citations(raw, kept), (wrong,))
        if supporters and (wanted or claim.names):
            return ClaimOutcome(with_citations(raw, [supporters[0] + 1]), (wrong,))
        if wanted:
            return self._unsupported(raw, (wrong, (ViolationCode.UNSUPPORTED_CLAIM, "claims.cited")))
        return ClaimOutcome(with_citations(raw, []), (wrong,))

    def _related(self, claim: Reading, n: int) -> bool:
        if not 0 < n <= len(self._passages):
            return False
        passage = self._passages[n - 1]
        if any(contains(known, number) for number in claim.numbers for known in passage.numbers):
            return True
        return (
            bool(claim.keys & passage.keys) or containment(claim.bigrams, passage.bigrams) >= RELATED_CONTENT
        )

    def _unsupported(self, raw: str, violations: tuple[tuple[ViolationCode, str], ...]) -> ClaimOutcome:
        ending = "\n" if raw.endswith("\n") else ""
        text = "" if self._explained else UNSUPPORTED
        self._explained = True
        return ClaimOutcome(text + ending if text else "", violations, removed=True)
