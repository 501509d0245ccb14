"""Reads a sentence or passage for the comparison of claims: content, named medicines, polarity of each clause.

Owns the features only; how they decide support is in `claims_support.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.safety.claims_numbers import Quantity, quantities
from app.safety.review_text import fold

_CITATION = re.compile(r"\[\^?\d{1,3}(?:[,、\-–]\d{1,3})*\]")
_CLAUSE = re.compile(r"[,;:。!?()\n、]+")
_EVERY_HOURS = re.compile(r"(?<![a-z])q(\d{1,2})h(?![a-z])")
_DAILY = {"qd": "每日1次", "bid": "每日2次", "tid": "每日3次", "qid": "每日4次", "qn": "每晚1次"}
_TIMES_A_DAY = re.compile(rf"(?<![a-z])(?:{'|'.join(_DAILY)})(?![a-z])")
_SENTENCE = re.compile(r"[^。!?]+[。!?]?")
_FUNCTION = re.compile(
    r"您好|您|你|我们?|的|了|着|吗|呢|吧|和|与|及|或者?|以及|是|在|有|也|都|就|还|又|把|被|对于?|于|由|从|向|到|为|以|之|其|这|那|个|一般|通常|可以|可能|能够?|会|应该?|需要?|要|建议|推荐|"
    r"如果|若|因为|所以|因此|但是?|并且?|而且?|则|等|时候?|后|前|中|上|下|进行|情况|方面|比较|非常|很|更|最|不|没有?|请|一些|一种|目前|患者|病人|根据|资料|显示|通过"
)
_NOT_CONTENT = re.compile(r"[,;:。!?、\s()]")
# Words that say the same in the texts compared, longest first; the right side stands for all of them.
_SYNONYMS = (
    ("卒中", "脑卒中 缺血性中风 中风 脑梗死 脑梗塞 脑梗"), ("餐", "饭 吃饭 进食 食物 进餐"), ("合用", "一起吃 一起服用 一起服 一起用 同时服用 同时吃 同时用 同服 同用 联用 联合使用 合并使用 一起使用 一起喝 一起"),
    ("双抗", "双联抗血小板治疗 双联抗血小板 双抗治疗"), ("acei", "血管紧张素转换酶抑制剂 普利类药物 普利类药 普利类 普利"), ("arb", "沙坦类药物 沙坦类药 沙坦类"),
    ("ldlc", "ldl-c 低密度脂蛋白胆固醇 低密度脂蛋白 坏胆固醇"), ("mri", "核磁共振检查 核磁共振 磁共振 核磁"), ("bmi", "体重指数 体质指数"), ("使用", "服用 应用 口服 服药 用药 吃药 吃"),
    ("妊娠", "怀孕期间 怀孕 孕期 孕妇"), ("发热", "发烧"), ("退热", "退烧"), ("激素", "糖皮质激素"), ("嗜睡", "犯困 瞌睡 困倦"), ("盐", "食盐 钠盐"),
    ("支架术后", "放支架后 支架植入术后 放了支架 装支架后 支架植入后"), ("监测", "复查 检查 检测 测定 化验"), ("每日", "每天 一天 一日 日"), ("不良反应", "副作用 毒副作用"), ("升高", "增高 上升 变高 偏高"),
    ("降低", "下降 减少 减低"), ("尽早", "尽快 早期 及早"), ("开始", "启动"), ("大腿", "大腿中外侧 大腿外侧"), ("肌注", "肌内注射 肌肉注射"), ("气短", "呼吸困难 喘不上气 憋气"), ("医生", "医师 大夫"), ("睡眠", "睡觉 失眠"),
    ("冲洗", "清洗 洗"), ("鼻腔", "鼻子"), ("病毒性", "病毒"), ("急性", "突发"), ("病人", "患者"), ("掰开", "掰"), ("停用", "停药 停服 停止使用"), ("成人", "成年人"), ("恢复", "康复"), ("预防", "防止"), ("药物", "药品"), ("黄绿", "发黄发绿"), ("视物", "看东西"), ("饮用", "喝"), ("血药浓度", "药物浓度 药的浓度"), ("起始", "从"), ("最大", "最多"),
)  # fmt: skip
_CANONICAL = {word: name for name, words in _SYNONYMS for word in (name, *words.split())}
_SYNONYM = re.compile("|".join(sorted(map(re.escape, _CANONICAL), key=len, reverse=True)))
_ANTONYMS = (
    ("升高", "降低"), ("增加", "降低"), ("高钾", "低钾"), ("高血糖", "低血糖"), ("提高", "降低"), ("加重", "减轻"), ("加重", "缓解"), ("增强", "减弱"), ("增强", "削弱"),
    ("增强", "降低"), ("餐前", "餐后"), ("术前", "术后"), ("早", "睡前"), ("晨", "晚"), ("左", "右"), ("收缩压", "舒张压"), ("一线", "二线"), ("禁用", "首选"), ("安全", "禁"), ("有效", "无效"),
    ("冷", "热"), ("平卧", "坐"), ("加快", "减慢"), ("促进", "抑制"), ("扩张", "收缩"), ("确诊", "排除"), ("限制", "推荐"), ("早期", "晚期"), ("超重", "肥胖"), ("促进", "降低"), ("容易", "较少"), ("容易", "很少"), ("常见", "罕见"), ("常见", "少见"), ("停用", "加服"), ("停用", "加用"), ("低血压", "高血压"), ("过高", "过低"), ("升高", "过低"), ("儿童", "成人"), ("女性", "男性"), ("术前", "术后"), ("短期", "长期"), ("收缩", "舒张"),
)  # fmt: skip
# What makes a statement stronger than its source, each with what the source must say for it.
_STRONGER = (
    ("放心|安全|没问题|没事|没关系|无妨|不碍", "安全|可以|无妨|不影响"), ("效果(?:更|会更|很|特别)?好|更有效|见效|增强疗效|好得快", "有效|效果|疗效|增强|见效|优于"), ("根治|治愈|断根|治好|痊愈|彻底", "根治|治愈|痊愈|彻底"),
    ("严重|致命|昏迷|危及", "严重|致命|昏迷|危|死|重"), ("小剂量|低剂量", "小剂量|低剂量|半|减"), ("(?<!最)大剂量|高剂量|加倍|双倍|加量", "大剂量|高剂量|加倍|双倍|加量|增加"), ("促进", "促进|增加|有助|改善"),
    ("立即|马上|立刻|即刻", "立即|马上|立刻|尽快|尽早|即刻|紧急|及时|当天|首选"), ("限制|少吃|少喝", "限制|少|控制|不超过|低|禁|避免"), ("加服|加用|加上|联合", "加服|加用|加上|联|合用|同时|或"), ("多使用|多吃|多喝|多饮|多补", "多|增加|补充|摄入|推荐"),
    ("酒精|[饮喝药白红黄]酒|啤酒(?!瓶)", "酒"), ("咸", "咸|盐|钠"), ("抗生素|抗菌药", "抗生素|抗菌|西林|霉素|头孢|沙星"), ("安眠药", "安眠|催眠|唑仑|西泮|佐匹克隆|唑吡坦"), ("激素", "激素|松|奈德|莫米松"), ("营养", "营养"), ("水疱|皮肤", "水疱|皮|疹|风团|红斑"), ("离开|回家", "离开|回家|出院"),
)  # fmt: skip
_STRONG = tuple((re.compile(said), re.compile(known)) for said, known in _STRONGER)
# How, when and where something is taken or kept: a claim may only name what the passage names.
_MANNERS = (
    "空腹", "餐前", "餐后", "随餐|与餐|和餐|要和餐|餐同|与早餐|和早餐", "睡前|晚上|晚间|夜间", "晨|早上|早餐", "舌下", "皮下", "肌注", "静脉|输液|滴注", "吸入", "外用|涂", "避光", "阳光", "冷藏|2~8", "冷冻", "室温",
    "整粒|整片", "嚼碎|嚼", "压碎|研碎", "掰开", "平卧", "端坐|坐", "首选|一线|优先", "终身|终生|永远|永久",
)  # fmt: skip
_MANNER = tuple(re.compile(pattern) for pattern in _MANNERS)
_RELATIONS = (
    re.compile(r"治疗|用于|适用|有效|治|改善|缓解|疗效|控制|预防|补"),
    re.compile(
        r"引起|导致|诱发|不良反应|可致|反应|造成|诱因|会使|升高|降低|表现|可能|发生|过敏|出现|中毒|伴"
    ),
    re.compile(r"确诊|诊断|提示|说明|属于|即|为|算|是"),
    re.compile(r"排除"),
)
_RELATION_CUES = (
    re.compile(
        r"(?:可以|能|可|用于|用来|来|会)[^,;。]{0,4}治疗|能治|可治|疗效|治疗[\u4e00-\u9fff]{0,4}(?:病|症|炎|癌|困难|抑郁|失眠|哮喘|痛)"
    ),
    re.compile(r"(?:引起|导致|诱发|造成)(?!的)|副作用|不良反应"),
    re.compile(r"确诊"),
    re.compile(r"排除"),
)
_FORBID = re.compile(
    r"不(?:能|可(?!能)|要|宜|得|应|该|建议|推荐|适合|主张|允许|必|需|用|会|具|影响|增加|含|属于|是|作为|再|太|受|行|对)|无(?!论|忌|限|糖|症|创|菌|水|盐|氧)|没有(?!.{0,6}禁忌)|没用|未(?=见|发现|能|必|证实|被)|避免|避开|远离|禁|切勿|勿|忌|慎|(?<![特个类区鉴])别|尚无|缺乏|失去|度低|率低|较低|很低|影响不大|不明显|较少|很少|少见|罕见|免得|(?:要|会|更|也|比较|相对|明显)少(?!量|吃|喝|于|用)|少一[些点]|少得多"
)
_UNLESS = re.compile(
    r"在?(?:没有|未)[^,;。!?]{1,14}(?:情况|前提|状态|条件)下?|如无禁忌|没有禁忌|无禁忌|不用担心|不必担心|不(?:仅|但|同|良|适|舒服|明|全|足|稳|断|时|少|规|典型|可逆|可避免|超过|低于|高于|少于|大于|要超过|能耐受)|无论|未来"
)


@dataclass(frozen=True)
class Clause:
    """A clause with its content bigrams, medicines left out; `forbids` when it denies or forbids."""

    text: str
    bigrams: frozenset[str]
    forbids: bool

    @cached_property
    def plain(self) -> str:
        """The text with synonyms made one."""
        return same_words(self.text)


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a text: `key` is the same for all names of one thing; `kind` is drug, drug_class or disease."""

    key: str
    surface: str
    start: int
    end: int
    kind: str = "drug"


@dataclass(frozen=True)
class Sentence:
    """A sentence with its content bigrams."""

    text: str
    bigrams: frozenset[str]


@dataclass(frozen=True)
class Reading:
    """What the comparison needs of one text. Positions are in `text` (folded, without citations).

    A passage is compared with every claim of an answer, so what is read of it is kept.
    """

    text: str
    bigrams: frozenset[str]
    content: frozenset[str]
    clauses: tuple[Clause, ...]
    names: tuple[Name, ...]
    diseases: tuple[Name, ...]
    numbers: tuple[Quantity, ...]

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(name.key for name in self.names)

    @cached_property
    def plain(self) -> str:
        """The text with synonyms made one."""
        return same_words(self.text)

    @cached_property
    def allowed(self) -> str:
        """The clauses that neither deny nor forbid, with synonyms made one."""
        return same_words("。".join(clause.text for clause in self.clauses if not clause.forbids))

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        return tuple(Sentence(part, bigrams(part)) for part in _SENTENCE.findall(self.text))

    def most_like(self, claim: Reading) -> tuple[Sentence, float] | None:
        """The first of the sentences that hold most of the claim's content, and how much; None for an empty text."""
        held = [containment(claim.bigrams, part.bigrams) for part in self.sentences]
        if not held:
            return None
        best = max(range(len(held)), key=lambda index: held[index])
        return self.sentences[best], held[best]


OPPOSED_ALIKE = 0.55
SAME_SENTENCE = 0.3  # share of the claim's content from which a sentence is about the same thing
_FORBIDDEN = re.compile(r"禁|避免|不能|不可(?!能)|不宜|不应|不得|不要|忌|勿")
_DIRECTIVE = re.compile(r"不(?:能|可(?!能)|要|宜|应|得|该|建议)|避免|禁|勿|忌|(?<![特个类区鉴])别")
_NAMES_HARM = re.compile(
    r"诱发|导致|引起|可致|风险|中毒|加重|危险|出血|反跳|骤|减少吸收|影响吸收|削弱|减弱|降低[^,;。]{0,6}(?:作用|活性|吸收|疗效)|失效"
)
_HARM = re.compile(r"禁|避免|不|忌|勿|风险|危险|慎|中毒|出血|加重|引起|导致|诱发|升高|降低|影响|削弱")
OPPOSED_NUMBERED = 0.8  # the numbers agree already
_CONDITION = re.compile(r"如果|若|如|当|对于|要是|一旦|假如")

FindNames = Callable[[str], tuple[Name, ...]]


def read(raw: str, find_names: FindNames) -> Reading:
    """Read `raw` (any case, width, script)."""
    text = _every_day(_CITATION.sub("", fold(raw)))
    found = find_names(text)
    names = tuple(name for name in found if name.kind != "disease")
    diseases = tuple(name for name in found if name.kind == "disease")
    bare = _without(text, names)
    clauses = tuple(_clause(part) for part in _CLAUSE.split(_without(bare, diseases)) if part.strip())
    return Reading(text, bigrams(text), bigrams(bare), clauses, names, diseases, quantities(text))


def _every_day(text: str) -> str:
    """Prescribers' short forms in words: q4h, bid."""
    text = _EVERY_HOURS.sub(r"每\1小时一次", text)
    return _TIMES_A_DAY.sub(lambda match: _DAILY[match.group()], text)


def denies(text: str) -> bool:
    """Whether the text denies or forbids something."""
    return bool(_FORBID.search(_UNLESS.sub("", text)))


def _without(text: str, names: Sequence[Name]) -> str:
    """Blank out the medicines, so that sharing only a name does not count as sharing content."""
    chars = list(text)
    for name in names:
        chars[name.start : name.end] = " " * (name.end - name.start)
    return "".join(chars)


def same_words(text: str) -> str:
    """Replace words by the one that stands for all its synonyms."""
    return _SYNONYM.sub(lambda match: _CANONICAL[match.group()], text)


def bigrams(text: str) -> frozenset[str]:
    """Content bigrams: function words and punctuation separate, latin words and numbers count as one."""
    found: set[str] = set()
    for run in re.split(r"[^\u4e00-\u9fffa-z0-9.]+", _FUNCTION.sub(" ", same_words(text))):
        for part in re.findall(r"[a-z]+[a-z0-9-]*|[\d.]+|[\u4e00-\u9fff]+", run):
            if part[0].isascii():
                if not part[0].isdigit():
                    found.add(part)
            elif len(part) == 1:
                continue
            else:
                found.update(part[at : at + 2] for at in range(len(part) - 1))
    return frozenset(found)


def content_text(text: str) -> str:
    """`text` with synonyms made one, without function words and punctuation."""
    return _NOT_CONTENT.sub("", _FUNCTION.sub("", same_words(text)))


def containment(claim: frozenset[str], passage: frozenset[str]) -> float:
    """Share of the claim's content that the passage holds; 1.0 for a claim without content."""
    return len(claim & passage) / len(claim) if claim else 1.0


def contradicts(claim: Reading, passage: Reading, *, alike: float = OPPOSED_ALIKE) -> bool:
    """True when a clause of the passage about the same thing says the opposite of a clause of the claim.

    `alike` is the share of content from which two clauses are about the same thing.
    """
    return _turned_round(claim, passage) or _clause_opposed(claim, passage, alike)


def _clause_opposed(claim: Reading, passage: Reading, alike: float) -> bool:
    stated = (
        clause for clause in claim.clauses if clause.bigrams and not _CONDITION.match(clause.text.strip())
    )
    return any(_opposed(clause, passage, alike) for clause in stated)


def _turned_round(claim: Reading, passage: Reading) -> bool:
    """True when the sentence of the passage that is most like the claim forbids what it allows, or names the opposite.

    What a sentence is about are its medicines and diseases; two shared ones, or all of the claim's, are enough.
    """
    said = claim.plain
    found = passage.most_like(claim)
    if found is None or found[1] < SAME_SENTENCE:
        return False
    known = same_words(found[0].text)
    if _antonyms(said, known) and not _antonyms(known, passage.plain.replace(known, "")):
        return True
    about = {name.surface for name in (*claim.names, *claim.diseases)}
    shared = {name for name in about if same_words(name) in known}
    denies = any(clause.forbids for clause in claim.clauses)
    forbids = _FORBIDDEN.search(_UNLESS.sub("", known)) is not None
    return len(shared) >= 2 and shared == about and forbids and not denies and not _HARM.search(said)


def differences(claim: Reading, passage: Reading) -> dict[str, float]:
    """What the claim adds to the passage or turns round, by kind (0 or 1, or how many): manner, strength, relation …"""
    said, known = claim.plain, passage.plain
    turned = _turned_round(claim, passage)
    denied = [clause for clause in claim.clauses if clause.forbids and not _warned(clause, passage)]
    classes = [name for name in claim.names if name.kind == "drug_class"]
    return {
        "manner": float(sum(bool(m.search(said) and not m.search(known)) for m in _MANNER)),
        "stronger": float(sum(bool(s.search(claim.allowed) and not k.search(known)) for s, k in _STRONG)),
        "relation": float(
            sum(
                bool(cue.search(said) and not words.search(known))
                for cue, words in zip(_RELATION_CUES, _RELATIONS, strict=True)
            )
        ),
        "other_disease": float(any(not _holds(name, passage) for name in claim.diseases)),
        "other_class": float(any(not _holds(name, passage) for name in classes)),
        "forbidden_manner": float(any(_forbidden_manner(m, claim, passage) for m in _MANNER)),
        "denial_added": float(bool(denied) and not any(c.forbids for c in passage.clauses)),
        "contradicts": float(turned or _clause_opposed(claim, passage, OPPOSED_ALIKE)),
        "contradicts_alike": float(turned or _clause_opposed(claim, passage, OPPOSED_NUMBERED)),
        "turned_round": float(turned),
        "antonym": float(_antonym_swapped(said, known)),
    }


def _antonym_swapped(said: str, known: str) -> bool:
    """True when the claim says a word of a pair of opposites that the passage lacks, and the passage the other."""
    return any(
        left in said and left not in known and right in known
        for a, b in _ANTONYMS
        for left, right in ((a, b), (b, a))
    )


def _warned(clause: Clause, passage: Reading) -> bool:
    """True when the clause tells to leave undone what the passage says does harm (不要突然停药)."""
    return bool(_DIRECTIVE.search(clause.text)) and any(
        _NAMES_HARM.search(other.text) and clause.bigrams & other.bigrams for other in passage.clauses
    )


def _forbidden_manner(manner: re.Pattern[str], claim: Reading, passage: Reading) -> bool:
    """True when the claim allows a manner that the passage only forbids (嚼碎, where it says 不能嚼碎)."""
    if not any(manner.search(clause.plain) and not clause.forbids for clause in claim.clauses):
        return False
    known = [clause.forbids for clause in passage.clauses if manner.search(clause.plain)]
    return bool(known) and all(known)


def _holds(name: Name, passage: Reading) -> bool:
    keys = {other.key for other in (*passage.diseases, *passage.names)}
    return name.key in keys or same_words(name.surface) in passage.plain


def _opposed(clause: Clause, passage: Reading, alike: float) -> bool:
    scored = [(_alike(clause, other), clause.forbids == other.forbids, other) for other in passage.clauses]
    best = max(scored, key=lambda item: item[:2], default=None)
    if best is None or best[0] < alike:
        return False
    if _antonyms(clause.text, best[2].text):
        return True
    if clause.forbids and _DIRECTIVE.search(clause.text) and _NAMES_HARM.search(best[2].text):
        return False
    return clause.forbids != best[2].forbids and not (
        clause.forbids and any(item[2].forbids for item in scored)
    )


def _alike(one: Clause, other: Clause) -> float:
    least = min(len(one.bigrams), len(other.bigrams))
    shared = len(one.bigrams & other.bigrams)
    return shared / least if least and (shared >= 2 or least <= 2) else 0.0


def _antonyms(one: str, other: str) -> bool:
    one, other = same_words(one), same_words(other)
    for a, b in _ANTONYMS:
        for left, right in ((a, b), (b, a)):
            if left in one and right not in one and right in other and left not in other:
                return True
    return False


def _clause(text: str) -> Clause:
    return Clause(text, bigrams(text), denies(text))
