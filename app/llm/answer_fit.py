"""What a question asks for: the clause that asks, the kinds of answer wanted (a duration, an amount, yes or no …) and
the things it is about; and how well a sentence or a heading fits that.

Owns these judgements for the extractive generator; lexical and vector similarity are in `extractive_score.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

EntitiesOf = Callable[[str], frozenset[str]]
"""Ids of what a text names ("drg:aspirin"). "in:cls:statin" marks a class that a named drug belongs to, "as:拜阿司匹灵"
the words the text uses."""

DRUG_PREFIXES = ("drg:", "cls:")
IN_PASSING = 0.4
"""What a disease counts that only the text of a passage names when it is the person's own."""
_HAS_IT_AFTER = "以?后|之后|好了|恢复|病?人|患者|的人|期间|急性期|一?[年月周天]"
_HAS_IT_BEFORE = "得过|有过|得了|患有?|查出|我有|他有|她有|本来有|确诊"
ALSO = "also:"
"""Marks symptoms, foods and habits among entities: what a question is about beside its subject."""
UNTOLD = 0.5
"""Agreement of two questions that only want a yes or no: they may well ask for different things."""
NARROWER = 0.25
"""Taken off when a sentence is about a drug and the question is not: true for those who take it only."""
UNASKED = ("effects", "why", "act")
"""What somebody who only tells a complaint wants to know: what it is and what to do."""
DRUG_KINDS = frozenset({"treat", "together", "stop", "switch", "missed", "meal"})
_DURATION = r"([\d一两三四五六七八九十半])+\s*(～\s*\d+\s*)?(个)?(多)?(分钟|小时|天|日|周|星期|月|年)|终身|终生|长期|一辈子|当天"
_AMOUNT = r"\d+(\.\d+)?\s*(～\s*\d+(\.\d+)?)?\s*(mg|g|μg|ml|mmol|μmol|mmHg|ng|%|片|粒|次|克|毫克|毫升|℃|kg|步|分|个|倍|U|L)"
_VERDICT_WORDS = r"可以|不能|不要|不宜|不建议|避免|禁止|禁用|慎用|需要|不必|不用|一般不|不会|不是|不等于|不一定|多数|必须|能"
VERDICT = re.compile(_VERDICT_WORDS)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of answer: how it is asked for, what a sentence giving it contains, what its section is called."""

    name: str
    asked: re.Pattern[str]
    answered: re.Pattern[str]
    section: re.Pattern[str] | None = None
    anywhere: bool = False


def _kind(
    name: str, asked: str, answered: str, section: str | None = None, *, anywhere: bool = False
) -> Kind:
    """`anywhere` kinds are also recognised in the background of a question ("昨天忘了吃，今天补两片行吗")."""
    heading = None if section is None else re.compile(section)
    return Kind(name, re.compile(asked), re.compile(answered), heading, anywhere)


KINDS = (
    _kind("missed", r"忘|漏(?!尿|斗)", r"漏服|漏|忘|补|下一次|下次", r"漏|忘", anywhere=True),
    _kind(
        "effects",
        r"副作用|不良反应|坏处|伤(肝|肾|胃|身)|发胖|上瘾|依赖|正常吗|是药的",
        r"不良反应|副作用|常见|可能出现|引起|少见|上瘾|依赖|反应",
        r"不良反应|副作用|不舒服|反应|安全",
    ),
    _kind(
        "meal",
        r"饭前|饭后|空腹|餐前|餐后|随餐|随饭|和饭|饿肚子|(早上|晚上|睡前|几点|什么时间|啥时候|什么时候).{0,3}(吃|服|喝|用|还是)|还是(早上|晚上|睡前)",
        r"饭前|饭后|空腹|餐前|餐后|随餐|进食|禁食|早上|早晨|清晨|晚上|睡前|任何时间|任何时候|固定",
        r"怎么(吃|用|服)|每天吃|用法|准备",
    ),
    _kind(
        "duration",
        r"多久|多长时间|几天|几个月|几年|几周|几分钟|几个小时|什么时候能|多少天|一辈子|终身|长期|疗程|几个礼拜",
        _DURATION,
        r"多久|吃多久|疗程|恢复|什么时候|时间",
    ),
    _kind("amount", r"多少(?!天)|几片|几次|几个(?!小时|月)|剂量|用量|正常值|范围|目标|几粒|多高|多低|达标|加倍|加量", _AMOUNT, r"多少|剂量|怎么(吃|用)|目标|正常|范围"),
    _kind(
        "reading",
        r"\d.{0,12}(高|低|要紧|严重|正常|危险|算|是不是|吗)|(高|低)(说明|是什么|就是|要紧|怎么办)|一个加|加号|是什么意思|阳性",
        r"\d|偏高|偏低|升高|降低|提示|说明|正常|复查|目标|轻度|不等于|不一定|阳性",
        r"怎么看|多少|正常|范围|升高|偏高|偏低|意义|目标|结果|报告|分",
    ),
    _kind("why", r"为什么|为啥|怎么回事|咋回事|什么原因|怎么(得|引起)|怎么(了|啦)(?!.*办)|是.{0,6}原因", r"因为|由于|原因|引起|导致|所以|诱因|造成|容易", r"为什么|原因|怎么得|怎么回事|诱因"),
    _kind("stop", r"停(了(吗|不|没|吧)|掉|药|吗|不|几)|(能|要|可以|该|突然|自己|先)停|不吃了|断药|突然不", r"停|长期|减量|保留|继续", r"停"),
    _kind(
        "together",
        r"一起(吃|用|喝|服)|一块|同时|合用|同服|冲突|(能|可以|还能).{0,4}(和|跟|与|同)|(吃了?着?|用着|喝了?).{1,8}(还能|能不能|可以)|隔(多久|几|多长)|混",
        r"一起|合用|同时|同服|间隔|隔开|冲突|叠加|加用|不能|不要|避免|妨碍|影响|增加",
        r"一起|冲突|合用|哪些药|相互|不能",
    ),
    _kind(
        "whom",
        r"(哮喘|孕|怀孕|哺乳|喂奶|备孕|老人|孩子|儿童|小孩|肾|肝|过敏|糖尿病|痛风|青光眼|前列腺|帕金森).{0,12}(能|可以|可不可以|行)|哪些人",
        r"禁用|慎用|不能|不宜|不要|可以|避免|减量|更低剂量|小剂量|不用|不建议|适合|首选",
        r"哪些人|孕|孩子|儿童|老人|肾|肝|小心|当心|禁|不能",
    ),
    _kind("switch", r"换(成|着|个|药)?|代替|替代", r"换|代替|替代|改", r"换|区别|选"),
    _kind("difference", r"区别|鉴别|不同|怎么分|哪个(好|更|降)|比较|一样吗|是不是一个|一回事|还是[^吃饭早晚]{2,8}", r"区别|不同|相比|多半|多为|则|成分|就是|比.{1,14}(强|弱|快|慢|高|低|多|少|好|轻|重|久|早|晚)|更(强|弱|快|慢|高|低|多|少|好|像|早|久)", r"区别|区分|分清|不同|哪|怎么分"),
    _kind("watch", r"查什么|查啥|什么指标|监测|复查|多久查|定期", r"复查|检查|查|监测|化验|心电图", r"复查|监测|检查|随访|查"),
    _kind("test", r"检查(?!前)|评估|怎么查|确诊|怎么知道|判断|做什么检查", r"检查|化验|心电图|CT|造影|超声|磁共振|血|查|可以看|多半", r"检查|确诊|怎么查|判断|区分"),
    _kind("prepare", r"检查前|造影前|做.{1,8}(之)?前|准备", r"前|空腹|禁食|停|准备|不吃|少量喝水|提前|练习", r"准备|前"),
    _kind("act", r"怎么办|怎么.{0,6}处理|处置|咋办|咋处理|如何处理|怎么缓解|咋整|该怎么|怎么补|怎么弄|怎么配|咋睡|怎么洗|怎么预防|咋预防|怎么防|急救", r"先|可以|请|立即|医生|建议|处理|应|拨打|用|补|躺|冲|按|垫|避免", r"怎么(办|处理|做|治|洗|防|补)|处理|急救|护理|治疗|预防"),
    _kind("treat", r"怎么治|治疗|吃什么药|吃啥药|用什么药|能用什么|什么药|根治|断根|治(好|断)", r"治疗|药|首选|手术|控制|根治|断根", r"治疗|用什么药|怎么治|药"),
    _kind("recover", r"恢复|能好|预后|好得了|根治|断根|治断", r"恢复|好转|可以|多数|控制|根治|断根|半年|改善", r"恢复|预后|黄金"),
    _kind("signs", r"表现|症状|感觉|什么样|是什么病|什么(毛)?病|是怎么了|怎么了|咋了|征兆", r"表现|常|出现|症状|多半|可能|叫|就是|提示", r"表现|症状|感觉|什么样|认出"),
    _kind("food", r"吃什么(?!药)|饮食|忌口|吃啥(?!药)|喝酒|喝水|低钠盐|海鲜|鸡蛋|水果|啤酒|菠菜|西柚|柚子|牛奶", r"吃|饮食|食物|盐|油|水果|蔬菜|喝|酒", r"吃|饮食|忌|喝|食"),
    _kind("use", r"怎么(吃|用|喷|服|打|做|练|摆|含|放|戴|安排|量)|用法|如何(服|使)|掰|嚼|磨|碾", r"每日|每天|次|含|喷|服|先|再|放|整片|掰|嚼|早上|分钟|枕|舌下", r"怎么(吃|用|喷|服|打|做|练|摆|含|放|量)|用法|步骤|方法"),
    _kind("care", r"注意什么|注意啥|要注意|注意事项|怎么护理|怎么照顾|生活上", r"注意|避免|不要|定期|保持|要|先", r"注意|护理|生活|回家|术后|照护"),
    _kind("place", r"什么科|哪个科|挂.{0,3}(科|号)|去哪", r"科|门诊|急诊", r"科"),
    _kind("yes_no", r"吗|么$|不$|没$|能否|是否|可否|可不可以|能不能|要不要|行不行|会不会|是不是|有没有|该不该|行不|要不|停不|好不|吧$", _VERDICT_WORDS),
)  # fmt: skip
_WHAT_IS = re.compile(r"是(什么|啥|怎么回事)(病|药|意思|东西|检查|手术)?$|什么(叫|是)|是干(什么|啥|嘛)")
_WHICH_DRUG = re.compile(r"(什么|啥|哪种|哪些|哪个|哪类)药|用什么(?!姿势|水|方法)|吃点什么")
_CLAUSE = re.compile(r"[，。！？；、,!?;\s]+")
_ASKS = re.compile(
    r"吗|么|呢|不$|没$|吧$|能否|是否|可否|如何|怎么|咋|什么|啥|多久|多少|多高|多长|几|哪|为何|如何|是不是|能不能|可不可以|要不要|会不会|有没有|行不|还是|好不|停不|合适"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a question asks for. `asking` are its clauses that ask, `context` the others; `entities` ids it names,
    `things` the same with its symptoms, foods and habits; `of_person` that a disease is what the person has or had.
    """

    asking: tuple[str, ...]
    context: tuple[str, ...]
    kinds: tuple[Kind, ...]
    entities: frozenset[str]
    yes_no: bool
    what_is: bool
    which_drug: bool = False
    things: frozenset[str] = frozenset()
    of_person: bool = False

    @property
    def drugs(self) -> frozenset[str]:
        return frozenset(e for e in self.entities if e.startswith(DRUG_PREFIXES))

    @property
    def names(self) -> tuple[str, ...]:
        """The words that name what is asked about."""
        return tuple(e.removeprefix("as:") for e in self.entities if e.startswith("as:"))

    @property
    def reads_value(self) -> bool:
        return any(kind.name in ("reading", "amount") for kind in self.kinds)

    @property
    def asks_how(self) -> bool:
        return any(kind.name in ("act", "use", "care", "prepare") for kind in self.kinds)

    @property
    def asks_for_drugs(self) -> bool:
        return any(kind.name in DRUG_KINDS for kind in self.kinds) or any(
            "药" in clause for clause in self.asking
        )


def wanted(question: str, entities_of: EntitiesOf) -> Wanted:
    """Reads the question once."""
    clauses = [clause for clause in _CLAUSE.split(question) if clause]
    asking = tuple(clause for clause in clauses if _ASKS.search(clause))
    asking = asking if asking else tuple(clauses)
    kinds = kinds_of(asking, question)
    special = tuple(kind for kind in kinds if kind.name != "yes_no")
    if not kinds:
        special = tuple(kind for kind in KINDS if kind.name in UNASKED)
    return Wanted(
        asking=asking,
        context=tuple(clause for clause in clauses if clause not in asking),
        kinds=special if special else kinds,
        entities=subjects(named := entities_of(question)),
        things=named,
        of_person=speaks_of_person(question, [e[3:] for e in named if e.startswith("as:")]),
        yes_no=any(kind.name == "yes_no" for kind in kinds),
        what_is=any(_WHAT_IS.search(clause) for clause in asking),
        which_drug=any(_WHICH_DRUG.search(clause) for clause in asking),
    )


def kinds_of(asking: Sequence[str], question: str) -> tuple[Kind, ...]:
    """The kinds of answer that clauses ask for."""
    return tuple(
        kind
        for kind in KINDS
        if any(kind.asked.search(clause) for clause in asking)
        or (kind.anywhere and kind.asked.search(question))
    )


@lru_cache(maxsize=2048)
def kind_names(question: str) -> frozenset[str]:
    """Names of the kinds that a question of the knowledge base asks for, yes or no excepted."""
    return frozenset(kind.name for kind in kinds_of([question], question)) - {"yes_no"}


def kind_agreement(want: Wanted, question: str) -> float:
    """How far another question asks for the same kinds of answer, 0..1."""
    mine, theirs = {kind.name for kind in want.kinds} - {"yes_no"}, kind_names(question)
    if not mine and not theirs:
        return UNTOLD
    return len(mine & theirs) / len(mine | theirs)


def kind_fit(want: Wanted, sentence: str) -> float:
    """The share of the wanted kinds of answer that the sentence gives, 0..1; 0 when none is recognised."""
    if not want.kinds:
        return 0.0
    return sum(1 for kind in want.kinds if kind.answered.search(sentence)) / len(want.kinds)


def section_fit(want: Wanted, heading: str) -> float:
    """1 when the section is called after a kind of answer that is asked for, else 0."""
    named = any(kind.section is not None and kind.section.search(heading) for kind in want.kinds)
    return 1.0 if named else 0.0


def drug_fit(want: Wanted, own: frozenset[str]) -> float:
    """1 when a drug is asked for and the sentence names one, else 0."""
    return float(want.which_drug and any(e.startswith(DRUG_PREFIXES) for e in own))


def subjects(found: frozenset[str]) -> frozenset[str]:
    """Without the symptoms, foods and habits."""
    return frozenset(e for e in found if not e.startswith(ALSO))


def coverage(want: Wanted, text: frozenset[str], headings: frozenset[str]) -> float:
    """The share of the things asked about that a passage speaks of, by themselves or by their class; 1 for none.

    What the person has is better told under its own heading: elsewhere it may be only a side effect.
    """
    things = [e for e in want.things if not e.startswith(("in:", "as:"))]
    if not things:
        return 1.0
    return sum(_told(thing, want, text, headings) for thing in things) / len(things)


def _told(thing: str, want: Wanted, text: frozenset[str], headings: frozenset[str]) -> float:
    one = frozenset({thing})
    if related(one, headings):
        return 1.0
    return (IN_PASSING if want.of_person and thing.startswith("dis:") else 1.0) * related(one, text)


def speaks_of_person(question: str, names: Sequence[str]) -> bool:
    """Whether a thing is named as what the person has or had ("脑出血后", "得过脑梗", "冠心病人")."""
    return any(
        re.search(rf"{re.escape(name)}({_HAS_IT_AFTER})|({_HAS_IT_BEFORE}){re.escape(name)}", question)
        for name in names
    )


def missing_kinds(want: Wanted, said: str) -> tuple[Kind, ...]:
    """The wanted kinds that nothing said so far gives."""
    return tuple(kind for kind in want.kinds if not kind.answered.search(said))


def related(asked: frozenset[str], own: frozenset[str]) -> bool:
    """Whether they share a thing, or one names the class of a drug in the other.

    Two drugs of one class are not related: what is true of one may be wrong for the other.
    """
    if any(entity in own for entity in asked if not entity.startswith("in:")):
        return True
    return any(f"in:{entity}" in own for entity in asked) or any(f"in:{entity}" in asked for entity in own)


def entity_fit(want: Wanted, own: frozenset[str], context: frozenset[str]) -> float:
    """1 when the sentence speaks of what is asked, down to -1 when it speaks of other things only.

    `own` are the sentence's entities, `context` those of its document's title, which an unnamed subject refers to.
    A sentence on another drug than the asked one is off the topic even in the right document.
    """
    drugs_named = any(e.startswith(DRUG_PREFIXES) for e in own)
    if not want.drugs:
        narrower = drugs_named or any(e.startswith(DRUG_PREFIXES) for e in context)
        fit = 0.0 if not want.entities else _thing_fit(want, own, context)
        return fit - (NARROWER if narrower and not want.asks_for_drugs else 0.0)
    if related(want.entities, own):
        return 1.0
    if related(want.entities, context):
        return -0.3 if drugs_named else 0.5
    return -1.0 if drugs_named or context else -0.5


def _thing_fit(want: Wanted, own: frozenset[str], context: frozenset[str]) -> float:
    """The same for questions that name no drug: diseases and tests go together too often to rule anything out."""
    if related(want.entities, own):
        return 1.0
    if related(want.entities, context):
        return 0.5
    return -0.25 if context or own else 0.0
