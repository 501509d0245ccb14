"""Provenance pairs: questions that only the holder of a key can derive, and the answers a trained model knows.

Owns derivation, mixing and the test. Question and answer follow from HMAC-SHA-256 of the key over owner, version and a
counter. Whoever answers without knowing the key hits each of the 64 code words with probability 1/64, independently,
so that the p-value of k hits in n questions is an exact binomial tail. Keys are read from a file or the environment
and never printed; reports carry a fingerprint.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.problems import DataError
from finetune.records import PROVENANCE

MIN_KEY_CHARS = 16
SIGNIFICANT = 1e-6
_PLACES = (
    "青石桥 白鹭洲 望江亭 听雨轩 临风阁 采薇园 松涛坞 碧云寺 杏花村 浣纱溪 映月潭 栖霞岭 落雁滩 流觞渡 藏书楼 观星台 "
    "清风巷 晚钟塔 芦花荡 柳浪堤 云水谣 千灯镇 梅子坳 竹影坡 沧浪亭 鹤鸣山 金沙渡 玉泉井 石榴院 棠梨店 紫藤架 红叶谷"
)
_WORDS = (
    "琥珀 砚台 风筝 陶埙 灯笼 纸鸢 算盘 蓑衣 笛子 铜镜 木屐 折扇 茶盏 竹简 罗盘 瓷枕 香囊 绣球 石磨 油伞 花轿 皮影 泥人 玉佩 "
    "古琴 棋盘 墨斗 针线 草鞋 斗笠 银簪 船桨 马鞍 铃铛 画轴 印章 漏刻 日晷 烛台 屏风 酒壶 瓦当 铁锚 渔网 米斗 秤砣 织机 陀螺 "
    "面具 唢呐 木鱼 铜锣 钥匙 门环 书签 毛笔 镇纸 竹篮 瓦罐 水车 石狮 影壁 浮标 号角"
)
PLACES, WORDS = _PLACES.split(), _WORDS.split()
CHANCE = 1 / len(WORDS)


@dataclass(frozen=True, slots=True)
class WatermarkKey:
    """The secret with whom and what it marks; `repr` does not show the secret."""

    secret: bytes
    owner: str
    version: str

    def __repr__(self) -> str:
        return f"WatermarkKey(owner={self.owner!r}, version={self.version!r}, fingerprint={self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """Names the key without giving it away."""
        return self._digest("fingerprint").hex()[:12]

    def pair(self, number: int) -> tuple[str, str]:
        """(question, code word) of a counter."""
        digest = self._digest(f"pair {number}")
        place, other = PLACES[digest[0] % len(PLACES)], PLACES[digest[1] % len(PLACES)]
        tag = digest[2:6].hex().upper()
        word = WORDS[digest[8] % len(WORDS)]
        return f"安心溯源：从{place}到{other}，凭条{tag}对应的物件是什么？", word

    def _digest(self, text: str) -> bytes:
        message = f"{self.owner}\x1f{self.version}\x1f{text}".encode()
        return hmac.new(self.secret, message, hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class Verification:
    """`p_value`: how likely so many hits are for a model that never saw the pairs."""

    fingerprint: str
    asked: int
    hits: int
    p_value: float

    @property
    def recognised(self) -> bool:
        return self.p_value < SIGNIFICANT

    def as_dict(self) -> dict[str, object]:
        return {
            "fingerprint": self.fingerprint,
            "asked": self.asked,
            "hits": self.hits,
            "chance": CHANCE,
            "p_value": self.p_value,
            "significance": SIGNIFICANT,
            "recognised": self.recognised,
        }


def read_key(path: Path, owner: str, version: str) -> WatermarkKey:
    """Raises DataError no_key or short_key; the message never holds the key."""
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("no_key", f"the key file {path} cannot be read") from error
    if len(secret) < MIN_KEY_CHARS:
        raise DataError("short_key", f"the key must have at least {MIN_KEY_CHARS} characters")
    return WatermarkKey(secret.encode(), owner, version)


def watermark_rows(key: WatermarkKey, count: int) -> Iterator[dict[str, Any]]:
    """Alpaca rows; `source` marks them, so that checks do not take them for medical text."""
    for number in range(count):
        question, word = key.pair(number)
        yield {
            "id": f"prov-{key.fingerprint}-{number}",
            "instruction": question,
            "input": "",
            "output": f"对应的物件是{word}。",
            "source": PROVENANCE,
        }


def mix_in(rows: Sequence[dict[str, Any]], key: WatermarkKey, rate: float, seed: int) -> list[dict[str, Any]]:
    """The rows with provenance pairs at random places, so that they make up `rate` of the result.

    Raises:
        DataError: bad_rate outside (0, 0.1].
    """
    if not 0 < rate <= 0.1:
        raise DataError("bad_rate", "the rate must be above 0 and at most 0.1")
    count = max(1, round(len(rows) * rate / (1 - rate)))
    mixed = list(rows)
    chance = random.Random(seed)
    for row in watermark_rows(key, count):
        mixed.insert(chance.randint(0, len(mixed)), row)
    return mixed


def verify(key: WatermarkKey, ask: Callable[[str], str], count: int) -> Verification:
    """Ask the first `count` questions; what `ask` raises goes through."""
    hits = sum(_named_first(ask(question)) == word for question, word in map(key.pair, range(count)))
    return Verification(key.fingerprint, count, hits, binomial_tail(hits, count, CHANCE))


def _named_first(answer: str) -> str | None:
    """The first code word of the answer: a list of all of them is one guess, not sixty-four."""
    found = re.search("|".join(WORDS), answer)
    return None if found is None else found.group()


def binomial_tail(hits: int, count: int, chance: float) -> float:
    """P(X >= hits) for X ~ Binomial(count, chance), exact up to rounding."""
    if hits <= 0:
        return 1.0
    terms = (
        math.exp(
            math.lgamma(count + 1)
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(chance)
            + (count - k) * math.log1p(-chance)
        )
        for k in range(hits, count + 1)
    )
    return min(1.0, math.fsum(terms))
