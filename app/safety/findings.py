"""Recognises findings (胸痛, 一侧无力, 黑便 …) in normalised text, from a lexicon kept in YAML.

Owns the lexicon's form, its compilation and the matching of words and word patterns. Whether a finding is really
present (negated, past, asked about, a film) is decided in `context.py`; what it means, in the rules.

A lexicon has *concepts* (named word lists: body parts, sensations) and *findings*, each recognised by whole words,
by patterns over concepts, or by a measurement within limits. Word lists expand `(a|b|)`; in a pattern,
`chest pain` means both in this order with at most `DEFAULT_GAP` characters between, `chest _9 pain` sets the gap,
`& 12 side limb weak` means any order within 12 characters, and anything that is not a concept name is a literal.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

import ahocorasick
from pydantic import BaseModel, ConfigDict, Field

from app.safety.findings_measures import Measurement, read_measurements
from app.safety.normalise import STRONG_STOPS, Homophones, normalise

DEFAULT_GAP = 5
SMALL_WORDS = set("又了的着过没有不再还都很太好个一就是")
NAME = re.compile(r"[a-z][a-z0-9_]*$")
OPTIONAL = re.compile(r"([^()\s|])\?")
BETWEEN_PARTS = re.compile(r"[，,：:]|不|没")


class MeasureLimit(BaseModel):
    """A finding by number: `min` <= value < `max`, in the units of `findings_measures`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    min: float = float("-inf")
    max: float = float("inf")


class FindingSpec(BaseModel):
    """One finding: its Chinese label, the question that asks for it, and how people say it.

    `becomes` names a finding that this one stands for unless the message also has the finding `unless`.
    `not_before` names words that, following directly, make it something else (没有呼吸 before 困难).
    `accept` lists statuses of `context.Status` that count as present beside PRESENT itself; `background` marks what
    stays true throughout a conversation (age, drugs, history) and is no complaint by itself. `cancels` names findings
    whose mentions do not count where they overlap a mention of this one (不想死 over 想死); others in the text do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    label: str
    question: str | None = None
    words: str = ""
    patterns: tuple[str, ...] = ()
    measures: tuple[MeasureLimit, ...] = ()
    implies: tuple[str, ...] = ()
    becomes: str | None = None
    unless: str | None = None
    not_before: str = ""
    negatable: bool = True
    background: bool = False
    accept: tuple[str, ...] = ()
    cancels: tuple[str, ...] = ()


class LexiconFile(BaseModel):
    """One YAML file of `kind: findings`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str = "findings"
    parts: tuple[str, ...] = ()
    mask: str = ""
    typos: str = ""
    concepts: dict[str, str] = Field(default_factory=dict)
    findings: dict[str, FindingSpec] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mention:
    """A finding seen at `start:end` of the normalised text; `cores` are the spans of the words that made it."""

    finding: str
    start: int
    end: int
    cores: tuple[tuple[int, int], ...] = ()
    word: bool = True


@dataclass(frozen=True, slots=True)
class Pattern:
    finding: str
    concepts: tuple[str, ...]
    gaps: tuple[int, ...]
    window: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything seen in one text: concept tokens by name (sorted), mentions, and measurements."""

    text: str
    tokens: Mapping[str, Sequence[tuple[int, int]]]
    mentions: tuple[Mention, ...]
    measurements: tuple[Measurement, ...]
    parts: tuple[tuple[int, int], ...] = ()


def expand(words: str) -> list[str]:
    """`喘不(上|过)气 憋气` -> [喘不上气, 喘不过气, 憋气]; `的?` is optional; an underscore stands for a space inside a phrase."""
    out: list[str] = []
    for item in OPTIONAL.sub(r"(\1|)", words).split():
        pieces = re.split(r"(\([^()]*\))", item)
        options = [p[1:-1].split("|") if p.startswith("(") else [p] for p in pieces if p]
        out.extend("".join(choice).replace("_", " ") for choice in product(*options))
    return [word for word in out if word]


def parse_pattern(finding: str, pattern: str) -> tuple[Pattern, dict[str, list[str]]]:
    """The compiled pattern, and the literals it uses as anonymous concepts. Raises ValueError when malformed."""
    literals: dict[str, list[str]] = {}
    items = pattern.split()
    window = 0
    if items and items[0] == "&":
        window, items = int(items[1]), items[2:]
    concepts: list[str] = []
    gaps: list[int] = []
    for item in items:
        if item.startswith("_") and item[1:].isdigit():
            gaps[-1] = int(item[1:])
            continue
        if not NAME.match(item):
            literals[item] = expand(item)
        concepts.append(item)
        gaps.append(DEFAULT_GAP)
    if len(concepts) < 2:
        raise ValueError(f"pattern of {finding} needs two parts: {pattern!r}")
    return Pattern(finding, tuple(concepts), tuple(gaps), window), literals


class PartIndex:
    """The body-part tokens of one text, by place and for membership."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self.members = set(spans)
        self.ordered = sorted(self.members)


class Cover:
    """Answers in constant time whether a longer span contains a given one."""

    def __init__(self, length: int, spans: Iterable[tuple[int, int]]) -> None:
        reach = [0] * (length + 1)
        for start, end in spans:
            reach[start] = max(reach[start], end)
        self._reach = list(accumulate(reach, max))

    def hides(self, start: int, end: int) -> bool:
        return self._reach[start] > end or (start > 0 and self._reach[start - 1] >= end)


class Lexicon:
    """The compiled lexicon: one automaton over all words of all concepts and findings."""

    def __init__(self, files: Iterable[LexiconFile], extra: Mapping[str, str] | None = None) -> None:
        """`extra` names further concepts (context cues). Raises ValueError on unknown names or bad patterns."""
        self.findings: dict[str, FindingSpec] = {}
        words: dict[str, set[str]] = defaultdict(set)
        self.parts: set[str] = set()
        self._typos: set[str] = set()
        self._patterns: list[Pattern] = []
        for file in files:
            self.parts |= set(file.parts)
            self._collect(file, words)
        for name, text in (extra or {}).items():
            words[name] |= set(expand(text))
        self._check(words)
        self._build(words)
        self.asking = {
            normalise(spec.question).text: name for name, spec in self.findings.items() if spec.question
        }
        """The finding that each reviewed question asks for, whatever else its words name."""

    def _collect(self, file: LexiconFile, words: dict[str, set[str]]) -> None:
        words["mask"] |= set(expand(file.mask))
        self._typos |= set(expand(file.typos))
        for name, text in file.concepts.items():
            words[name] |= set(expand(text))
        for name, spec in file.findings.items():
            if name in self.findings:
                raise ValueError(f"finding {name} is defined twice")
            self.findings[name] = spec
            words[f"={name}"] |= set(expand(spec.words))
            for line in spec.patterns:
                if " " not in line.strip() and not NAME.match(line.strip()):
                    words[f"={name}"] |= set(expand(line))
                    continue
                pattern, literals = parse_pattern(name, line)
                self._patterns.append(pattern)
                for key, items in literals.items():
                    words[key] |= set(items)

    def _check(self, words: Mapping[str, set[str]]) -> None:
        for pattern in self._patterns:
            unknown = [c for c in pattern.concepts if c not in words]
            if unknown:
                raise ValueError(f"finding {pattern.finding} uses unknown concepts {unknown}")
        for name, spec in self.findings.items():
            named = [*spec.implies, *spec.cancels, *(n for n in (spec.becomes, spec.unless) if n is not None)]
            unknown = [i for i in named if i not in self.findings]
            if unknown:
                raise ValueError(f"finding {name} implies unknown {unknown}")

    def _build(self, words: Mapping[str, set[str]]) -> None:
        by_word: dict[str, list[str]] = defaultdict(list)
        for name in sorted(words):
            for word in sorted(words[name]):
                by_word[word].append(name)
        self._automaton = ahocorasick.Automaton()
        for word, names in by_word.items():
            self._automaton.add_word(word, (len(word), tuple(names)))
        self._automaton.make_automaton()
        self._homophones = Homophones(w for w, names in by_word.items() if self._mistyped(w, names))
        self._by_first: dict[str, list[tuple[Pattern, frozenset[str]]]] = defaultdict(list)
        for pattern in self._patterns:
            self._by_first[pattern.concepts[0]].append((pattern, frozenset(pattern.concepts)))
        self._followers = [
            (f"={n}", tuple(expand(s.not_before))) for n, s in self.findings.items() if s.not_before
        ]
        self._measured = [(n, limit) for n, spec in self.findings.items() for limit in spec.measures]

    def _mistyped(self, word: str, names: Iterable[str]) -> bool:
        """Whether a word is worth finding under a wrong spelling: long names of findings, and the listed short ones."""
        if len(word) < 3:
            return word in self._typos
        return any(name.startswith("=") for name in names) and not set(word) & SMALL_WORDS

    def scan(self, text: str) -> Scan:
        """All tokens, mentions and measurements of normalised `text`."""
        text = self._homophones.correct(text)
        tokens = self._tokens(text)
        measurements = read_measurements(text)
        mentions = [
            Mention(name[1:], start, end, ((start, end),))
            for name, spans in tokens.items()
            if name.startswith("=")
            for start, end in spans
        ]
        stops = [i for i, c in enumerate(text) if c in STRONG_STOPS]
        parts = PartIndex(span for name in self.parts for span in tokens.get(name, ()))
        names = tokens.keys()
        for first in names & self._by_first.keys():
            for pattern, needed in self._by_first[first]:
                if needed <= names:
                    mentions.extend(_match(pattern, tokens, stops, parts, text))
        for name, limit in self._measured:
            mentions.extend(
                Mention(name, m.start, m.end, ((m.start, m.end),))
                for m in measurements
                if m.name == limit.name and limit.min <= m.value < limit.max
            )
        mentions += self._implied(mentions)
        return Scan(
            text,
            tokens,
            tuple(sorted(set(mentions), key=lambda m: (m.start, m.end, m.finding))),
            tuple(measurements),
            tuple(parts.ordered),
        )

    def _implied(self, mentions: Sequence[Mention]) -> list[Mention]:
        return [
            Mention(implied, m.start, m.end, m.cores, m.word)
            for m in mentions
            for implied in self.findings[m.finding].implies
        ]

    def _tokens(self, text: str) -> dict[str, list[tuple[int, int]]]:
        found: list[tuple[int, int, tuple[str, ...]]] = []
        masks: list[tuple[int, int]] = []
        for last, (length, names) in self._automaton.iter(text):
            start, end = last + 1 - length, last + 1
            if (
                length <= 6
                and text[start].isascii()
                and text[start].isalpha()
                and _inside_latin_word(text, start, end)
            ):
                continue
            found.append((start, end, names))
            if "mask" in names:
                masks.append((start, end))
        tokens: dict[str, list[tuple[int, int]]] = defaultdict(list)
        cover = Cover(len(text), masks)
        for start, end, names in found:
            if not cover.hides(start, end):
                for name in names:
                    tokens[name].append((start, end))
        for name, followers in self._followers:
            tokens[name] = [s for s in tokens.get(name, ()) if not text.startswith(followers, s[1])]
        for name in [name for name, spans in tokens.items() if not spans]:
            del tokens[name]
        for spans in tokens.values():
            spans.sort()
        return tokens


def _inside_latin_word(text: str, start: int, end: int) -> bool:
    before = start > 0 and text[start - 1].isascii() and text[start - 1].isalpha()
    after = end < len(text) and text[end].isascii() and text[end].isalpha()
    return before or after


def _match(
    pattern: Pattern,
    tokens: Mapping[str, Sequence[tuple[int, int]]],
    stops: Sequence[int],
    parts: PartIndex,
    text: str,
) -> list[Mention]:
    if pattern.window:
        return _match_window(pattern, tokens, stops)
    out: list[Mention] = []
    for first in tokens[pattern.concepts[0]]:
        cores = [first]
        for name, gap in zip(pattern.concepts[1:], pattern.gaps, strict=False):
            following = _next(tokens[name], cores[-1][1], gap)
            if following is None or _broken(cores[-1], following, stops, parts, text):
                break
            cores.append(following)
        else:
            out.append(Mention(pattern.finding, cores[0][0], cores[-1][1], tuple(cores), word=False))
    return out


def _next(spans: Sequence[tuple[int, int]], after: int, gap: int) -> tuple[int, int] | None:
    at = bisect_left(spans, (after,))
    return spans[at] if at < len(spans) and spans[at][0] - after <= gap else None


def _broken(
    left: tuple[int, int], right: tuple[int, int], stops: Sequence[int], parts: PartIndex, text: str
) -> bool:
    """Whether a sentence ends between the two, or another body part with its own complaint stands there."""
    at = bisect_left(stops, left[1])
    if at < len(stops) and stops[at] < right[0]:
        return True
    if right[0] - left[1] <= 1 or left not in parts.members:
        return False
    at = bisect_left(parts.ordered, (left[1],))
    for start, end in parts.ordered[at:]:
        if end > right[0]:
            return False
        if BETWEEN_PARTS.search(text, left[1], start):
            return True
    return False


def _match_window(
    pattern: Pattern, tokens: Mapping[str, Sequence[tuple[int, int]]], stops: Sequence[int]
) -> list[Mention]:
    rarest = min(pattern.concepts, key=lambda name: len(tokens[name]))
    out: list[Mention] = []
    for anchor in tokens[rarest]:
        cores = [anchor]
        for name in pattern.concepts:
            if name == rarest:
                continue
            near = _nearest(tokens[name], anchor, pattern.window, cores)
            if near is None:
                break
            cores.append(near)
        else:
            start, end = min(c[0] for c in cores), max(c[1] for c in cores)
            at = bisect_left(stops, start)
            if end - start <= pattern.window + 4 and not (at < len(stops) and stops[at] < end):
                out.append(Mention(pattern.finding, start, end, tuple(sorted(cores)), word=False))
    return out


def _nearest(
    spans: Sequence[tuple[int, int]], anchor: tuple[int, int], window: int, used: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """The span nearest to `anchor` that overlaps none of `used`, within `window` characters."""
    best: tuple[int, int] | None = None
    best_gap = window + 1
    low = bisect_left(spans, (anchor[0] - window - 8,))
    for span in spans[low:]:
        if span[0] > anchor[1] + window:
            break
        gap = max(span[0] - anchor[1], anchor[0] - span[1], 0)
        if gap < best_gap and not any(s < span[1] and span[0] < e for s, e in used):
            best, best_gap = span, gap
    return best
