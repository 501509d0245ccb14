"""Web pages: cleaned first (scripts, styles, frames and attributes gone), then read by heading.

What a reader of the page would not see is not kept; the text is stored as text, never as markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import nh3
from lxml import etree, html

from knowledge_base.document import Section
from knowledge_base.ingest.plain import clean, decode
from knowledge_base.ingest.types import FileKind, IngestError, Limits, Parsed, Problem

_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_BLOCKS = {"p", "li", "blockquote", "pre", "dt", "dd", "figcaption"}
_CONTAINERS = {*_HEADINGS, *_BLOCKS, "table", "tr", "div", "section", "article", "ul", "ol", "dl", "main"}
_KEPT = {*_HEADINGS, *_BLOCKS, "table", "thead", "tbody", "tr", "td", "th", "ul", "ol", "dl", "div", "section",
         "article", "main", "br", "b", "strong", "i", "em", "span", "sup", "sub", "a"}  # fmt: skip
_DROPPED = {"script", "style", "noscript", "template", "iframe", "object", "svg", "nav", "footer", "form", "head",
            "button", "select", "textarea", "title"}  # fmt: skip
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HIDDEN = re.compile(
    r"<(\w+)[^>]*(?:\bhidden\b|display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0)[^>]*>.*?</\1>",
    re.IGNORECASE | re.DOTALL,
)
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)
MAX_DEPTH = 200


def read_html(path: Path, name: str, limits: Limits) -> Parsed:
    """The visible text of a web page.

    Raises:
        IngestError: not decodable, too deep, or without text.
    """
    markup = _markup(path.read_bytes())
    if len(markup) > limits.text_bytes:
        raise IngestError(Problem.TOO_LARGE)
    found = _TITLE.search(markup)
    title = " ".join(html.fromstring(f"<p>{found.group(1)}</p>").text_content().split()) if found else ""
    safe = nh3.clean(
        _HIDDEN.sub(" ", markup), tags=_KEPT, clean_content_tags=_DROPPED, attributes={}, strip_comments=True
    )
    try:
        root = html.fromstring(f"<div>{safe}</div>")
        sections = tuple(_sections(root))
    except (etree.ParserError, etree.XMLSyntaxError, RecursionError) as error:
        raise IngestError(Problem.DAMAGED) from error
    return Parsed(FileKind.HTML, clean(title) or PurePath(name).stem, sections)


def _markup(data: bytes) -> str:
    declared = _CHARSET.search(data[:2048])
    if declared is not None and declared.group(1).lower() in {b"gb2312", b"gbk", b"gb18030"}:
        return clean(data.decode("gb18030", "replace"))
    return decode(data)


def _sections(root: html.HtmlElement) -> Iterator[Section]:
    path: list[tuple[int, str]] = []
    lines: list[str] = []

    def close() -> Iterator[Section]:
        text = "\n".join(lines).strip()
        if text:
            yield Section(tuple(title for level, title in path if level > 1), text)
        lines.clear()

    for kind, text in _blocks(root):
        if kind in _HEADINGS:
            yield from close()
            level = int(kind[1])
            path = [entry for entry in path if entry[0] < level] + [(level, text[:120])]
        else:
            lines.append(f"- {text}" if kind == "li" else text)
    yield from close()


def _blocks(root: html.HtmlElement) -> Iterator[tuple[str, str]]:
    """(tag, text) of every block in reading order; loose text between blocks counts as a paragraph."""
    stack: list[tuple[html.HtmlElement | str, int]] = [(root, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise IngestError(Problem.DAMAGED)
        if isinstance(item, str) or not isinstance(item.tag, str) or not _has_blocks(item):
            tag, text = ("p", item) if isinstance(item, str) else (str(item.tag), item.text_content())
            text = " ".join(text.split())
            if text:
                yield tag, text
        elif item.tag == "table":
            yield from (("table", text) for text in [_table(item)] if text)
        else:
            inner: list[html.HtmlElement | str] = [item.text or ""]
            for child in item:
                inner += [child, child.tail or ""]
            stack.extend((part, depth + 1) for part in reversed(inner))


def _has_blocks(element: html.HtmlElement) -> bool:
    return any(child.tag in _CONTAINERS for child in element.iterdescendants())


def _table(element: html.HtmlElement) -> str:
    rows = [
        [" ".join(cell.text_content().split()).replace("|", "／") for cell in row.iter("td", "th")]
        for row in element.iter("tr")
    ]
    rows = [row for row in rows if any(row)]
    if not rows:
        return ""
    width = max(map(len, rows))
    ruled = [rows[0], ["---"] * width, *rows[1:]]
    return "\n".join("| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in ruled)
