"""Makes a follow-up question stand alone, without a model: the topic of the last turns is carried over.

"那要吃多久？" after a question on clopidogrel becomes "氯吡格雷 那要吃多久？"; "那氯吡格雷呢？" takes over the earlier question
instead; a question that names its own topic is left as it is. What counts as a topic (drug, disease, procedure, test …)
is the medical graph's business; which words point back is in `references.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.chat.references import (
    Reference,
    chit_chat,
    own_content,
    read_reference,
    same_sort,
    substitution,
    switches_topic,
)
from app.safety.types import Turn

MAX_CARRIED = 3
LOOK_BACK_QUESTIONS = 8
"""Questions looked through for a topic: small talk in between must not lose it."""
MAX_OWN_CONTENT = 3
"""Characters of its own (common words of asking excepted) up to which a question without a topic is a follow-up."""
MAX_PHRASE_CHARS = 30
MAX_REPLACED_CHARS = 60
"""Longer questions are a story, not a pattern to be asked of something else."""

TopicsOf = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """`question` stands alone; `carried` are the topics taken from earlier turns."""

    question: str
    carried: tuple[str, ...] = ()


def rewrite(message: str, history: Sequence[Turn], topics_of: TopicsOf) -> Rewritten:
    """The message as a standalone question; unchanged on a first turn."""
    if not history or switches_topic(message):
        return Rewritten(message)
    own = tuple(topics_of(message))
    asked = [turn.content for turn in history if turn.role == "user"]
    instead = _earlier_question_on(own, message, asked, topics_of)
    if instead is not None:
        return Rewritten(instead)
    reference = read_reference(message)
    if not _follows_up(message, own, reference):
        return Rewritten(message)
    carried = _carried(reference, own, asked, topics_of)
    if not carried and not own:
        return _with_last_words(message, reference, asked, history, topics_of)
    return Rewritten(f"{' '.join(carried)} {message}", carried) if carried else Rewritten(message)


def _follows_up(message: str, own: Sequence[str], reference: Reference) -> bool:
    """Whether the message needs what was said before: it points back, or says nothing that could stand alone."""
    if own:
        return reference.points_back or reference.compares or reference.object_missing
    return reference.points_back or reference.continues or len(own_content(message)) <= MAX_OWN_CONTENT


def _carried(
    reference: Reference, own: Sequence[str], asked: Sequence[str], topics_of: TopicsOf
) -> tuple[str, ...]:
    """The topics that the message refers to: of the newest question that names any of the sort meant."""
    newest: tuple[str, ...] = ()
    for question in list(reversed(asked))[:LOOK_BACK_QUESTIONS]:
        topics = tuple(topic for topic in dict.fromkeys(topics_of(question)) if topic not in own)
        if not topics:
            continue
        fitting = same_sort(topics, reference.sort)
        if fitting:
            return reference.choose(fitting)[:MAX_CARRIED]
        newest = newest if newest else topics
    return reference.choose(newest)[:MAX_CARRIED]


def _earlier_question_on(
    own: Sequence[str], message: str, asked: Sequence[str], topics_of: TopicsOf
) -> str | None:
    """For "那氯吡格雷呢": the last question on a topic, asked of the new one. None when the message is nothing like it."""
    new = substitution(message) if own else None
    if new is None:
        return None
    for question in list(reversed(asked))[:LOOK_BACK_QUESTIONS]:
        place = _surface(question, topics_of) if len(question) <= MAX_REPLACED_CHARS else None
        if place is not None:
            return question[: place[0]] + new + question[place[1] :]
    return None


def _surface(question: str, topics_of: TopicsOf) -> tuple[int, int] | None:
    """Where a question names its only topic: the shortest stretch that still names it; None when it names several."""
    topics = list(dict.fromkeys(topics_of(question)))
    if len(topics) != 1:
        return None
    start, end = 0, len(question)
    while end - start > 1 and list(topics_of(question[start + 1 : end])) == topics:
        start += 1
    while end - start > 1 and list(topics_of(question[start : end - 1])) == topics:
        end -= 1
    return start, end


def _with_last_words(
    message: str, reference: Reference, asked: Sequence[str], history: Sequence[Turn], topics_of: TopicsOf
) -> Rewritten:
    """No question named a topic: the last one's own words are taken, for a drug meant the first that an answer named."""
    if reference.sort == "drug":
        for turn in reversed(history):
            named = same_sort(tuple(topics_of(turn.content)), "drug") if turn.role == "assistant" else ()
            if named:
                return Rewritten(f"{named[0]} {message}", (named[0],))
    phrase = next((q for q in reversed(asked) if not chit_chat(q) and own_content(q)), None)
    return Rewritten(message) if phrase is None else Rewritten(f"{phrase[-MAX_PHRASE_CHARS:]} {message}")
