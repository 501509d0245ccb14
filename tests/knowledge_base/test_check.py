"""Every rule of the editorial check, by breaking a sound document in one way."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from knowledge_base.check import check_folder, main
from knowledge_base.document import Source
from knowledge_base.sources import RegisteredSource, SourceKind, read_register

TODAY = date(2026, 11, 22)
GUIDE = Source("某病诊疗指南", "某杂志", "2023")
TEXTBOOK = Source("某教科书", "某出版社", "2018")
REGISTER = {
    GUIDE: RegisteredSource(GUIDE, SourceKind.GUIDELINE, True, ""),
    TEXTBOOK: RegisteredSource(TEXTBOOK, SourceKind.TEXTBOOK, False, ""),
}
FILLER = "\n".join(
    f"这是第{name}段，讲的是{name}字开头的事，写得足够长，让正文达到要求的字数，{name * 12}。"
    for name in "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未"
)
SOUND = f"""---
id: car-001
title: 某病
department: cardiology
kind: disease
audience: patient
keywords: [某病]
sources:
  - {{title: 某病诊疗指南, publisher: 某杂志, year: 2023}}
review: {{status: editorial, date: 2026-11-22}}
expires_on: 2028-11-22
related: []
---

# 某病

某病的开头一段。

## 怎么治
P2Y12受体抑制剂和2型糖尿病的名字不算数字，拨打120也不算。
1. 维持剂量一般是每日75～100 mg[^1]。
{FILLER}

## 什么时候要马上就医
胸痛不缓解，马上拨打120。

## 常见问题
**问：吃了3天药能停吗？**
答：不能自己停，先问医生。

**问：能喝酒吗？**
答：最好不喝。

**问：会遗传吗？**
答：不会直接遗传。
"""


def codes(folder: Path, text: str, name: str = "cardiology/car-001.md") -> list[str]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return [finding.code for finding in check_folder(folder, REGISTER, TODAY)]


def test_a_sound_document_passes(tmp_path: Path) -> None:
    assert codes(tmp_path, SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("---\nid: car-001", "id: car-001", "front-matter"),
        ("department: cardiology", "department: surgery", "front-matter"),
        ("publisher: 某杂志", "publisher: 别的杂志", "unknown-source"),
        (
            "某病诊疗指南, publisher: 某杂志, year: 2023",
            "某教科书, publisher: 某出版社, year: 2018",
            "unconfirmed",
        ),
        ("100 mg[^1]", "100 mg", "number"),
        ("100 mg[^1]", "100 mg[^2]", "mark"),
        ("某病的开头一段。", "某病的开头一段，最多吃9天。", "number"),
        ("expires_on: 2028-11-22", "expires_on: 2026-11-21", "expired"),
        ("expires_on: 2028-11-22\n", "", "expiry"),
        ("date: 2026-11-22", "date: 2027-11-22", "review"),
        ("related: []", "related: [car-999]", "related"),
        (FILLER, "短。", "too-short"),
        ("## 什么时候要马上就医", "## 就医", "urgent-section"),
        ("## 常见问题", "## 问题", "questions-section"),
        ("某病的开头一段。", "某病的开头一段，见 https://example.org 。", "foreign"),
        ("id: car-001", "id: car-002", "id"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, old: str, new: str, code: str) -> None:
    assert old in SOUND
    assert code in codes(tmp_path, SOUND.replace(old, new))


def test_the_line_of_a_number_without_source_is_the_line_in_the_file(tmp_path: Path) -> None:
    text = SOUND.replace("100 mg[^1]", "100 mg")
    (tmp_path / "cardiology").mkdir()
    (tmp_path / "cardiology" / "car-001.md").write_text(text, encoding="utf-8")
    (found,) = check_folder(tmp_path, REGISTER, TODAY)
    assert "100 mg" in text.splitlines()[found.line - 1]
    assert str(found).endswith("no source for: 维持剂量一般是每日75～100 mg。")


def test_paragraphs_that_were_copied_with_small_changes_are_found(tmp_path: Path) -> None:
    shared = (
        "支架放进去以后血小板容易聚集，所以要长期规律服药，不能因为没有感觉就自己把药停掉，这一点非常重要。"
    )
    first = SOUND.replace(FILLER, FILLER + "\n" + shared)
    second = SOUND.replace("car-001", "car-002").replace(
        FILLER, FILLER[::-1] + "\n" + shared.replace("非常", "特别")
    )
    codes(tmp_path, first)
    assert codes(tmp_path, second, "cardiology/car-002.md") == ["near-duplicate"]


def test_a_source_listed_twice_is_refused(tmp_path: Path) -> None:
    entry = (
        '[[source]]\ntitle = "甲"\npublisher = "乙"\nyear = "2020"\nkind = "guideline"\nconfirmed = true\n'
    )
    path = tmp_path / "sources.toml"
    path.write_text(entry + entry, encoding="utf-8")
    with pytest.raises(ValueError, match="listed twice"):
        read_register(path)


def test_the_documents_of_this_repository_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--today", TODAY.isoformat()]) == 0, capsys.readouterr().out


def test_no_documents_at_all_is_not_success(tmp_path: Path) -> None:
    assert main(["--documents", str(tmp_path), "--today", TODAY.isoformat()]) == 1
