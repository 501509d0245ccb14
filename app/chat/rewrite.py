"""Makes a follow-up question stand alone, without a model: the topic of the last turns is carried over.

"那要吃多久？" after a question on clopidogrel becomes "氯吡格雷 那要吃多久？". A question that names its own topic is left
as it is. What counts as a topic (drug, disease, procedure, test …) is the medical graph's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.safety.types import Turn

MAX_CARRIED = 3
LOOK_BACK_QUESTIONS = 3
SHORT_QUESTION_CHARS = 14

TopicsOf = Callable[[str], Sequence[str]]

_REFERENCE = re.compile(
    r"^(那|那么|它|这个|这种|这|该|上面|刚才|前面|还有|另外|如果|要是|一般|平时|可以|能|需要|要|会|多久|多长|怎么|为什么|什么时候|有没有|是不是|有什么)"
)
_PRONOUN = re.compile(r"(它们?|这个?(药|病|手术|检查|针|情况|症状|办法|训练)?|那个?(药|病|手术|检查|针)|该(药|病)|两(种|个)药?|上面(说|提)的|刚才(说|提)的|您?说的)")
_COMPARE = re.compile(r"(和|跟|与|同).{0,12}(一起|同时|比|区别|不同|冲突|合用)|换成|改成|改吃|哪个")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """`question` stands alone; `carried` are the topics taken from earlier turns."""

    question: str
    carried: tuple[str, ...] = ()


def rewrite(message: str, history: Sequence[Turn], topics_of: TopicsOf) -> Rewritten:
    """The message as a standalone question; unchanged on a first turn."""
    if not history:
        return Rewritten(message)
    own = tuple(topics_of(message))
    if own and not _leans_on_history(message):
        return Rewritten(message)
    if not own and not _may_be_follow_up(message):
        return Rewritten(message)
    carried = tuple(topic for topic in _last_topics(history, topics_of) if topic not in own)[:MAX_CARRIED]
    if not carried:
        return Rewritten(message)
    return Rewritten(f"{' '.join(carried)} {message}", carried)


def _leans_on_history(message: str) -> bool:
    return _PRONOUN.search(message) is not None or (
        _COMPARE.search(message) is not None and len(message) <= SHORT_QUESTION_CHARS + 6
    )


def _may_be_follow_up(message: str) -> bool:
    return (
        _PRONOUN.search(message) is not None
        or _REFERENCE.match(message) is not None
        or len(message) <= SHORT_QUESTION_CHARS
    )


def _last_topics(history: Sequence[Turn], topics_of: TopicsOf) -> list[str]:
    """Topics of the newest question that names any; else of the answer that followed it."""
    looked = 0
    for turn in reversed(history):
        if turn.role != "user":
            continue
        topics = list(dict.fromkeys(topics_of(turn.content)))
        if topics:
            return topics
        looked += 1
        if looked >= LOOK_BACK_QUESTIONS:
            break
    for turn in reversed(history):
        if turn.role == "assistant":
            return list(dict.fromkeys(topics_of(turn.content)))[:1]
    return []
