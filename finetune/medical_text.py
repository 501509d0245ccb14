"""Coarse signs in Chinese medical text: does it state medical facts, speak of complaints, advise, send to a doctor.

Owns word lists for the data checks only. Triage and review have their own reviewed vocabularies in `app/safety`.
"""

from __future__ import annotations

import re

# A number with a clinical unit, a drug by name stem, or a word of diagnosis, treatment or physiology.
_FACT = re.compile(
    r"\d\s*(?:mg|毫克|μg|微克|g(?![a-z])|克|ml|毫升|mmol|mmHg|毫米汞柱|次/分|%|％|片|粒|支|单位|天|周|个月|小时|分钟|岁)"
    r"|[一-龥]{1,4}(?:沙坦|普利|洛尔|他汀|地平|格雷|西林|沙班|拉唑|列净|列汀|双胍|替丁|司琼|米松|奈德|替卡松|雷他定|替利嗪)"
    r"|阿司匹林|硝酸甘油|华法林|肝素|胰岛素|肾上腺素|激素|抗生素|溶栓|支架|搭桥"
    r"|血压|血糖|血脂|胆固醇|心率|心电图|肌钙蛋白|肝功能|肾功能|过敏原|脱敏|康复训练|后遗症"
    r"|药|症|病|炎|癌|瘤|梗死|出血|感染|手术|治疗|检查|化验|疫苗|剂量|禁忌|副作用|不良反应|并发"
)
_COMPLAINT = re.compile(
    r"痛|疼|晕|闷|喘|咳|吐|泻|烧|热度|麻|肿|痒|疹|出血|便血|黑便|心慌|心悸|气短|无力|没劲|抽筋|发作|难受|不舒服|憋|胀"
    r"|水肿|昏|恶心|视物|吞咽|呛|尿|便秘|失眠|鼻塞|流涕|喷嚏"
)
_MEDICINE = re.compile(
    r"药|片|剂量|停用|停吃|漏服|加量|减量|胰岛素|疫苗|(?:沙坦|普利|洛尔|他汀|地平|格雷|西林|沙班|拉唑|替利嗪|雷他定)"
    r"|阿司匹林|硝酸甘油|华法林|喷鼻"
)
_ADVICE = re.compile(
    r"建议|应该|应当|应[先在尽及立避当]|需要|请|尽快|尽早|立即|马上|及时|务必|一定要|最好|可以|记得|注意|坚持|避免|不要|别|不能|不宜|先[^，。]{1,10}再"
    r"|可(?:到|请)|要(?:先|由|查|请|告诉|看|到|做|规律|延长|立即)|都应|由医生|告诉医生"
    r"|复查|复诊|随访|就医|就诊|看医生|拨打|120|急诊|挂号|门诊|宜|控制|保持|按时|遵医嘱"
)
_ASKS = re.compile(
    r"[？?]|请(?:您)?(?:先)?告诉|请(?:您)?(?:描述|补充|说说)|想(?:先)?(?:了解|问|确认)|需要(?:先)?(?:了解|知道)"
)
_CARE = re.compile(
    r"就医|就诊|医院|医生|大夫|门诊|急诊|急救|120|复查|复诊|随访|药师|康复师|治疗师|咨询|看诊|挂号|科室|护士|医嘱|医护"
    r"|(?:看|到|请|由|去)[^，。；]{0,10}科"
)
_SOON = re.compile(
    r"去医院|到医院|回医院|当天|尽快|尽早|及时|要看医生|告诉医[护生]|联系医生|医生(?:判断|评估|决定)|就医|就诊|急诊|120|[看到][^，。；]{0,10}科"
)
_URGENT_CARE = re.compile(
    r"120|急诊|急救|立即就医|马上就医|立刻就医|尽快就医|尽快到医院|马上去医院|立即去医院|立刻去医院|当天就(?:医|诊)|当天.{0,8}(?:医院|门诊|就诊|看)"
    r"|尽快.{0,10}(?:就诊|就医|医院|看|门诊|复诊|联系)|今天.{0,8}(?:医院|门诊|就诊|看)|尽早.{0,8}(?:就诊|就医)|12356|及时就医"
)


def states_facts(text: str) -> bool:
    """Whether the text says something medical that a reader could want a source for."""
    return _FACT.search(text) is not None


def is_about_complaint_or_medicine(text: str) -> bool:
    return _COMPLAINT.search(text) is not None or _MEDICINE.search(text) is not None


def gives_advice(text: str) -> bool:
    """Whether a sentence that is not a question tells the reader what to do."""
    statements = (
        part for part in re.split(r"(?<=[。！!；;\n？?])", text) if not part.rstrip().endswith(("？", "?"))
    )
    return any(_ADVICE.search(part) for part in statements)


def asks(text: str) -> bool:
    return _ASKS.search(text) is not None


def sends_to_care(text: str) -> bool:
    return _CARE.search(text) is not None


def sends_to_urgent_care(text: str) -> bool:
    return _URGENT_CARE.search(text) is not None


def sends_to_care_soon(text: str) -> bool:
    return _SOON.search(text) is not None
