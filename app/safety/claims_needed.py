"""Decides which sentences of an answer are claims: which of their numbers need support, and which say something without one.

Owns what states nothing new (the user's own values, times of the day, when to see a doctor) and what is put strongly.
What becomes of a claim is decided in `claims.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.safety.claims_numbers import DOSE_DIMS, Dim, Quantity
from app.safety.claims_text import Reading
from app.safety.review_text import View

_STRONG = re.compile(
    r"(?:指南|共识|研究|试验|临床|专家|数据|文献|统计|说明书|权威|证据|调查|学会)[^,;。!?]{0,8}(?:推荐|建议|明确|指出|显示|表明|证实|证明|发现|认为|规定|要求|支持|强调|提示)|首选|一线|金标准|最有效|最好的(?:药|方法|办法)|特效|必须(?!由|在|经|遵|听|及时|尽快|立即|马上|去|先|到)|唯一|"
    r"已(?:经)?(?:被)?(?:证实|证明)|公认"
)
# A superlative about everyday matters (腕式的一般不作首选) needs a source only where it names a medicine or a source.
_SUPERLATIVE = re.compile(r"首选|一线|最有效|最好的(?:方法|办法)|必须|唯一")
_ATTRIBUTED_TO = re.compile(
    r"指南|共识|研究|试验|临床|专家|数据|文献|统计|说明书|权威|证据|调查|学会|证实|证明|公认|金标准|特效"
)
_ASSERTS = re.compile(
    r"可以|能|用于|治疗|有效|适合|适用|推荐|应该?|应当|禁|不宜|导致|引起|增加|降低|减少|减慢|加快|抑制|缓解|预防|改善|作用|副作用|起效|代谢|建议|宜|服用|吃|最|属于|通过|阻断|扩张|提高|优于|比|替代|无效|安全|会|是|有|需|嚼|掰|碎|空腹|饭前|饭后|餐前|餐后|睡前|随餐|含服"
)
_SAFE_ADVICE = re.compile(
    r"(?:不要|切勿|请勿|勿|别|不能|不可|不应|不宜|避免|不建议|严禁|禁止|切忌|不得)[^,;。!?]{0,8}(?:自行|随意|擅自|私自|自己|随便|盲目|突然|轻易|停|加|减|换|改|乱|滥|漏)|遵医嘱|按医嘱|医嘱|按时(?:服|吃|用)|规律(?:服|用)|坚持(?:服|用|吃)"
)
DENIES_KNOWING = re.compile(
    r"(?:资料|信息|依据|证据|文献)[^,;。!?]{0,10}(?:没有|未|不足|有限|查不到|缺乏)|没有(?:查到|找到|相关)|(?:没有|缺乏|尚无|无)[^,;。!?]{0,8}(?:证据|依据|研究)|无法(?:确定|判断|回答|给出|提供)|不(?:确定|清楚|了解|能确定|能判断)"
)
_TREATMENT = re.compile(r"溶栓|取栓|服|吃|药|疗程|间隔|剂量|打针|有效|治疗|手术|使用")
# A figure that the answer says it has from its sources must be there.
_ATTRIBUTED = re.compile(
    r"(?:资料|依据|文献|指南|共识|说明书)(?:里|中|上)?(?:说|显示|提到|指出|写|表明|记载|建议|推荐|要求|规定)"
)
_DIRECTS = re.compile(r"可以|能|建议|应|就|每|即可|够|推荐|请|通常|一般")
_THRESHOLD = re.compile(r"如果|若|一旦|如|超过|高于|低于|持续|达到|以上|以下|时")
_BARE = re.compile(r"\d+(?:\.\d+)?")
# What makes a time a clinical figure: treatment, course of a disease, keeping of a medicine.
_TIMED = re.compile(
    r"药|服|疗程|治疗|溶栓|取栓|间隔|抗凝|双抗|抗血小板|恢复|康复|见效|起效|复查|监测|消退|升高|时间窗|发病|停|禁|保存|有效|使用|用|手术|术后|风险|复发|支架|疫苗|洗|冲|训练|运动|睡|开始|脱敏|打满|注射|留观|重复|不超过|内|窗|就可以|就能|即可|便可|足够|就够|才能"
)
_OF_THE_DAY = re.compile(
    r"(?:睡前|起床后|醒来后|早起后|饭后|餐后|饭前|餐前|午后|出门前|运动前|运动后|睡觉前)[^\d一二两半]{0,2}$"
)
EVERYDAY_H = 2.0
MANY_TIMES = 30
_ECHO_WITH_CARE = frozenset({Dim.TIME, Dim.PERCENT})
_READINGS = frozenset(
    {Dim.BLOOD_PRESSURE, Dim.PRESSURE, Dim.RATE, Dim.TEMPERATURE, Dim.AMOUNT_CONCENTRATION, Dim.MASS_CONCENTRATION,
     Dim.ACTIVITY, Dim.AGE, Dim.PERCENT, Dim.PLAIN, Dim.LENGTH, Dim.SCORE, Dim.TIME}
)  # fmt: skip


class Needs:
    """What of one answer needs support. `said` are the user's messages, `given` whether there is any evidence."""

    def __init__(self, said: Sequence[Reading], *, given: bool) -> None:
        self._said = said
        self._given = given

    def numbers(self, claim: Reading, view: View, cited: bool) -> tuple[Quantity, ...]:
        """Return the quantities that evidence must hold; a cited sentence answers for its times too."""
        if view.question or view.sends or "12356" in claim.text:
            return ()
        care = (view.cares or view.hedged(0, len(view.masked))) and not cited
        return tuple(number for number in claim.numbers if not self._free(number, claim, care))

    @staticmethod
    def _forbidden(number: Quantity, claim: Reading) -> bool:
        """True for a number in advice against something (不建议自己加到两片)."""
        return bool(_SAFE_ADVICE.search(_clause_of(number, claim)))

    def _free(self, number: Quantity, claim: Reading, care: bool) -> bool:
        """True for a number that states nothing new: the user's own reading, or when to see the doctor."""
        if care and number.dim in {Dim.TIME, Dim.FREQUENCY, Dim.TIMES}:
            return True
        if number.dim in {Dim.TIMES, Dim.SCORE} and number.low <= 3:
            return True
        if self._forbidden(number, claim):
            return True
        if care and number.dim in _READINGS and _THRESHOLD.search(claim.text):
            return True
        if number.dim in DOSE_DIMS and not _DIRECTS.search(_clause_of(number, claim)):
            return any(_echoes(number, said) for reading in self._said for said in reading.numbers)
        if (
            number.dim is Dim.TIME
            and not self._clinical_time(number, claim)
            and not _ATTRIBUTED.search(claim.text)
        ):
            return True
        if number.dim is Dim.TIME and number.high <= EVERYDAY_H and self._everyday(number, claim):
            return True
        if number.dim is Dim.TIMES and number.low > MANY_TIMES and self._told(number):
            return True  # a pulse: 心率降到58 … 58次
        if number.dim in _READINGS and (
            number.dim not in _ECHO_WITH_CARE or not _TREATMENT.search(_clause_of(number, claim))
        ):
            return self._told(number)
        return False

    @staticmethod
    def _everyday(number: Quantity, claim: Reading) -> bool:
        """True for a time of the day that names no medicine (睡前一小时放下手机)."""
        clause = _clause_of(number, claim, "、")
        return bool(_OF_THE_DAY.search(claim.text[: number.start])) and not (
            _TREATMENT.search(clause) or any(name.surface in clause for name in claim.names)
        )

    @staticmethod
    def _clinical_time(number: Quantity, claim: Reading) -> bool:
        """True for the time of a treatment or of a disease's course, not for an everyday one (一周左右好转)."""
        clause = _clause_of(number, claim)
        return any(name.surface in clause for name in claim.names) or bool(_TIMED.search(clause))

    def _told(self, number: Quantity) -> bool:
        """True when the user gave this value, with its unit or as a bare figure (我低密度4.2)."""
        if any(_echoes(number, said) for reading in self._said for said in reading.numbers):
            return True
        bare = {float(value) for reading in self._said for value in _BARE.findall(reading.text)}
        return (
            number.dim not in _ECHO_WITH_CARE
            and number.low in bare
            and (number.high in bare or number.low == number.high)
        )

    def asserts(self, claim: Reading, view: View, cited: bool) -> bool:
        """True for a statement without numbers that still needs support: about a medicine, or strongly put."""
        if view.question or view.sends or DENIES_KNOWING.search(claim.text):
            return False
        if _STRONG.search(claim.text) and len(claim.bigrams) >= 4:
            if _SUPERLATIVE.search(claim.text) and not (
                cited or claim.names or _ATTRIBUTED_TO.search(claim.text)
            ):
                return False
            return not view.hedged(0, len(view.masked)) or bool(claim.names)
        if (
            not self._given
            or view.hedged(0, len(view.masked))
            or _SAFE_ADVICE.search(claim.text)
            or view.cares
        ):
            return False
        kinds = {"drug", "drug_class"} if cited else {"drug"}
        named = [name for name in claim.names if name.kind in kinds]
        return bool(named) and bool(_ASSERTS.search(claim.text)) and len(claim.bigrams) >= 4


def _clause_of(number: Quantity, claim: Reading, more: str = "") -> str:
    """The clause that holds the number; `more` are further marks that end one."""
    marks = ",;:。!?" + more
    left = max(claim.text.rfind(mark, 0, number.start) for mark in marks) + 1
    ends = [at for mark in marks if (at := claim.text.find(mark, number.end)) >= 0]
    return claim.text[left : min(ends, default=len(claim.text))]


def _echoes(number: Quantity, said: Quantity) -> bool:
    if number.dim is said.dim:
        return abs(number.low - said.low) < 1e-6 and abs(number.high - said.high) < 1e-6
    return Dim.PLAIN in (number.dim, said.dim) and abs(number.low - said.low) < 1e-6
