"""How documents are cut: sentences whole, pairs whole, tables whole, overlap and neighbours right."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge_base.chunk import MAX_PIECE_CHARS, ChunkSettings, chunk_document
from knowledge_base.document import Document, Section, Source, read_documents

GUIDE = Source("甲指南", "甲杂志", "2023")
LABEL = Source("乙说明书", "乙", "现行版")


def document(*sections: Section) -> Document:
    return Document("t-001", "某药", "general", "drug", "patient", sections, sources=(GUIDE, LABEL))


def test_marks_become_the_sources_of_their_sentence_and_leave_the_text() -> None:
    text = "每日75 mg[^2]。不要掰开。\n- 饭前服用[^1]。"
    (chunk,) = chunk_document(document(Section(("怎么吃",), text)))
    assert chunk.text == "每日75 mg。不要掰开。\n- 饭前服用。"
    assert chunk.sentence_sources == ("《乙说明书》乙（现行版）", "", "《甲指南》甲杂志（2023）")
    assert chunk.embedded_text.startswith("某药 怎么吃\n")


def test_a_question_stays_with_its_answer() -> None:
    text = "**问：能停吗？**\n答：不能自己停。\n\n**问：能喝酒吗？**\n答：最好不喝。"
    chunks = chunk_document(document(Section(("常见问题",), text)))
    assert [chunk.text for chunk in chunks] == [
        "问：能停吗？\n答：不能自己停。",
        "问：能喝酒吗？\n答：最好不喝。",
    ]


def test_passages_overlap_by_a_sentence_and_know_their_neighbours() -> None:
    sentences = [
        f"这是第{name}句话，说的是怎样照顾自己，内容并不重要，只是为了够长。"
        for name in "一二三四五六七八九十"
    ]
    chunks = chunk_document(document(Section(("照护",), "".join(sentences))), ChunkSettings(max_chars=120))
    assert len(chunks) > 2
    for before, after in zip(chunks, chunks[1:], strict=False):
        assert before.sentences[-1] == after.sentences[0]
        assert (before.next_id, after.previous_id) == (after.chunk_id, before.chunk_id)
    assert chunks[0].previous_id is None
    assert chunks[-1].next_id is None


def test_a_table_is_never_cut_unless_no_passage_could_hold_it() -> None:
    rows = [f"| 第{n}行 | 数值说明文字 |" for n in range(12)]
    small = "\n".join(["| 项目 | 意义 |", "| --- | --- |", *rows])
    assert len(chunk_document(document(Section(("表",), small)), ChunkSettings(max_chars=50))) == 1
    huge = "\n".join(["| 项目 | 意义 |", "| --- | --- |", *(rows * 20)])
    parts = chunk_document(document(Section(("表",), huge)))
    assert len(parts) > 1
    assert all(part.text.startswith("| 项目 | 意义 |") for part in parts)


def test_a_page_without_full_stops_is_still_bounded() -> None:
    chunks = chunk_document(document(Section((), "，".join(["没有句号的长文字"] * 900))))
    assert len(chunks) > 4
    assert max(len(chunk.text) for chunk in chunks) <= MAX_PIECE_CHARS + 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="甲乙丙丁。！？；，\n ", min_size=1, max_size=80), min_size=1, max_size=12))
def test_no_character_is_lost(lines: list[str]) -> None:
    text = "\n".join(lines)
    chunks = chunk_document(document(Section((), text)), ChunkSettings(max_chars=60, overlap=0))
    kept = "".join("".join(chunk.text.split()) for chunk in chunks)
    assert kept == "".join(text.split())


def test_the_shipped_documents_give_unique_bounded_passages() -> None:
    folder = Path(__file__).parents[2] / "knowledge_base" / "documents"
    chunks = [chunk for d in read_documents(folder) for chunk in chunk_document(d)]
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    assert max(len(chunk.text) for chunk in chunks) <= 450
    assert all(chunk.source and chunk.year for chunk in chunks)
