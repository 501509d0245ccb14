"""Finds personal names: after a cue (姓名、患者、我叫), before one (男、的家属), with a title (王主任), familiar (老张).

Owns how a name is told from ordinary words. A candidate must begin with a surname; how much more is asked of its
given name depends on how strong the cue is. Names without any cue are found only when the same record shows them
with one (`find.py` carries them over).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from finetune.deidentify.lists import listed
from finetune.deidentify.name_signs import (
    COMPOUND_SURNAMES,
    FAMILIAR_SURNAMES,
    FUNCTION_SURNAMES,
    GIVEN_SIGNS,
    NAMELIKE_FUNCTION_SURNAMES,
    NEVER_GIVEN,
    SURNAMES,
)
from finetune.deidentify.types import Span, SpanType
from finetune.deidentify.words import frequency, is_ordinary_word

_HAN = re.compile(r"[一-鿿]")
_AFTER = re.compile(
    r"先生|女士|小姐|同志|老师|医生|主任|大夫|护士|医师|教授|阿姨|叔叔|大爷|大妈|大娘|奶奶|爷爷|老人|男|女|因|于|的|说|来|是|有|患|自|在|今年|现|已|曾"
    r"|要|会|想|去|到|和|与|及|跟|诉|称|反映|入院|出院|术后|近|前|昨|上|从|也|就|还|被|把|对|给|向|打|做|吃|住|一|这|那|您|你|我|他|她|不|无|既往|主诉|系"
    r"|为|家|吗|呢|吧|啊|年|\d|电话|性别|身份|手机|联系|签|代|同意|陪|送|突|最近|早上|晚上|以|本人|此|之|等|能|可|开|给我|建议|怀疑|查|检|由|与|每|时|当|没|血[压糖]|胸|头|心[慌口率]|咳|反复|摔|手|走|睡|脸|嘴|右|左|昨|夜|让|复[查诊]|转|半|体检|体温|脚|腿|同|值|症|都|很|又|已经|发|出|入"
)
_LABEL = re.compile(
    r"(?:(?:患者|病人|患儿|产妇|母亲|父亲|家属|医生|医师|本人|孩子|宝宝|联系人|监护人|收件人|老人|用户|注册|真实|您的|我的|受检者|被检者|申请人|就诊人|投保人|供者)?"
    r"(?:姓名|名字|全名|大名)|联系人|监护人|签名|签字|签署|收件人|申请人|经治医师|主治医师|主治医生|主管医生|主管医师|管床医生|责任护士|主刀医生|主刀|术者|助手|送检医生|送检医师|"
    r"报告医师|报告医生|审核医师|审核者|审核|记录者|记录人|检查者|操作者|陪护人|陪护|家属|患者|病人|受检者|就诊人|紧急联系人|代诉人|代述人|病史陈述者|陈述者|户主|医生|医师|护士|接诊医生|开单医生|随访人|咨询人|提问者|提问人|采集者|采样人|署名|落款)"
    r"(?:签名|签字)?\s?(?:[:：]|(?<=人)\s|(?<=名)\s)\s?[“\"（(【]?"
)
_CALLED = re.compile(
    r"(?:我叫|名叫|叫做|名字是|名字叫|姓名是|姓名为|名为|大名叫?|本名|本人叫|她叫|他叫|孩子叫|宝宝叫|妈叫|爸叫|妈妈叫|爸爸叫|老伴叫|儿子叫|女儿叫|父亲叫|母亲叫|奶奶叫|爷爷叫|婆婆叫|公公叫|"
    r"爱人叫|丈夫叫|妻子叫|老公叫|老婆叫|患者叫|病人叫|医生叫|大夫叫|全名是|就叫|人叫|名儿叫|尊姓大名)\s?[“\"「【]?"
)
_BEFORE = re.compile(
    r"(?:患者|病人|患儿|产妇|伤者|死者|家属|我是|是|本人|这是|这位是|这里是|陪同的?|老伴|丈夫|妻子|爱人|老公|老婆|儿子|女儿|母亲|父亲|妈妈|爸爸|爷爷|奶奶|外公|外婆|姥姥|姥爷|弟弟|妹妹|哥哥|姐姐|"
    r"孙子|孙女|外孙|女婿|儿媳|媳妇|婆婆|公公|岳父|岳母|舅舅|舅妈|姑姑|姑妈|姨妈|叔叔|伯伯|侄子|侄女|外甥|医生|大夫|医师|主任|教授|护士|护士长|院长|同事|邻居|室友|朋友|同学|战友|病友|亲属|"
    r"代诉|由|找|挂了?|挂的是|感谢|谢谢|咨询|预约了?|见到|约了|请|替|帮|给|为|和|与|跟|及|让|叫|家长|护工|保姆|监护人|同房|隔壁床的?|学生|员工|职工|村民|居民|参保人|持卡人|用户|客户|受检者|收件人|联系人|您好，我是|[，,。；;、：:（(“\s]|^)"
    r"\s?[，,（(“\"：:是为]?\s?"
)
# Relatives said in one syllable need who says it: 我爸, 其妻.
_KIN = re.compile(
    r"(?:我|俺|咱|他|她|其|你|您)(?:的)?(?:亲|大|二|老|小|公|岳)?(?:爸爸?|妈妈?|爹|娘|妻|夫|子|女|父|母|兄|弟|姐|妹|哥|嫂|叔|伯|舅|姑|姨|婶|孙|侄|先生|太太|爱人|老伴|对象|媳妇|丈母娘|老丈人|闺女|儿子|女儿)"
    r"\s?[，,（(“\"：:]?"
)
_CALLS = re.compile(r"(?<![哭喊吼尖惊嚎呼])叫(?![做作车唤醒喊])\s?[“\"「【：:]?")
# Surnames whose sign often begins the name of a medicine, a plant or a word.
_BRAND_SIGNS = frozenset("万谷阿路康辛华白石牛麻车甘苏曲沙米麦乌桂葛芦艾达安贝普舒黄花水毛皮银")
# A pair of signs that jieba's corpus has this often is read as that word, not as a given name.
_FREQUENT = 50
_MORE_SURNAMES = frozenset("高马夏江祝易石龙任于田雷史钱方常梅苗柴闵温庄柳")
_CLAUSE = re.compile(r"(?<=[，,。；;：:\s（(])[一-鿿]{2,4}(?=[，,。；;\s）)])")
# A comma between cue and candidate asks for a better given name.
_APART = 2.4
# After these, or at the edge of a clause, only an unmistakable name counts.
_ANYWHERE = re.compile(
    r"(?:^|(?<=[，,。；;、！!？?\s（(：:“\"])|的|和|与|跟|由|让|找|请|替|帮|给|为|是|陪护|护工|收件人|联系人|申请人|监护人|寄给|转告|通知|感谢|谢谢|麻烦|随|同)"
)
_STRONG_BEFORE = re.compile(
    r"(?:(?:患者|病人|个人|用户)信息[:：]|患者|病人|患儿|产妇|伤者|家属|我是|舅舅|舅妈|姑姑|姑父|姑妈|姨妈|姨父|叔叔|婶婶|伯伯|姥姥|姥爷|侄子|侄女|外甥|表[哥弟姐妹]|堂[哥弟姐妹]|工友|战友|朋友|(?:投诉|反映|举报|预约|办理|领药|缴费|登记|求助|报案|当事|负责|经办|接待|申请|陪同|陪护|转介|推荐|随访)[人者]|今天|昨天|本人|这是|这位是|老伴|丈夫|妻子|爱人|老公|老婆|儿子|女儿|母亲|父亲|妈妈|爸爸|爷爷|奶奶|外公|外婆|弟弟|妹妹|哥哥|姐姐|孙子|孙女|女婿|儿媳|婆婆|公公|岳父|岳母|"
    r"同事|邻居|室友|病友|监护人|护工|受检者|家长|医生|大夫|医师|主任|教授|护士|护士长|联系人|村民|参保人|代诉)\s?[，,（(“\"：:是为]?\s?"
)
_RIGHT_CUE = re.compile(
    r"[，,、\s（(/]{0,2}(?:性别[:：]?)?(?:男|女)(?:性|士|童|婴)?(?=[，,。、；;\s\d）)/]|$)"
    r"|[，,、\s（(]{0,2}(?:今年|现年|年龄[:：]?)?\s?\d{1,3}\s?(?:周?岁|个月大)"
    r"|的(?:家属|儿子|女儿|妈妈|爸爸|母亲|父亲|老伴|爱人|妻子|丈夫|老公|老婆|孙子|孙女|女婿|儿媳|哥哥|姐姐|弟弟|妹妹|监护人|家人|亲属|检查(?:报告|结果|单)|报告|病历|化验单?|片子|主治|床位|号|身份证|电话|手机|微信|住院|医保卡?)"
    r"|(?:同志|先生|女士|小姐|签名|签字|代签|代诉|代述|本人签)|[（(](?:患者|病人|家属|本人|签名|签字|儿子|女儿|妻子|丈夫|父亲|母亲|父子|母女|主任|医生|护士)"
)
_TITLE = re.compile(
    r"(?:副?主任(?:医师|护师|医生)?|(?:主治|住院|值班|管床|责任|实习|规培)?(?:医师|医生|大夫|护士长?|药师|治疗师|康复师)|护师|教授|院长|科长|处长|书记|老师|师傅|先生|女士|小姐|太太|夫人|阿姨|叔叔|大爷|大妈|大娘|大叔|"
    r"大伯|大哥|大姐|大嫂|奶奶|爷爷|伯伯|婆婆|老太太?|老先生|老爷子|老汉|同志|同学|姨|叔|伯|婶|嫂|姐|哥|爷|奶|妈|老(?=[，,。、；;\s说的]|$)|某某?(?![些种个人])|[×xX＊*]{1,2}|○○?)"
)
_SURNAME = re.compile(
    r"(?:我|他|她|您|主任|医生|大夫|教授|老师|患者|病人|免贵|护士|也|是)姓(?P<value>[一-鿿]{1,2}?)(?=[^一-鿿]|$|的|说|让|给|叫|名|和|也)"
)
_FAMILIAR = re.compile(r"[老小阿]")
_FAMILIAR_AFTER = re.compile(
    r"[^一-鿿]|$|"
    + _AFTER.pattern
    + r"|她|他|咨询|反复|感觉|觉得|问|听|爱|喜欢|身体|血压|手术|住院|复查|老伴|媳妇|两口|夫妻"
)
_MINORITY = re.compile(r"(?<![一-鿿])[一-鿿]{2,6}·[一-鿿]{2,6}|[一-鿿]{2,5}·[一-鿿]{2,6}")
_MINORITY_CUE = re.compile(
    r"(?:姓名|患者|病人|我叫|我是|家属|儿子|女儿|妈妈|爸爸|医生|医师|签名|签字|[:：叫是])"
)
_EPONYM = re.compile(r"(?:综合征|病|征|试验|氏|法|定律|呼吸|反射)")
_LATIN = re.compile(r"[A-Z][a-z]+(?:[ ·-][A-Z][a-z]+){1,2}")
# Words that begin with a surname and come after cues, beyond those that the dictionary knows.
_STOP_WORDS = frozenset(
    listed(
        "华法林 高血压 高血脂 高血糖 高尿酸 白细胞 白蛋白 黄疸 安全 安静 方便 常规 常见 康复 程度 成功 包括 明显 明确 时常 时有 全身 双侧 双下肢 任何 "
        "古稀 元旦 文化 温水 毛病 石膏 金属 路上 席上 应该 平时 平素 原发 原因 房颤 房间隔 施行 严重 向左 易怒 易感 解释 解除 查体 查房 管理 管路 连续 "
        "单纯 单侧 师傅 边缘 车祸 干咳 干燥 干预 支架 支气管 支持 水肿 水样 曲线 麻木 麻醉 米饭 花粉 雷诺 沙坦 沙丁胺醇 甘油 甘油三酯 麦粒肿 燕麦 冷汗 "
        "齐全 阳性 阴性 时间 时候 万一 万古霉素 莫名 莫西沙星 左侧 左心室 左手 左旋 左室 司机 司美格鲁肽 关节 关键 关心 关系 尤其 相关 相对 南方 强烈 "
        "满意 平稳 平均 池塘 党员 巩固 丰富 那么 那边 那个 宫颈 宫外孕 和 来回 都是 何时 何种 何处 何医院 何科 计划 计算 国家 国产 公司 公费 单位 "
        "明天 明年 明早 利尿剂 利伐沙班 普通 普萘洛尔 甲状腺 曾经 曾有 曾因 曾在 于是 于昨 向您 向你 应用 应当 程中 余无 余可 余未 常有 常年 常在 别 "
        "谢谢 钱包 易瑞沙 顾虑 顾及 严格 严密 安排 安慰 安装 温度 温和 施加 施术 段时间 史无 史有 金标准 汤药 童年 童装 梅毒 梅花 柳氮 文献 龙胆 "
        "江湖 石淋 方式 方法 方面 方案 方可 高龄 高热 高烧 高危 高度 高中 高级 高位 白天 白内障 白带 白色 黄色 黄体 黄斑 黄痰 马上 马桶 万分 项目 "
        "游离 游泳 路途 路边 房屋 房东 房室 成年 成人 成分 成都 荣幸 桂枝 桂圆 桂附 宁愿 宁可 甘草 古方 简单 简易 解决 牟 尚未 尚可 尚有 尚好 符合 申请 章节 "
        "辛苦 辛辣 辛伐他汀 车上 景区 单核 祝您 祝你 祝好 葛根 乐观 居家 居民 居住 海鲜 海边 乌鸡 乌梅 母亲 母乳 修复 修养 位置 位于 权衡 强直 强化 "
        "云南 兰州 元气 信息 信任 展开 智能 智齿 幸好 幸亏 富含 由于 由此 阴道 阴天 密切 利用 利于 况且 但是 初步 初期 初诊 门诊 门口 索要 宣传 普查 "
        "容易 容量 鲜血 鲜红 印象 隆起 战友 危险 危重 银行 银杏 宾馆 戎 居然 干净 元素 束缚 檀香 衣服 衣物 信号 阴影 智力 奉劝 植物 衡量 尧 闭经 闭合"
    )
)


@dataclass(frozen=True, slots=True)
class _Best:
    length: int
    score: float


def name_spans(view: str) -> Iterator[Span]:
    """Names in one text; `view` has full-width Latin signs folded and the same length as the text."""
    yield from _labelled(view)
    yield from _cued(view, _CALLED, 1.5, strict=False)
    yield from _cued(view, _STRONG_BEFORE, 1.75)
    yield from _cued(view, _KIN, 1.75)
    yield from _cued(view, _CALLS, 1.75, strict=False)
    yield from _unmistakable(view)
    yield from _whole_clause(view)
    yield from _right_cued(view)
    yield from _titled(view)
    yield from _familiar(view)
    yield from _bare_surname(view)
    yield from _foreign(view)


def _labelled(view: str) -> Iterator[Span]:
    for found in _LABEL.finditer(view):
        at = found.end()
        run = re.compile(r"[一-鿿]+").match(view, at)
        if run is None:
            latin = _LATIN.match(view, at)
            if latin is not None:
                yield Span(SpanType.NAME, latin.start(), latin.end())
            continue
        best = _best(view, at, strict=False)
        if best is not None and best.score >= (
            0.9 if "名" in found.group() or "签" in found.group() else 1.9
        ):
            yield Span(SpanType.NAME, at, at + best.length)
        elif "姓名" in found.group() and 2 <= len(run.group()) <= 4 and not is_ordinary_word(run.group()):
            yield Span(SpanType.NAME, at, run.end())


def _cued(view: str, cue: re.Pattern[str], threshold: float, *, strict: bool = True) -> Iterator[Span]:
    for found in cue.finditer(view):
        best = _best(view, found.end(), strict=strict)
        apart = found.group().rstrip().endswith(("，", ",", "、"))
        if best is not None and best.score >= (max(threshold, _APART) if apart else threshold):
            end = found.end() + best.length
            yield Span(SpanType.NAME, found.end(), end)
            yield from _listed(view, end)


def _unmistakable(view: str) -> Iterator[Span]:
    """Three signs at the edge of a clause: a frequent surname with a good given name, and no word in sight."""
    for found in _ANYWHERE.finditer(view):
        at = found.end()
        name = view[at : at + 3]
        plain = name[:1] in SURNAMES - FUNCTION_SURNAMES and name[:1] not in _BRAND_SIGNS
        crossed = frequency(name[1:]) >= _FREQUENT and name[1:] not in _GIVEN_WORDS
        if not plain or crossed or is_ordinary_word(name[:2]) or is_ordinary_word(view[at + 2 : at + 4]):
            continue
        if (_score(view, at, 3) or 0.0) >= 3.2:
            yield Span(SpanType.NAME, at, at + 3)
            yield from _listed(view, at + 3)


def _whole_clause(view: str) -> Iterator[Span]:
    """A clause that is nothing but a name, such as the one between two commas of a ward list."""
    for found in _CLAUSE.finditer(view):
        name = found.group()
        size = 2 if name[:2] in COMPOUND_SURNAMES else 1
        surname_fits = size == 2 or name[0] in FAMILIAR_SURNAMES | _MORE_SURNAMES
        if not surname_fits or is_ordinary_word(name) or is_ordinary_word(name[:2]):
            continue
        if (
            all(sign in GIVEN_SIGNS for sign in name[size:])
            and (_score(view, found.start(), len(name)) or 0.0) >= 2.0
        ):
            yield Span(SpanType.NAME, *found.span())


def _listed(view: str, at: int) -> Iterator[Span]:
    """The further names of a list that began with one: 王芳、李娜和张敏."""
    while at < len(view) and view[at] in "、和及与":
        best = _best(view, at + 1)
        if best is None or best.score < 2.0:
            return
        yield Span(SpanType.NAME, at + 1, at + 1 + best.length)
        at += 1 + best.length


def _right_cued(view: str) -> Iterator[Span]:
    for found in _RIGHT_CUE.finditer(view):
        end = found.start()
        for length in (3, 2, 4):
            start = end - length
            if start < 0 or _HAN.match(view[start]) is None:
                continue
            best = _score(view, start, length)
            if best is None or best < 1.9 or not _begins_here(view, start):
                continue
            yield Span(SpanType.NAME, start, end)
            break


def _begins_here(view: str, start: int) -> bool:
    """Whether a name may begin here: at the edge of the clause, or after a word that comes before names."""
    if start == 0 or _HAN.match(view[start - 1]) is None:
        return True
    before = view[max(0, start - 6) : start]
    return any(found.end() == len(before) for found in _BEFORE.finditer(before)) and not is_ordinary_word(
        view[start - 1 : start + 1]
    )


def _titled(view: str) -> Iterator[Span]:
    for found in _TITLE.finditer(view):
        end = found.start()
        for length in (3, 2, 4):
            start = end - length
            if start >= 0 and (_score(view, start, length) or 0) >= 1.9 and _begins_here(view, start):
                yield Span(SpanType.NAME, start, end)
                break
        else:
            yield from _surname_before(view, end, found.group())


def _surname_before(view: str, end: int, title: str) -> Iterator[Span]:
    if end >= 2 and view[end - 2 : end] in COMPOUND_SURNAMES:
        yield Span(SpanType.NAME, end - 2, end, surname_only=True)
        return
    start = end - 1
    if (
        start < 0
        or view[start] not in SURNAMES
        or view[start] in FUNCTION_SURNAMES - {"文", "安", "左", "关", "包"}
    ):
        return
    short = len(title) == 1 or title.startswith("老")
    if short and (view[start] not in FAMILIAR_SURNAMES or is_ordinary_word(view[start : end + 1])):
        return
    left = view[start - 1] if start else ""
    if left and _HAN.match(left) is not None:
        pair = view[start - 1 : end]
        if left in SURNAMES - FUNCTION_SURNAMES and frequency(pair) == 0 and view[start] in GIVEN_SIGNS:
            yield Span(SpanType.NAME, start - 1, end)
            return
        if (frequency(pair) > 0 and left not in "老小阿") or (
            left in "一两三四五六七八九十几上下本每半" and view[start] in "周段万"
        ):
            return
    yield Span(SpanType.NAME, start, end, surname_only=True)


def _familiar(view: str) -> Iterator[Span]:
    for found in _FAMILIAR.finditer(view):
        at = found.end()
        if view[at : at + 2] in COMPOUND_SURNAMES:
            yield Span(SpanType.NAME, at, at + 2, surname_only=True)
            continue
        if (
            at >= len(view)
            or view[at] not in FAMILIAR_SURNAMES
            or found.group() + view[at] in ("小叶", "小熊", "小孔", "小汤")
        ):
            continue
        left = view[found.start() - 1] if found.start() else ""
        if left and _HAN.match(left) is not None and is_ordinary_word(left + found.group()):
            continue
        if _FAMILIAR_AFTER.match(view, at + 1) is not None and not is_ordinary_word(view[at : at + 2]):
            yield Span(SpanType.NAME, at, at + 1, surname_only=True)


def _bare_surname(view: str) -> Iterator[Span]:
    """我姓刘, 主任姓王."""
    for found in _SURNAME.finditer(view):
        surname = found.group("value")
        if surname in COMPOUND_SURNAMES or surname in SURNAMES:
            yield Span(SpanType.NAME, *found.span("value"), surname_only=True)


def _foreign(view: str) -> Iterator[Span]:
    for found in _MINORITY.finditer(view):
        if _EPONYM.match(view, found.end()) is None and _is_cued(view, found.start(), found.end()):
            head = found.group()
            start = found.start()
            cue = re.match(
                r".*(?:姓名|患者|病人|我叫|我是|家属|儿子|女儿|妈妈|爸爸|医生|医师|签名|签字|叫|是)",
                head.split("·")[0],
            )
            start += cue.end() if cue is not None and cue.end() < head.index("·") - 1 else 0
            yield Span(SpanType.NAME, start, found.end())


def _is_cued(view: str, start: int, end: int) -> bool:
    head = view[max(0, start - 6) : view.index("·", start)]
    return (
        _MINORITY_CUE.search(head) is not None
        or _RIGHT_CUE.match(view, end) is not None
        or (_TITLE.match(view, end) is not None)
    )


def _best(view: str, at: int, *, strict: bool = True) -> _Best | None:
    scored = [
        _Best(length, score)
        for length in (3, 2, 4)
        if (score := _score(view, at, length, strict=strict)) is not None
    ]
    return max(scored, key=lambda best: best.score, default=None)


def _score(view: str, at: int, length: int, *, strict: bool = True) -> float | None:
    """How much `view[at:at+length]` looks like a name; None when it cannot be one. 2 is a good given name.

    Behind a cue that only names follow (`strict` False) dictionary words and odd signs lower the score, no more.
    """
    name = view[at : at + length]
    if len(name) < length or any(_HAN.match(sign) is None for sign in name):
        return None
    if name[:2] in ("敬爱", "亲爱", "尊敬"):
        return None
    size = 2 if name[:2] in COMPOUND_SURNAMES else 1
    given = name[size:]
    if size == 1 and (name[0] not in SURNAMES or length > 3):
        return None
    odd = sum(sign in NEVER_GIVEN for sign in given)
    if not given or len(given) > 2 or (odd and (strict or odd == len(given))):
        return None
    if name in _STOP_WORDS or name[:2] in _STOP_WORDS or (strict and length == 3 and is_ordinary_word(name)):
        return None
    score = sum(1.0 if sign in GIVEN_SIGNS else 0.3 for sign in given)
    score += (1.0 if size == 2 else 0.0) - 0.9 * odd
    score -= 1.0 if given[-1] in _VERBS else 0.0
    after = view[at + length : at + length + 4]
    ends = not after or _HAN.match(after[0]) is None or _AFTER.match(after) is not None
    score += 1.5 if ends else -0.4
    good = length == 3 and all(sign in GIVEN_SIGNS for sign in given)
    if size == 1 and is_ordinary_word(name[:2]):
        score -= 0.5 if good else 2.0
    if length == 3 and frequency(name[1:]) >= _FREQUENT and given not in _GIVEN_WORDS:
        score -= 0.3
    if name[0] in FUNCTION_SURNAMES and size == 1:
        score -= 1.0 if not strict or (good and name[0] in NAMELIKE_FUNCTION_SURNAMES) else 2.0
    return score


# Signs that end a name and begin the next word just as well: the shorter name is the better guess.
_VERBS = frozenset("来去到以及则同向对打做吃住给")
# Given names that are dictionary words too and do not count against a candidate.
_GIVEN_WORDS = frozenset(
    listed(
        "建国 国庆 建军 建华 志强 志刚 秀英 秀兰 桂英 桂兰 玉兰 玉梅 春梅 海燕 红梅 爱国 卫东 卫国 永强 文化 思远"
    )
)
