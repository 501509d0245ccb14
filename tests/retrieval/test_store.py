"""The Milvus store: what goes in comes out, filters hold, and every fault is a clear error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import IndexCorrupt, IndexLocked, IndexMissing, IndexRejected, IndexUnavailable
from retrieval.milvus import is_lite
from retrieval.store import MilvusStore, filter_expression
from retrieval.types import Embedder, Embedding, Filter
from tests.retrieval.conftest import PASSAGES, make_chunk

Fill = Callable[..., None]


def question(embedder: Embedder, text: str) -> np.ndarray:
    return embedder.embed([text], "query").dense[0]


def test_chunk_comes_back_as_it_went_in(store: MilvusStore, fill: Fill) -> None:
    odd = make_chunk(
        "odd",
        '引号"、反斜杠\\、换行\n和表情😀都要保留。',
        page=12,
        previous_id="odd#000",
        next_id="odd#002",
        expires_on="2030-01-01",
        keywords=("甲", "乙"),
        sentence_sources=("说明书", ""),
    )
    plain = make_chunk("plain", "没有页码也没有邻居。")
    fill("kb_a", [odd, plain])
    got = store.get("kb_a", ["odd#001", "plain#001", "gone#001"])
    assert got.keys() == {"odd#001", "plain#001"}
    assert got["odd#001"].chunk == odd
    assert got["plain#001"].chunk == plain


def test_stored_vectors_and_words_are_those_of_the_passage(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    chunk = make_chunk("aspirin", PASSAGES["aspirin"])
    fill("kb_a", [chunk])
    stored = store.get("kb_a", [chunk.chunk_id])[chunk.chunk_id].stored
    assert stored is not None
    expected = embedder.embed(chunk.sentences, "document").dense
    assert np.abs(stored.sentence_vectors @ expected.T - expected @ expected.T).max() < 0.005
    assert {"阿司匹林", "氯吡格雷"} <= set(stored.tokens)


def test_both_routes_put_the_right_passage_first_with_positive_scores(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    fill("kb_a")
    text = "阿司匹林和氯吡格雷能不能一起吃"
    routes = store.search("kb_a", dense=question(embedder, text), text=text, limit=3)
    assert routes["dense"][0][0] == routes["bm25"][0][0] == "aspirin#001"
    for route in routes.values():
        scores = [score for _, score in route]
        assert scores == sorted(scores, reverse=True)
    assert routes["bm25"][0][1] > 0
    assert len(routes["dense"]) == 3


def test_question_without_any_word_of_substance_has_an_empty_keyword_route(
    store: MilvusStore, fill: Fill
) -> None:
    fill("kb_a")
    assert store.search("kb_a", text="请问怎么办？") == {"bm25": []}


def test_filters_by_department_audience_and_expiry(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    chunks = [
        make_chunk("lasting", "阿司匹林肠溶片空腹服用。"),
        make_chunk("expired", "阿司匹林肠溶片空腹服用吗。", expires_on="2026-01-31"),
        make_chunk("doctors", "阿司匹林剂量调整。", audience="clinician"),
        make_chunk("allergy", "阿司匹林过敏。", department="allergy"),
    ]
    fill("kb_a", chunks)

    def found(wanted: Filter) -> set[str]:
        routes = store.search("kb_a", dense=question(embedder, "阿司匹林"), text="阿司匹林", filter=wanted)
        assert {i for i, _ in routes["bm25"]} == {i for i, _ in routes["dense"]}
        return {chunk_id.removesuffix("#001") for chunk_id, _ in routes["dense"]}

    assert found(Filter(on_date="2026-01-31")) == {"lasting", "expired", "doctors", "allergy"}
    assert found(Filter(on_date="2026-02-01")) == {"lasting", "doctors", "allergy"}
    assert found(Filter(audience="patient", department="cardiology")) == {"lasting", "expired"}


@pytest.mark.parametrize(
    "attack", ['x" or 1 == 1 or department == "', "x\\", 'x" or "" == "', "x' or '1'=='1"]
)
def test_filter_values_cannot_change_the_filter(
    store: MilvusStore, fill: Fill, embedder: Embedder, attack: str
) -> None:
    fill("kb_a")
    routes = store.search("kb_a", dense=question(embedder, "阿司匹林"), filter=Filter(department=attack))
    assert routes["dense"] == []
    assert filter_expression(Filter()) == ""


def test_deleted_document_is_gone_from_every_way_of_reading(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    fill("kb_a")
    store.delete_documents("kb_a", ["aspirin", 'never"existed'])
    routes = store.search("kb_a", dense=question(embedder, "阿司匹林"), text="阿司匹林 氯吡格雷")
    assert "aspirin#001" not in {i for route in routes.values() for i, _ in route}
    assert store.get("kb_a", ["aspirin#001"]) == {}
    assert store.document_chunks("kb_a", "aspirin") == []
    assert store.count("kb_a") == len(PASSAGES) - 1
    assert store.document_ids("kb_a") == PASSAGES.keys() - {"aspirin"}


def test_document_chunks_come_in_reading_order(store: MilvusStore, fill: Fill) -> None:
    ids = ["d#003", "d#001", "d#002"]
    chunks = [
        make_chunk("d", f"第{i}段。", chunk_id=chunk_id, previous_id=before, next_id=after)
        for i, (before, chunk_id, after) in enumerate(zip([None, *ids], ids, [*ids[1:], None], strict=False))
    ]
    fill("kb_a", [chunks[2], chunks[0], chunks[1]])
    assert [c.chunk_id for c in store.document_chunks("kb_a", "d")] == ids


def test_alias_moves_and_the_served_collection_cannot_be_dropped(store: MilvusStore, fill: Fill) -> None:
    assert store.alias_target() is None
    for name in ("kb_a", "kb_b"):
        fill(name)
        store.point_alias(name)
        assert store.alias_target() == name
    with pytest.raises(IndexRejected, match="served"):
        store.drop("kb_b")
    store.drop("kb_a")
    assert store.collections("kb_") == ["kb_b"]
    store.point_alias("kb_b")
    with pytest.raises(IndexMissing):
        store.point_alias("kb_a")
    assert store.alias_target() == "kb_b"


def test_lexical_weights_are_a_third_route(store: MilvusStore, embedder: Embedder) -> None:
    chunks = [make_chunk("a", "甲"), make_chunk("b", "乙")]
    dense = embedder.embed(["甲", "乙"], "document").dense
    store.create("kb_m3", dim=embedder.dim, sparse=True)
    store.insert("kb_m3", chunks, Embedding(dense, ({7: 0.5, 9: 0.1}, {7: 0.2})), [dense[:1], dense[1:]])
    store.load("kb_m3")
    routes = store.search("kb_m3", sparse={7: 1.0, 9: 1.0})
    assert [i for i, _ in routes["lexical"]] == ["a#001", "b#001"]
    assert routes["lexical"][0][1] == pytest.approx(0.6, abs=1e-5)
    with pytest.raises(IndexRejected, match="another embedder"):
        store.insert("kb_m3", chunks, Embedding(dense), [dense[:1], dense[1:]])


def test_unknown_collection_wrong_vector_and_bad_name_are_told_apart(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    fill("kb_a")
    with pytest.raises(IndexMissing):
        store.search("kb_none", text="阿司匹林")
    with pytest.raises(IndexMissing):
        store.count("kb_none")
    with pytest.raises(IndexRejected, match="384"):
        store.search("kb_a", dense=np.zeros(10, dtype=np.float32))
    with pytest.raises(IndexRejected, match="exists"):
        store.create("kb_a", dim=4)
    with pytest.raises(IndexRejected):
        store.create("kb; drop", dim=4)


def test_second_process_is_told_that_the_file_is_locked(store: MilvusStore, tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    code = (
        "import sys\n"
        "from retrieval.errors import IndexLocked\n"
        "from retrieval.store import MilvusStore\n"
        "try: MilvusStore(sys.argv[1])\n"
        "except IndexLocked as error: print('LOCKED', error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("LOCKED")
    assert "Traceback" not in told.stderr
    store.close()
    free = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert free.stdout == ""


def test_locked_file_raises_in_this_process_when_another_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "held.db"
    holder = "import sys\nfrom milvus_lite import MilvusLite\ndb = MilvusLite(sys.argv[1])\nprint('held', flush=True)\ninput()\n"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(IndexLocked):
            MilvusStore(str(path))
        process.communicate("\n")
    MilvusStore(str(path)).close()


def test_what_was_written_survives_a_restart(tmp_path: Path, embedder: Embedder) -> None:
    first = MilvusStore(str(tmp_path / "again.db"))
    vector = embedder.embed(["华法林"], "document")
    first.create("kb_a", dim=embedder.dim)
    first.insert("kb_a", [make_chunk("w", "华法林")], vector, [vector.dense])
    first.point_alias("kb_a")
    first.close()
    first.close()
    second = MilvusStore(str(tmp_path / "again.db"))
    try:
        assert second.alias_target() == "kb_a"
        second.load("kb_a")
        assert second.search("kb_a", text="华法林")["bm25"][0][0] == "w#001"
    finally:
        second.close()


def test_two_stores_of_one_process_share_the_file(store: MilvusStore, fill: Fill) -> None:
    other = MilvusStore(store.uri)
    fill("kb_a")
    assert other.count("kb_a") == len(PASSAGES)
    other.close()
    assert store.count("kb_a") == len(PASSAGES)


def test_plain_file_in_the_way_is_called_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.write_bytes(b"SQLite format 3\x00 from an older version")
    with pytest.raises(IndexCorrupt, match="not a Milvus Lite index"):
        MilvusStore(str(path))


def test_damaged_collection_is_an_error_and_never_an_empty_answer(tmp_path: Path, embedder: Embedder) -> None:
    path = tmp_path / "damaged.db"
    first = MilvusStore(str(path))
    vector = embedder.embed(["华法林"], "document")
    first.create("kb_a", dim=embedder.dim)
    first.insert("kb_a", [make_chunk("w", "华法林")], vector, [vector.dense])
    first.load("kb_a")
    first.close()
    for file in path.rglob("*"):
        if file.is_file() and file.suffix in {".json", ".parquet"}:
            file.write_bytes(b"\x00garbage")
    with pytest.raises(IndexUnavailable):
        MilvusStore(str(path)).load("kb_a")


def test_server_that_does_not_answer_is_unavailable_in_time() -> None:
    with pytest.raises(IndexUnavailable):
        MilvusStore("http://127.0.0.1:1", timeout_s=0.5)


def test_what_is_an_address() -> None:
    assert is_lite("var/kb.db")
    assert not is_lite("https://milvus.example:19530")
    with pytest.raises(ValueError, match="not a Milvus address"):
        is_lite("kb.sqlite")
