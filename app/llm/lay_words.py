"""What patients say and what documents write: pairs used to compare the words of a question with those of a sentence.

Owns a short table of everyday expressions; names of drugs, diseases and tests are the medical graph's. The terms are
only added for comparison and never shown.
"""

from __future__ import annotations

import re

_PAIRS: tuple[tuple[str, str], ...] = (
    ("核磁", "磁共振"),
    ("忘", "漏服"),
    ("拉肚子|拉稀", "腹泻"),
    ("发烧", "发热"),
    ("退烧", "退热"),
    ("头疼", "头痛"),
    ("肚子疼|肚子痛", "腹痛"),
    ("胸口疼|胸口痛|心口疼", "胸痛"),
    ("疼(?!痛)", "痛"),
    ("没劲|没力气", "无力"),
    ("喘不上气|喘不过气|憋气", "气短 呼吸困难"),
    ("嘴歪", "口角歪斜"),
    ("肝功能(高|不好|异常)", "转氨酶 肝功能"),
    ("肾不好|肾功能不好", "肾功能不全 肾功能差"),
    ("断根|除根|治断", "根治"),
    ("青一块紫一块|发青", "瘀青 瘀斑"),
    ("抽烟", "吸烟 戒烟"),
    ("喝酒", "饮酒 限酒"),
    ("睡觉|咋睡|怎么睡", "床头 躺 卧"),
    ("卡住|呛住|噎住|噎", "异物 堵住"),
    ("不吃了|不吃.{1,6}会|断药", "停药 停用"),
    ("水泡", "烫伤 冲"),
    ("血稠", "血液黏稠"),
    ("老年痴呆", "认知障碍"),
    ("怀孕|怀上", "孕妇 孕期"),
    ("喂奶", "哺乳"),
    ("小孩|孩子|宝宝", "儿童"),
    ("要紧|严不严重", "危险"),
    ("同房|夫妻生活|性生活", "夫妻生活 性生活"),
    ("救护车", "120"),
    ("拍片", "影像 CT"),
    ("打呼噜|打鼾", "打鼾 睡眠呼吸暂停"),
    ("瘫痪|瘫了|瘫", "偏瘫"),
    ("脚尖拖地|脚抬不起来", "足下垂"),
    ("坏胆固醇", "低密度"),
)
_COMPILED = tuple((re.compile(said), written) for said, written in _PAIRS)


def written_words(question: str) -> str:
    """The document words for the everyday ones in `question`, separated by blanks; "" when there are none."""
    return " ".join(written for said, written in _COMPILED if said.search(question))
