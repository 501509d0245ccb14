"""Undoes disguises of text: separated characters, encodings, look-alike letters, reversed text, pinyin, homophones.

Owns turning one text into the plain readings it may stand for. What a reading asks for or claims is judged by those
who call: `injection.py` for what comes in, `review_text.py` for what goes out.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from urllib.parse import unquote

from pypinyin import lazy_pinyin
from pypinyin.constants import PINYIN_DICT

MAX_READINGS = 8
MIN_READABLE = 4  # characters that a decoded piece must have
READABLE = 0.75  # share of them that must be letters, Chinese characters or common marks
MAX_SYLLABLE = 6

_HAN = "\u4e00-\u9fff"
_SEPARATED = re.compile(rf"(?<=[{_HAN}])[-.·•~^+=\\]{{1,3}}(?=[{_HAN}])")
# Three and more single characters, each set apart by the same kind of mark: 忽/略/指/令, 忽,略,指,令.
_SPACED = re.compile(rf"(?<![{_HAN}])[{_HAN}](?:[^\w\s]{{1,2}}[{_HAN}](?![{_HAN}])){{2,}}")
_LETTERS = re.compile(r"(?<![a-z])(?:[a-z][\s.\-_*]{1,2}){3,}[a-z](?![a-z])", re.IGNORECASE)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX = re.compile(r"(?:\\x|0x)?(?:[0-9a-fA-F]{2}[\s,]*(?:\\x|0x)?){8,}")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4}){2,}")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2}){3,}")
_ENTITY = re.compile(r"(?:&#x?[0-9a-fA-F]+;){2,}")
_REVERSED = re.compile(
    r"倒(?:着|过来|序|写|读)|反(?:着|过来|序|向)(?:读|念|看)?|逆序|从后往前|从右往左|revers|backward"
)
_PIECES = re.compile(
    r"拼(?:接|起来|在一起|成)?|连起来|连在一起|连成|合并|组合|合起来|合在一起|首字|藏头|第一个字|拼出|\+|join|concat"
)
_LOOK_ALIKE = str.maketrans("0134578@$!", "oieastbasi")
_LATIN_WORD = re.compile(r"[a-z0-9@$!]{4,}")
_LATIN_RUN = re.compile(r"[a-z]+")


def unseparated(text: str) -> str:
    """Return `text` without the marks put between single characters."""
    text = _SPACED.sub(lambda match: re.sub(rf"[^{_HAN}]", "", match.group()), text)
    text = _LETTERS.sub(lambda match: re.sub(r"[^A-Za-z]", "", match.group()), text)
    return _SEPARATED.sub("", text)


def readings(text: str, words: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the other texts that `text` may stand for, without `text` itself; `words` are those sought in pinyin."""
    found: dict[str, None] = {}
    for reading in _readings(text, words):
        if reading.strip() and reading != text:
            found.setdefault(reading)
        if len(found) >= MAX_READINGS:
            break
    return tuple(found)


def _readings(text: str, words: Sequence[str]) -> Iterator[str]:
    plain = unseparated(text)
    yield plain
    for piece in _decoded(text):
        yield piece
        yield text.replace(piece, " ") + "。" + piece
    if _REVERSED.search(text.lower()):
        yield text[::-1]
        yield from (part[::-1] for part in re.split(r"[:：\n“”\"「」]", text) if len(part) >= MIN_READABLE)
    if _PIECES.search(text.lower()):
        yield re.sub(rf"[^{_HAN}]", "", text)
        yield re.sub(r"[^A-Za-z]", "", text)
        yield "".join(line.strip()[:1] for line in re.split(r"[\n，。；,;]", text) if line.strip())
    lowered = unicodedata.normalize("NFKC", plain).lower()
    yield _LATIN_WORD.sub(lambda match: match.group().translate(_LOOK_ALIKE), lowered)
    if words:
        yield spelled(plain, words, homophones=True)


def _decoded(text: str) -> Iterator[str]:
    readers: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
        (_ESCAPED, lambda piece: codecs.decode(piece, "unicode_escape")),
        (_PERCENT, unquote),
        (_ENTITY, html.unescape),
        (_HEX, lambda piece: bytes.fromhex(re.sub(r"\\x|0x|[\s,]", "", piece)).decode()),
        (_BASE64, _base64),
    )
    for pattern, read in readers:
        for match in pattern.finditer(text):
            try:
                piece = read(match.group())
            except (ValueError, binascii.Error):
                continue
            if _readable(piece):
                yield piece


def _base64(piece: str) -> str:
    padded = piece.rstrip("=") + "=" * (-len(piece.rstrip("=")) % 4)
    return base64.b64decode(padded.translate(str.maketrans("-_", "+/")), validate=True).decode()


def _readable(piece: str) -> bool:
    good = sum(char.isalnum() or char in " ,.;:!?，。；：！？、\n'\"" for char in piece)
    return len(piece) >= MIN_READABLE and good >= READABLE * len(piece)


# Pinyin


def spelled(text: str, words: Sequence[str], *, homophones: bool = False) -> str:
    """Return `text` with each of `words` written where its pinyin stands, in whole or in part (停yao, ting yao).

    With `homophones` characters of the same sound count too (纸领 for 指令). A text without them stays as it is;
    where one is found, marks and white space between syllables go.
    """
    plain = _toneless(text)
    if not homophones and _LATIN_RUN.search(plain) is None:
        return text
    tokens = _tokens(plain)
    wanted = _by_first(tuple(words))
    out: list[str] = []
    at = 0
    found = False
    while at < len(tokens):
        word = _word_at(tokens, at, wanted, homophones)
        out.append(tokens[at][0] if word is None else word)
        at += 1 if word is None else len(word)
        found = found or word is not None
    return "".join(out) if found else text


def _word_at(
    tokens: Sequence[tuple[str, str]], at: int, wanted: dict[str, list[tuple[str, ...]]], homophones: bool
) -> str | None:
    for word, *sounds in wanted.get(tokens[at][1], ()):
        part = tokens[at : at + len(sounds)]
        if len(part) < len(sounds) or any(
            token[1] != sound for token, sound in zip(part, sounds, strict=True)
        ):
            continue
        if homophones or any(token[0][:1].isascii() for token in part):
            return word
    return None


def _tokens(plain: str) -> list[tuple[str, str]]:
    """Cut into (text, sound): one Chinese character, one syllable of a run of pinyin, or anything else without sound.

    White space and apostrophes between syllables are dropped.
    """
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(plain):
        run = _LATIN_RUN.match(plain, at)
        if run is not None:
            syllables = _syllables(run.group())
            found += [(part, part) for part in syllables] if syllables else [(run.group(), "")]
            at = run.end()
            continue
        char = plain[at]
        at += 1
        if char.isspace() or char in "'’-_.·":
            continue
        found.append((char, _sound(char)))
    return found


def _toneless(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).lower().replace("ü", "v")
    bare = unicodedata.normalize("NFD", text)
    return re.sub(r"(?<=[a-z])[1-5]", "", "".join(char for char in bare if not unicodedata.combining(char)))


@cache
def _sound(char: str) -> str:
    return _one(lazy_pinyin(char)[0]) if "\u4e00" <= char <= "\u9fff" else ""


def _one(syllable: str) -> str:
    return syllable.replace("lve", "lue").replace("nve", "nue")


@cache
def _inventory() -> frozenset[str]:
    sounds = {_toneless(sound) for names in PINYIN_DICT.values() for sound in names.split(",")}
    return frozenset(sound for sound in sounds if 1 < len(sound) <= MAX_SYLLABLE or sound in {"a", "e"})


def _syllables(run: str) -> tuple[str, ...]:
    """Return the run as pinyin syllables, longest first; empty when it is none.

    Works from the end, each place once: runs are as long as a message, and nothing of a message is remembered.
    """
    known = _inventory()
    sizes = [0] * len(run)
    for at in range(len(run) - 1, -1, -1):
        for size in range(min(MAX_SYLLABLE, len(run) - at), 0, -1):
            ends = at + size == len(run) or sizes[at + size] > 0
            if ends and run[at : at + size] in known:
                sizes[at] = size
                break
    found: list[str] = []
    at = 0
    while at < len(run):
        if sizes[at] == 0:
            return ()
        found.append(_one(run[at : at + sizes[at]]))
        at += sizes[at]
    return tuple(found)


@cache
def _by_first(words: tuple[str, ...]) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for word in sorted(words, key=len, reverse=True):
        sounds = tuple(_one(sound) for sound in lazy_pinyin(word))
        found.setdefault(sounds[0], []).append((word, *sounds))
    return found
