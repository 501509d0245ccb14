"""Run by test_build.py in a process of its own: serves one index, then builds another until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from knowledge_base.build import IndexBuilder, activate
from knowledge_base.vectors import VectorCache
from retrieval.store import MilvusStore
from tests.knowledge_base.small import HashEmbedder, library

folder = Path(sys.argv[1])
store = MilvusStore(str(folder / "milvus.db"))
embedder = HashEmbedder()
builder = IndexBuilder(store, embedder, VectorCache(embedder, folder=folder, shipped=folder))
builder.build(library(3), name="kb_served")
activate(store, "kb_served")


def told(step: str, done: int, total: int) -> None:
    if step == "insert" and done < total:
        print(f"inserted {done} of {total}", flush=True)
        time.sleep(60)


builder.build(library(200), name="kb_new", progress=told)
