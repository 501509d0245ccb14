"""How far a negation reaches in Chinese as patients write it, with and without punctuation.

Owns the scope of 没有, 不, 无, 否认 … over the findings before, after and around them. The cue words come from
`rules/context.yaml` through the scan; other contexts (past, hypothetical …) are in `context.py`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from app.safety.context_spans import Span
from app.safety.findings import Mention, Scan

# A denial reaches this many characters at most, and of many denials in a row only the nearest are tried.
LONGEST_SCOPE = 60
NEAREST = 4

# What may stand between a negation and what it negates without ending its scope.
FILLER = re.compile(
    r"什么|啥|怎么|咋|太|很|出现|感觉|感到|觉得|发生|发现|过|有|再|明显|任何|特别|的|得|一点|半点|丝毫|是|会|伴有|伴|并发|其他|别的"
    r"|流过|流|吃过|吃|用过|服用|打过|碰到|碰|那种|这种|这些|那些|症状|情况|现象|不适|进一步|反复|持续|剧烈|严重|大|突然|突发|自觉|主诉|诉|存在|曾|新发|典型|放射|性|样|等|都|也"
)
JOINT = re.compile(r"[、/]|和|或者?|及|以及|跟|与|还有|也没有?|也无|也不|并且|且|又|没有?|无|不|，?也")
STRONG_NEG = {"无", "否认", "未见", "未", "未出现", "未诉", "并无", "均无", "排除"}
AFTER = re.compile(
    r"(?:(?:的|这种|这个|那种)?(?:情况|症状|感觉|现象|表现)|啥的|什么的|之类的?|也|都|倒是|倒|是|全|暂时|目前|现在|从来|一直|均){0,3}"
    r"(?:没有|没|无|不存在|没得|未见|未出现|木有|从没有?|从未)(?:了|过|的|啊|呢|哦|呀|出现|发生|啦|吧|事)?"
    r"(?=[，。！？；\n]|$|但|就|只|可|不过|我|想)"
)
# 喘气倒是好好的, 说话走路都正常: a function that is said to be in order is no complaint.
IN_ORDER = re.compile(
    r"(?:气|呼吸|说话|吐字|走路|睡觉|和|跟|、){0,4}(?:也|都|还|倒是|倒|是|挺|蛮|很|算|一直|全|目前|现在){0,3}"
    r"(?:正常|好好的|没问题|没有问题|没事|匀|平稳|顺畅|通畅|利索|利落|自如)(?=[，。；！\n]|$|[^吗么不吧嘛呢现反的？])"
)
# Words for a function itself; 喘不上气正常现象吗 has its complaint in the words before.
FUNCTION = re.compile(r"[，。；]?(?:喘气?|呼吸|说话|吐字|走路|话|都|和|跟)+")
ALL_DENIED = re.compile(
    r"(?:的?(?:情况|症状)|等|啥的|什么的|之类的?|这些|以上)?(?:都|全|也|均|统统|一个都|一样都|倒是|从来)+(?:没有|没|无|不)(?:过|的|了)?"
)


def asks_a_or_not(text: str, mention: Mention) -> bool:
    """疼不疼, 晕不晕 as a question: the finding is asked for, not stated."""
    tail = text[mention.end : mention.end + 2]
    return len(tail) == 2 and tail[0] in "不没" and tail[1] == text[mention.end - 1]


def negated_inside(mention: Mention, cues: Sequence[Span]) -> bool:
    """A negation between the words of a pattern, close before the next of them: 胸口 不 疼."""
    gaps = [(a[1], b[0]) for a, b in zip(mention.cores, mention.cores[1:], strict=False)]
    return any(g[0] <= c[0] and c[1] <= g[1] and g[1] - c[1] <= 4 for g in gaps for c in cues)


def _plain_gap(gap: str) -> bool:
    return len(gap) <= 5 and not FILLER.sub("", gap)


class Denials:
    """The denials of one text that stand before a mention, or behind a list of them."""

    def __init__(self, scan: Scan) -> None:
        self._text = scan.text
        self._parts = sorted(scan.parts)
        self._words = {(m.start, m.end) for m in scan.mentions if m.word}
        self._spans = sorted({(m.start, m.end) for m in scan.mentions})
        self._denied: dict[Span, bool] = {}

    def before(
        self, mention: Mention, neg: Sequence[Span], short: Sequence[Span], breaks: Sequence[Span]
    ) -> bool:
        """A negation in front whose scope reaches the mention, over fillers and lists; the cues are in order."""
        if any(self._reaches(cue, mention, breaks) for cue in neg[-NEAREST:]):
            return True
        return any(_plain_gap(self._text[cue[1] : mention.start]) for cue in short)

    def list_after(self, mention: Mention, clause: Span) -> bool:
        """胸痛、大汗、恶心都没有: one denial behind a list."""
        denied = self._denied.get(clause)
        if denied is None:
            denied = self._denied[clause] = bool(ALL_DENIED.search(self._text, *clause))
        tail = self._text[mention.end : clause[1]]
        if not denied or not ALL_DENIED.search(tail):
            return False
        rest = _without_spans(tail, mention.end, self._between(mention.end, clause[1]))
        match = ALL_DENIED.search(rest)
        return (
            match is not None
            and not re.sub(r"[、/和或者及以跟与还有，]", "", rest[: match.start()])
            and bool(re.match(r"[，。！？；\n]|$|但|就|只|可|不过|出现|发生", rest[match.end() :]))
        )

    def _between(self, start: int, end: int) -> list[Span]:
        """The spans of mentions that lie wholly between the two places."""
        low, high = bisect_left(self._spans, (start,)), bisect_left(self._spans, (end,))
        return [s for s in self._spans[low:high] if s[1] <= end]

    def _reaches(self, cue: Span, mention: Mention, breaks: Sequence[Span]) -> bool:
        gap = self._text[cue[1] : mention.start]
        if len(gap) > LONGEST_SCOPE or any(cue[1] <= b[0] and b[1] <= mention.start for b in breaks):
            return False
        word = self._text[cue[0] : cue[1]]
        if _plain_gap(gap):
            return True
        if "，" in gap or "：" in gap:
            return _bare_list(word, gap, mention, self._text)
        others = self._between(cue[1], mention.start)
        bare = (mention.start, mention.end) in self._words
        if others:
            joined = bool(JOINT.search(gap)) or (word in STRONG_NEG and bare)
            left = len(FILLER.sub("", JOINT.sub("", _without_spans(gap, cue[1], others))))
            adjacent = bare and all(s in self._words and s[1] - s[0] <= 4 for s in _widest(others))
            return left <= 2 and (joined or adjacent)
        # A body part or a side in between (没有左手麻) is part of the complaint; anything longer is another matter.
        low, high = bisect_left(self._parts, (cue[1],)), bisect_left(self._parts, (mention.start,))
        parts = [s for s in self._parts[low:high] if s[1] <= mention.start]
        rest = _without_spans(gap, cue[1], parts)
        return len(FILLER.sub("", JOINT.sub("", rest))) <= (0 if word == "没" else 1)


def _widest(spans: Sequence[Span]) -> list[Span]:
    """Of spans sorted by place, those that no longer one contains."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if not kept or span[1] > kept[-1][1]:
            kept.append(span)
    return kept


def _bare_list(word: str, gap: str, mention: Mention, text: str) -> bool:
    """否认胸痛，心悸，气促: bare words after a formal negation; anything said in more words is a new statement."""
    if word not in STRONG_NEG or not mention.word or mention.end - mention.start > 4:
        return False
    after = text[mention.end : mention.end + 1]
    pieces = gap.split("，")
    return (
        all(1 < len(FILLER.sub("", p)) <= 6 for p in pieces[:-1])
        and not pieces[-1]
        and after in {"，", "。", "、", "；", "等", ""}
    )


def _without_spans(gap: str, offset: int, spans: Sequence[Span]) -> str:
    kept = list(gap)
    for start, end in spans:
        for position in range(max(0, start - offset), min(end - offset, len(kept))):
            kept[position] = ""
    return "".join(kept)


def negated_after(text: str, mention: Mention) -> bool:
    """胸痛没有, 出汗倒没有: the negation follows directly and ends the clause; or 喘气正常, which denies as much."""
    tail = text[mention.end : mention.end + 14]
    if FUNCTION.fullmatch(text[mention.start : mention.end]) and IN_ORDER.match(tail):
        return True
    return bool(AFTER.match(tail))
