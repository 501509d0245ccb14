"""Files for ingestion tests, made on the spot: nothing binary lies in the repository."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

FONT = "STSong-Light"


def make_pdf(
    path: Path, pages: list[list[str]], *, password: str | None = None, bookmarks: bool = False
) -> Path:
    """A PDF with a text layer, one list of lines a page."""
    pdfmetrics.registerFont(UnicodeCIDFont(FONT))
    encrypt = None if password is None else StandardEncryption(password, ownerPassword="owner")
    canvas = Canvas(str(path), encrypt=encrypt)
    canvas.setTitle("科室手册")
    for number, lines in enumerate(pages, start=1):
        if bookmarks:
            canvas.bookmarkPage(f"p{number}")
            canvas.addOutlineEntry(f"第{number}章", f"p{number}")
        canvas.setFont(FONT, 11)
        for row, line in enumerate(lines):
            canvas.drawString(60, 780 - 18 * row, line)
        canvas.showPage()
    canvas.save()
    return path


def make_scan(path: Path, pages: int = 3) -> Path:
    """A PDF of pictures only, like a scanner makes."""
    canvas = Canvas(str(path))
    for _ in range(pages):
        canvas.rect(50, 50, 400, 700, fill=1)
        canvas.showPage()
    canvas.save()
    return path


def make_docx(path: Path) -> Path:
    """Two headings, a list and a table."""
    document = docx.Document()
    document.add_heading("出院指导", 0)
    document.add_heading("伤口护理", 1)
    document.add_paragraph("伤口保持干燥，每天观察有没有红肿。")
    document.add_heading("复查安排", 1)
    document.add_paragraph("出院一个月后到门诊复查。")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["项目", "时间", "血脂", "四到六周"], strict=True):
        cell.text = text
    document.save(str(path))
    return path


def make_docx_bomb(path: Path) -> Path:
    """A few kilobytes that unpack to 400 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as entry:
            block = b" " * (1 << 20)
            for _ in range(400):
                entry.write(block)
    return path


def csv_bytes(encoding: str) -> bytes:
    out = io.StringIO()
    out.write(
        "编号,问题,答案\n1,术后多久能洗澡,伤口长好以后再洗，一般听医生的。\n2,能吃辣吗,少吃为好。\n".replace(
            "，", "、"
        )
    )
    return out.getvalue().encode(encoding)
