"""Names in text: how a name is made comparable, and which names of the graph a text contains.

Owns normalisation (schema section 5) and the matcher; which name belongs to which node is told by the caller.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import ahocorasick
from zhconv.zhconv import getdict

_FORMS = (
    "缓释片|控释片|肠溶片|分散片|咀嚼片|泡腾片|口崩片|舌下片|薄膜衣片|含片|片剂|片|肠溶胶囊|缓释胶囊|软胶囊|胶囊剂|胶囊"
    "|颗粒剂|颗粒|口服溶液|口服液|混悬液|混悬滴剂|滴剂|糖浆|注射液|注射剂|针剂|鼻喷雾剂|喷雾剂|气雾剂|吸入剂|滴眼液"
    "|缓释|控释|肠溶"
)
_FORM_SUFFIX = re.compile(rf"(?:{_FORMS})(?:[（(]?[iⅰ-ⅻ一二三四]{{1,3}}[)）]?)?$")
_DOSE = re.compile(r"\d+(?:\.\d+)?(?:mg|μg|ug|mcg|g|ml|毫克|微克|克|毫升|片|粒|%)(?:[*x×/]\d+\w*)*$")
_BRACKETS = re.compile(r"[（(\[【][^）)\]】]*[）)\]】]$")
_SALTS = re.compile(
    r"^(?:盐酸|硫酸氢|硫酸|苯磺酸|马来酸|富马酸|琥珀酸|酒石酸|枸橼酸|甲磺酸|醋酸|磷酸|氢溴酸|重酒石酸|双氯|注射用)"
    r"|(?:叔丁胺|二盐酸盐|盐酸盐|钠|钙|钾|镁)$"
)
_NOISE = re.compile(r"[\s·•・,，。.、;；:：!！?？\"'“”‘’《》_-]+")


@lru_cache(maxsize=1)
def _traditional_table() -> dict[int, str]:
    """Traditional to simplified, one character to one, so that positions in the text stay valid."""
    table: Mapping[str, str] = getdict("zh-hans")
    return {ord(old): new for old, new in table.items() if len(old) == 1 and len(new) == 1}


def fold(text: str) -> str:
    """Width, case and script made equal; nothing removed."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_traditional_table())


def normalise(name: str) -> str:
    """The key under which a name is compared: folded, without spaces, strength and dosage-form suffix.

    A suffix is kept when nothing but one character would be left (含片 stays 含片).
    """
    key = fold(name).strip()
    for pattern in (_BRACKETS, _DOSE):
        key = _shorten(pattern, key.strip())
    key = _NOISE.sub("", key)
    previous = ""
    while previous != key:
        previous = key
        key = _shorten(_DOSE, key)
        key = _shorten(_FORM_SUFFIX, key)
    return key


def without_salt(key: str) -> str:
    """`key` without the acid or base in front or behind (盐酸西替利嗪 -> 西替利嗪)."""
    return _shorten(_SALTS, key)


def _shorten(pattern: re.Pattern[str], key: str) -> str:
    shorter = pattern.sub("", key)
    return shorter if len(shorter) > 1 else key


@dataclass(frozen=True, slots=True)
class Guard:
    """Neighbouring characters that make a name ordinary text (可定 in 可定期, 代文 in 现代文)."""

    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A name found at `text[start:end]`, with the key under which it is known."""

    start: int
    end: int
    key: str


class Lexicon:
    """Finds known names in a text with one pass of an Aho-Corasick automaton; immutable after construction."""

    def __init__(self, names: Iterable[str], guards: Mapping[str, Guard]) -> None:
        self._guards = {_squeeze(fold(name)): guard for name, guard in guards.items()}
        self._automaton = ahocorasick.Automaton()
        for name in names:
            key = _squeeze(fold(name))
            if len(key) > 1:
                self._automaton.add_word(key, key)
        self._empty = len(self._automaton) == 0
        if not self._empty:
            self._automaton.make_automaton()

    def find(self, text: str) -> list[Span]:
        """Non-overlapping names in reading order; of two that overlap the longer wins, then the earlier."""
        if self._empty:
            return []
        folded, origin = _fold_with_origin(text)
        found: list[tuple[int, int, str]] = []
        for last, key in self._automaton.iter(folded):
            first = last - len(key) + 1
            if self._stands_alone(folded, first, last, key, text, origin):
                found.append((first, last + 1, key))
        found.sort(key=lambda span: (span[0] - span[1], span[0]))
        taken: list[tuple[int, int, str]] = []
        used = bytearray(len(folded))
        for first, end, key in found:
            if not any(used[first:end]):
                used[first:end] = b"\x01" * (end - first)
                taken.append((first, end, key))
        return [Span(origin[first], origin[end - 1] + 1, key) for first, end, key in sorted(taken)]

    def _stands_alone(
        self, folded: str, first: int, last: int, key: str, text: str, origin: list[int]
    ) -> bool:
        start, end = origin[first], origin[last] + 1
        if _is_latin(key[0]) and start > 0 and _is_latin(text[start - 1]):
            return False
        if _is_latin(key[-1]) and end < len(text) and _is_latin(text[end]):
            return False
        guard = self._guards.get(key)
        if guard is None:
            return True
        before = folded[first - 1] if first > 0 else ""
        after = folded[last + 1] if last + 1 < len(folded) else ""
        return not ((before and before in guard.before) or (after and after in guard.after))


def matching_key(name: str) -> str:
    """The key under which `Lexicon` reports `name` (folded, without spaces, suffixes kept)."""
    return _squeeze(fold(name))


def _squeeze(folded: str) -> str:
    return "".join(folded.split())


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _fold_with_origin(text: str) -> tuple[str, list[int]]:
    """The text folded without white space, and for each of its characters the position in `text`."""
    if text.isascii() or unicodedata.is_normalized("NFKC", text):
        folded = text.casefold().translate(_traditional_table())
        if len(folded) == len(text):
            pairs = [(char, at) for at, char in enumerate(folded) if not char.isspace()]
            return "".join(char for char, _ in pairs), [at for _, at in pairs]
    chars: list[str] = []
    origin: list[int] = []
    for at, original in enumerate(text):
        for char in fold(original):
            if not char.isspace():
                chars.append(char)
                origin.append(at)
    return "".join(chars), origin
