"""Turns a patient's text into one plain form for matching, keeping the way back to every original character.

Owns full-width, traditional and dialect characters, stray spaces, and homophone typing errors. What the words
mean is left to `findings.py`; numbers are read in `findings_measures.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import ahocorasick
import jieba
from pypinyin.constants import PINYIN_DICT
from zhconv import convert

# One Cantonese or dialect character for one of the standard language, so that offsets stay true.
DIALECT_CHARS = str.maketrans(
    {
        "唔": "不",
        "冇": "没",
        "咗": "了",
        "嘅": "的",
        "佢": "他",
        "喺": "在",
        "哋": "们",
        "睇": "看",
        "瞓": "睡",
        "攰": "累",
        "嚟": "来",
        "畀": "给",
        "俾": "给",
        "咁": "这",
        "嗰": "那",
        "咩": "啥",
        "係": "是",
        "啲": "些",
        "搵": "找",
        "㗎": "的",
        "嘢": "话",
        "侬": "你",
        "俺": "我",
        "恁": "你",
        "甭": "别",
        "伲": "我",
        "痠": "酸",
        "咀": "嘴",
        "妳": "你",
        "祂": "他",
        "唿": "呼",
        "彆": "憋",
        "勐": "猛",
        "癒": "愈",
    }
)
DROPPED = set("\u200b\u200c\u200d\u2060\ufeff\ufe0f*·・_^`|\\")
STRONG_STOPS = "。！？!?；;\n"
# Spelling variants that sound alike in many regions; both sides of a comparison are folded the same way.
FOLD = (("zh", "z"), ("ch", "c"), ("sh", "s"))
TONES = str.maketrans("āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜüńňǹ", "aaaaeeeeiiiioooouuuuvvvvvnnn")


@dataclass(frozen=True, slots=True)
class Normalised:
    """`text` is matched; `offsets[i]` is the index in the original of `text[i]`."""

    text: str
    offsets: tuple[int, ...]

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that `text[start:end]` came from (end exclusive)."""
        if not self.offsets or start >= end:
            return 0, 0
        return self.offsets[start], self.offsets[end - 1] + 1


def is_cjk(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff"


def plain_char(char: str) -> str:
    """One character in half width, lower case and simplified form; '' when it carries no meaning."""
    if char in DROPPED:
        return ""
    if char in "\r\n\u2028\u2029":
        return "\n"
    if char in "，、；：。！？":
        return char
    folded = unicodedata.normalize("NFKC", char).lower().strip()
    if not folded:
        return " "
    if len(folded) == 1 and is_cjk(folded):
        return str(convert(folded.translate(DIALECT_CHARS), "zh-hans"))[:1]
    if unicodedata.category(char) in {"Cs", "Cc", "So", "Sk", "Co"} and char not in "℃℉":
        return " "
    return {",": "，", ":": "：", ";": "；", "｡": "。", "!": "！", "?": "？"}.get(folded, folded)


class _Plain(dict[str, str]):
    """`plain_char` remembered; a table look-up is what keeps long histories cheap."""

    def __missing__(self, char: str) -> str:
        value = self[char] = plain_char(char)
        return value


PLAIN = _Plain()


def _spaces(chars: list[str], at: int) -> str:
    """What a space stands for: nothing inside spaced-out letters, a pause between Chinese words, else a space."""
    before = next((c for c in reversed(chars[:at]) if c != " "), "")
    after = next((c for c in chars[at + 1 :] if c != " "), "")
    if not (before and after and is_cjk(before[-1]) and is_cjk(after[0])):
        return " " if before and after and before[-1].isalnum() and after[0].isalnum() else ""
    left_single = at < 2 or chars[at - 2] == " "
    right_single = at + 2 >= len(chars) or chars[at + 2] == " "
    return "" if left_single or right_single else "，"


def normalise(original: str) -> Normalised:
    """Plain text of `original` with offsets; never longer than the original except for compatibility forms."""
    chars = [PLAIN[char] for char in original]
    out: list[str] = []
    offsets: list[int] = []
    for index, char in enumerate(chars):
        if char == " ":
            if index and chars[index - 1] == " ":
                continue
            char = _spaces(chars[max(0, index - 3) : index + 4], min(index, 3))
        out.append(char)
        if len(char) == 1:
            offsets.append(index)
        else:
            offsets.extend([index] * len(char))
    return Normalised("".join(out), tuple(offsets))


def _syllable(char: str) -> str:
    reading = PINYIN_DICT.get(ord(char))
    if reading is None:
        return ""
    sound = str(reading).split(",")[0].translate(TONES)
    for long, short in FOLD:
        if sound.startswith(long):
            sound = short + sound[len(long) :]
    return sound[:-1] if sound.endswith("ng") else sound


class _Sounds(dict[int, str]):
    """Maps a character to one private character per syllable, filled as characters are seen."""

    def __init__(self) -> None:
        super().__init__()
        self._codes: dict[str, str] = {}

    def __missing__(self, key: int) -> str:
        sound = _syllable(chr(key))
        code = chr(key) if not sound else self._codes.setdefault(sound, chr(0xE000 + len(self._codes)))
        self[key] = code
        return code


class Homophones:
    """Corrects words typed with wrong characters of the same sound (心更 -> 心梗), in place and length-true.

    A correction needs a character in common with the word it becomes, and leaves real words alone: a window that
    the jieba dictionary knows, or whose edge belongs to a known neighbouring word, is never changed.
    """

    def __init__(self, words: Iterable[str]) -> None:
        jieba.setLogLevel(60)
        jieba.initialize()
        self._known: dict[str, int] = jieba.dt.FREQ
        self._sounds = _Sounds()
        self._targets: dict[str, list[str]] = {}
        self._exact: set[str] = set()
        automaton = ahocorasick.Automaton()
        for word in sorted(set(words)):
            if len(word) < 2 or not all(is_cjk(char) for char in word):
                continue
            key = word.translate(self._sounds)
            self._targets.setdefault(key, []).append(word)
            self._exact.add(word)
            automaton.add_word(key, key)
        automaton.make_automaton()
        self._automaton = automaton

    def correct(self, text: str) -> str:
        """`text` with misheard or mistyped words put right; the length never changes."""
        if not self._targets:
            return text
        found = [
            (end + 1 - len(key), end + 1, key)
            for end, key in self._automaton.iter(text.translate(self._sounds))
        ]
        corrected = list(text)
        taken = [False] * len(text)
        for start, end, _ in sorted(f for f in found if text[f[0] : f[1]] in self._exact):
            taken[start:end] = [True] * (end - start)
        for start, end, key in sorted(found, key=lambda f: f[0] - f[1]):
            window = text[start:end]
            if any(taken[start:end]) or self._is_real(text, start, end):
                continue
            best = max(self._targets[key], key=lambda word: _shared(word, window))
            if _shared(best, window) >= (1 if len(window) < 4 else 2):
                corrected[start:end] = best
                taken[start:end] = [True] * (end - start)
        return "".join(corrected)

    def _is_real(self, text: str, start: int, end: int) -> bool:
        window = text[start:end]
        if self._known.get(window, 0) > 0:
            return True
        if len(window) > 2:
            return False
        return any(
            self._known.get(text[max(0, a) : b], 0) > 20
            for a, b in (
                (start - 1, start + 1),
                (start - 2, start + 1),
                (end - 1, end + 1),
                (end - 1, end + 2),
            )
            if b - max(0, a) > 1 and b <= len(text)
        )


def _shared(word: str, window: str) -> int:
    return sum(a == b for a, b in zip(word, window, strict=True))
