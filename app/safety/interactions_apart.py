"""Tells when two names stand side by side without being taken together: compared, exchanged, or one medicine.

Owns the wording of comparison, exchange and identity, and which medicine an indication belongs to. What a draft
affirms about a pair, and which pairs are dangerous, is decided in `interactions.py`.
"""

from __future__ import annotations

import re

LINK_CHARS = 14

_TOGETHER = re.compile(
    r"一起|同时|一块|合用|联用|同服|并用|同吃|搭配|配合|叠加|加上|再加|加用|加服|另加|联合|冲突|间隔|错开|隔(?:开|几|多久|半|\d|一)|都(?:可以|能)?(?:吃|服|用)|还能|还可以"
)
_DENIED = re.compile(r"(?:不|别|勿|避免|禁止|禁|忌|严禁|没有?必要|无需)[^,;:。!?]{0,8}$")
_COMPARED = re.compile(
    r"比|不如|优于|强于|弱于|好于|高于|低于|胜过|超过|次于|相当于|相对于|vs|和|与|跟|同|、"
)
_EXCHANGED = re.compile(r"换|改|替代|替换|代替|取代|转(?:为|用|成|换)|升级")
_SAME = re.compile(r"就是|即|又名|又称|又叫|也叫|俗称|别名|(?<!不)是(?!否)|=|\(|叫|属于|同属")
_CHOICE = re.compile(r"还是|或|vs|二选一")
# Two names joined by 和 are compared only when the sentence goes on to compare them.
_CONTRAST = re.compile(
    r"区别|不同|差别|差异|差不多|各有|对比|相比|比较|哪个|哪种|哪一|哪款|哪样|谁|两者|二者|相同|一样|相似|类似|同一[种类个]|一回事|商品名|通用名|化学名|学名|别名|有效成分|主要成分|成分|原研|仿制|进口|国产|二选一|任选|选一|其中(?:一|任)|"
    r"分别|一种药|一类|同类|更(?!安全|好吃)|较(?!大|重)|强度|起效"
)
_BETTER = re.compile(
    r"(?:更|较|好|强|弱|快|慢|高|低|少|多|大|小|贵|便宜|方便|安全|有效|合适|适合|优|温和|久|长|短|轻|重)"
)
_INDICATION = re.compile(r"(?:预防|治疗|用于|防止|缓解|改善|控制|治|减少|降低|适合|适用于)[^,;:。!?]{0,8}$")
_CLAUSE = re.compile(r"[,;:。!?]")


def taken_together(text: str) -> bool:
    """True when the text speaks of taking things at the same time and does not deny it (不要两种一起吃)."""
    return any(_DENIED.search(text[: match.start()]) is None for match in _TOGETHER.finditer(text))


def kept_apart(a: str, b: str, text: str) -> bool:
    """True when the text compares `a` with `b`, puts one in the place of the other, or says they are the same.

    False whenever it also speaks of taking them at the same time.
    """
    if taken_together(text):
        return False
    link = _between(a, b, text)
    if link is None:
        return a in text and b in text and re.search(r"(?:两者|二者|两种药?|各有|分别)", text) is not None
    middle, rest = link
    if _EXCHANGED.search(middle) or _SAME.search(middle) or _CHOICE.search(middle):
        return True
    if re.search(r"换|改(?:成|用|为|吃)|替代|代替|取代", rest) and re.search(r"把|将|由|从", text):
        return True
    return _COMPARED.search(middle) is not None and bool(_CONTRAST.search(rest) or _compares(middle, rest))


def _compares(middle: str, rest: str) -> bool:
    return re.search(r"比|如|于", middle) is not None and _BETTER.search(middle + rest) is not None


def _between(a: str, b: str, text: str) -> tuple[str, str] | None:
    """What stands between the two names in one clause, and what follows the second; None when they stand apart."""
    for first, second in ((a, b), (b, a)):
        for match in re.finditer(re.escape(first), text):
            at = text.find(second, match.end(), match.end() + LINK_CHARS + len(second))
            if at >= 0 and _CLAUSE.search(text, match.end(), at) is None:
                return text[match.end() : at], text[at + len(second) :]
    return None


def named_as_indication(state: str, drug: str, text: str) -> bool:
    """True when the text names `state` only as what another medicine is for, in a clause without `drug`."""
    places = [match.start() for match in re.finditer(re.escape(state), text)]
    return bool(places) and all(_other_indication(at, drug, text) for at in places)


def _other_indication(at: int, drug: str, text: str) -> bool:
    left = max((match.end() for match in _CLAUSE.finditer(text, 0, at)), default=0)
    clause = text[left:at]
    return _INDICATION.search(clause) is not None and drug not in clause
