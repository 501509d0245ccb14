"""How well a sentence fits what is asked: the kind of answer wanted (a duration, an amount, yes or no …) and the
things the question is about.

Owns these two judgements for the extractive generator; lexical and vector similarity stay there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

EntitiesOf = Callable[[str], frozenset[str]]

_DURATION = r"(\d|[一两三四五六七八九十半几数])+\s*(～\s*\d+\s*)?(个)?(分钟|小时|天|日|周|星期|月|年)|终身|终生|长期|一辈子|满一年"
_AMOUNT = r"\d+(\.\d+)?\s*(～\s*\d+(\.\d+)?)?\s*(mg|g|μg|ml|mmol|mmHg|%|片|粒|次|克|毫克|毫升|℃|kg|步|分)"
KINDS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(asked), re.compile(answered))
    for asked, answered in (
        (r"多久|多长时间|几天|几个月|几年|几周|什么时候能|多少天|一辈子|终身|长期", _DURATION),
        (r"多少(?!天)|几片|几次|剂量|用量|正常值|范围|目标|几粒|多高|多大量|达标", _AMOUNT),
        (r"饭前|饭后|空腹|餐前|餐后|早上|晚上|睡前|几点|什么时间", r"饭前|饭后|空腹|餐前|餐后|随餐|早上|早晨|晨|晚上|睡前|任何时间|固定"),
        (r"为什么|为啥|怎么回事|什么原因|咋回事", r"因为|由于|原因|引起|导致|所以|是.{0,8}造成"),
        (r"(能|可以|可不可以|能不能|行|要|该|会|是).{0,14}(吗|么|不|没)|能不能|可不可以|要不要|会不会|是不是|一起吃|同服|合用",
         r"可以|不能|不要|不宜|不建议|避免|禁止|禁用|慎用|需要|不必|一般不|不会|不是|能"),
        (r"副作用|不良反应|不舒服|伤肝|伤肾|伤胃", r"不良反应|副作用|常见|可能出现|引起|出血|头痛|恶心|少见|肝|肾|胃"),
        (r"忘|漏", r"漏服|忘|补|下一次|下次"),
        (r"注意什么|注意事项|怎么护理|怎么照顾", r"注意|避免|不要|定期|保持"),
        (r"怎么办|怎么处理|咋办|如何处理|怎么治|怎么缓解", r"先|可以|请|立即|医生|建议|治疗|处理|应"),
        (r"什么药|吃啥药|用什么", r"药|片|胶囊|喷|滴"),
        (r"检查|查什么|怎么查|确诊|怎么看", r"检查|化验|心电图|CT|造影|超声|磁共振|血"),
        (r"区别|不同|怎么分|哪个好|比较", r"区别|不同|而|比|更|相比"),
        (r"吃什么|饮食|能吃|忌口", r"吃|饮食|食物|盐|油|水果|蔬菜|喝"),
        (r"怎么(吃|用|喷|服|打|做|练|摆)|用法|如何(服|使)", r"每日|每天|次|含|喷|服|先|再|用|放"),
    )
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a question asks for. `entities` are the drugs it names (canonical ids)."""

    kinds: tuple[re.Pattern[str], ...]
    entities: frozenset[str]


def wanted(question: str, entities_of: EntitiesOf) -> Wanted:
    """Reads the question once."""
    kinds = tuple(answered for asked, answered in KINDS if asked.search(question))
    return Wanted(kinds, entities_of(question))


def kind_fit(want: Wanted, sentence: str) -> float:
    """The share of the wanted kinds of answer that the sentence gives, 0..1; 0 when none is recognised."""
    if not want.kinds:
        return 0.0
    return sum(1 for kind in want.kinds if kind.search(sentence)) / len(want.kinds)


def entity_fit(want: Wanted, own: frozenset[str], context: frozenset[str]) -> float:
    """1 when the sentence speaks of what is asked, -1 when it speaks of other drugs only, else 0.

    `own` are the sentence's entities, `context` those of its document's title, which an unnamed subject refers to.
    """
    if not want.entities:
        return 0.0
    if want.entities & own:
        return 1.0
    if want.entities & context:
        return -0.5 if own else 0.5
    return -1.0 if own or context else 0.0
