"""How a message points back to what was said before: pronouns, comparisons, missing objects, changes of subject.

Owns these patterns and the sorts of things meant ("那个检查"); carrying topics over is in `rewrite.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Sort = Literal["drug", "test", "treatment", "disease", ""]

_PRONOUN = re.compile(
    r"它们?|(这|那|该)个?(种|款|些)?(药|病|手术|检查|针|情况|症状|办法|训练|治疗|片|胶囊|喷雾)|两(种|个)(药|病|都)?|上面(说|提)的|刚才(说|提|讲)?(的|到)"
    r"|前面(说|提)的|(前|后)(者|一种|一个)|第(一|二)(种|个)|您?(说|提)的(那|这)"
)
_CONTINUES = re.compile(
    r"^(那|那么|还有|这样|如果|要是|万一|一般|平时|也|然后|所以|可是|但是|为什么|多久|多长|怎么|什么时候|有没有|是不是|会不会|能不能|可不可以|要不要)"
)
_COMPARES = re.compile(
    r"(和|跟|与|同).{1,14}(一起|同时|比|区别|不同|冲突|合用|同吃|混)|换成|改成|改吃|换回|哪个"
)
_OBJECT_MISSING = re.compile(
    r"(还|也|照样)(能|可以|要|用|得)?(继续)?(吃|用|服|打|喷|做)(吗|么|不|没|嘛|？|\?|$)|要停(药)?(吗|么|不|几|多久|？|\?|$)|用停|需要停|要不要停|停不停"
    r"|^(和|跟|与|同).{1,14}(一起|同时|合用|冲突)|(有|没有?)影响(吗|么|不)"
    r"|^(那|那么)?还?(能|可以|可不可以|能不能|要不要|能否)再?(吃|喝|用|碰|加).{1,8}$"
)
_SWITCH = re.compile(
    r"换个(问题|话题)|另外(再)?(问|想问|咨询)|(再|想|还想)(问|咨询)(一?个)?(别的|另)|问(个|点)别的|不说这个|我?想问下|顺便问|还有个问题"
)
_NEW_PERSON = re.compile(
    r"我(妈|爸|女儿|儿子|孩子|老公|老婆|爱人|奶奶|爷爷|姥姥|外婆|朋友|同事|邻居)(最近|老是|这几天|今天|昨天|一直|总是)"
)
_THANKS = re.compile(r"^(谢谢|多谢|好的?|知道了|明白了?|嗯+|哦+|哈+|没事|行|收到|再见|辛苦了)")
_SUBSTITUTION = re.compile(
    r"^(?:那么?|要是|如果是?|换成|还有)?\s*(.{1,12}?)\s*(?:呢|怎么样|也一样吗|也是吗)\s*[？?。]*$"
)
_COMMON = re.compile(
    r"副作用|不良反应|坏处|好处|危险|严重|正常|要紧|有用|见效|起效|多长时间|多久|时间|什么时候|几天|几个?月|几年|几周|几次|几片|多少钱|多少|医保|报销"
    r"|饭前|饭后|空腹|随餐|早上|晚上|睡前|一天|每天|每次|一次|一辈子|长期|忘记?了?|漏了?|漏服|孕妇|怀孕|哺乳期?|喂奶|小孩|孩子|儿童|老人|老年人|男的|女的"
    r"|检查|复查|化验|手术|拔牙|做完|之后|以后|之前|期间|医生|医院|门诊|挂号|住院|注意|饮食|忌口|洗澡|运动|锻炼|开车|上班|坐飞机|旅游|喝酒|喝茶|咖啡|抽烟|感冒药|牛奶|西柚汁?"
    r"|上瘾|依赖|激素|遗传|传染|根治|断根|复发|恢复|加重|好转|缓解|预防|治疗|办法|方法|原因|疼痛?|痛|痒|睡觉|出血|过敏|伤肝|伤肾|伤胃|发胖|加量|减量|减半|停药?|换药?"
    r"|怎么办|怎么样|怎么|如何|什么|为什么|可不可以|可以|能不能|要不要|会不会|是不是|有没有|需要|必须|一定|应该|还是|或者|如果|要是|万一|一般|平时|大概|引起|影响|自己|家里|突然|继续|同时|一起"
)
_STOP = re.compile(
    r"[的了吗呢吧啊呀么是有在我你您他她它们这那和与跟及就都也还要能会吃用服喝打做管去来得着过到给让被把对从请问不没很太更最再又点些个种样时候下上里中后前,，。！？!?；;、：:\s]"
)
_TEST = re.compile(r"检查|造影|CT|超声|彩超|心电图|磁共振|试验|检测|监测|化验|镜|测量|评分|X线|CTA|活检|穿刺")
_TREATMENT = re.compile(r"术$|手术|介入|置入|移植|取栓|溶栓|消融|放疗|透析|康复|训练|治疗|冲洗|复位|脱敏")
_DISEASE = re.compile(
    r"病|炎|症|梗死|卒中|中风|心绞痛|高血压|荨麻疹|过敏$|衰竭|出血$|癌|颤动|综合征|贫血|头痛|哮喘|痛风|眩晕|低血糖|休克|结节|水肿|狭窄"
)
_MEANS_DRUG = re.compile(
    r"药|怎么吃|吃多久|吃几|要吃|能吃吗|副作用|不良反应|饭前|饭后|漏|忘|停(?!车)|一起吃|过期|加量|减量|剂量|掰|含|喷|起效|见效|上瘾|依赖"
)
_MEANS_TEST = re.compile(r"(这|那|该|刚才说的那)个?(检查|化验|片子)|检查.{0,4}(疼|痛|多久|贵)|空腹做")
_MEANS_TREATMENT = re.compile(r"(这|那|该)个?(手术|治疗|训练)|术后|手术后|做完")
_MEANS_DISEASE = re.compile(r"(这|那|该)个?(病|毛病)|传染|遗传|根治|断根|能治好|复发")


@dataclass(frozen=True, slots=True)
class Reference:
    """How a message refers back. `sort` is the sort of thing meant, "" when any; `pick` 1 or 2 for 前者 or 后者."""

    points_back: bool
    continues: bool
    compares: bool
    object_missing: bool
    sort: Sort
    pick: int = 0

    def choose(self, topics: tuple[str, ...]) -> tuple[str, ...]:
        """The one of several topics that 前者 or 后者 means, else all."""
        if self.pick == 0 or len(topics) < 2:
            return topics
        return topics[:1] if self.pick == 1 else topics[1:2]


def read_reference(message: str) -> Reference:
    """Reads the message once."""
    pick = (
        1
        if re.search(r"前者|第一(种|个)|前一(种|个)", message)
        else 2
        if re.search(r"后者|第二(种|个)|后一(种|个)", message)
        else 0
    )
    return Reference(
        points_back=_PRONOUN.search(message) is not None,
        continues=_CONTINUES.match(message) is not None and _NEW_PERSON.search(message) is None,
        compares=_COMPARES.search(message) is not None and len(message) <= 20,
        object_missing=_OBJECT_MISSING.search(message) is not None,
        sort=_sort_meant(message),
        pick=pick,
    )


def _sort_meant(message: str) -> Sort:
    meant: tuple[tuple[Sort, re.Pattern[str]], ...] = (
        ("test", _MEANS_TEST),
        ("treatment", _MEANS_TREATMENT),
        ("disease", _MEANS_DISEASE),
        ("drug", _MEANS_DRUG),
    )
    return next((sort for sort, pattern in meant if pattern.search(message)), "")


def same_sort(topics: tuple[str, ...], sort: Sort) -> tuple[str, ...]:
    """The topics of the sort meant, judged by their names; all when any sort will do."""
    if not sort:
        return topics
    return tuple(topic for topic in topics if sort_of(topic) == sort)


def sort_of(topic: str) -> Sort:
    """What a canonical name names; a name without a telling word is a drug's."""
    if _TEST.search(topic):
        return "test"
    if _TREATMENT.search(topic):
        return "treatment"
    return "disease" if _DISEASE.search(topic) else "drug"


def switches_topic(message: str) -> bool:
    """Whether the message says that it is about something else, or about somebody else's complaint."""
    return _SWITCH.search(message) is not None or _NEW_PERSON.search(message) is not None


def substitution(message: str) -> str | None:
    """The new thing of "那氯吡格雷呢？"; None when the message asks more than that."""
    match = _SUBSTITUTION.match(message.strip())
    return match.group(1) if match is not None and not _PRONOUN.search(message) else None


def own_content(message: str) -> str:
    """What a message says beside the common words of asking."""
    return _STOP.sub("", _COMMON.sub("", message))


def chit_chat(message: str) -> bool:
    """Thanks and the like, which are about nothing."""
    return _THANKS.match(message.strip()) is not None and len(message) <= 12
