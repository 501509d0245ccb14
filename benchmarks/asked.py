"""How well wordings that the index has never seen find their passages, with and without the other wordings indexed.

    python benchmarks/asked.py [--cache DIR] [--features-out FILE.npz]

A fifth of the wordings (`knowledge_base/documents/**/asked.jsonl`, chosen by the hash of the question) is left out of
the index and asked. "passage" counts passages that hold the answering words, "document" any passage of the document.
`--features-out` writes what `python -m retrieval.rerank.train` learns from: the other wordings, each searched without
its own entry. The last line is one JSON object.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

# Run as a script, this folder comes first on the path, and retrieval.py here would hide the package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from app.container import embedder_spec, make_reranker
from app.settings import Settings
from knowledge_base.asked import Asked
from knowledge_base.build import IndexBuilder
from knowledge_base.document import Document, read_documents, with_asked
from knowledge_base.vectors import VectorCache
from retrieval.embedders import make_embedder
from retrieval.graph import MedicalGraph
from retrieval.rerank.features import FEATURES
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import Filter, Hit

FOLDS = 5
SOURCE = "asked"
_MARKS = re.compile(r"\[\^\d+\]|[\s*\-]|^答：")


def left_out(asked: Asked) -> bool:
    return hashlib.sha256(asked.question.encode()).digest()[0] % FOLDS == 0


def letters(text: str) -> str:
    return _MARKS.sub("", text)


@contextmanager
def searching(documents: Sequence[Document], cache: Path | None) -> Iterator[Searcher]:
    """A searcher, without evidence threshold, over an index of these documents alone."""
    settings = Settings()
    embedder = make_embedder(embedder_spec(settings))
    graph = MedicalGraph.load(settings.graph_dir)
    with tempfile.TemporaryDirectory() as folder:
        store = MilvusStore(f"{folder}/milvus.db")
        builder = IndexBuilder(store, embedder, VectorCache(embedder, folder=cache))
        builder.build(documents, name="kb_asked")
        chosen = SearchSettings(candidates=settings.retrieval.candidates, threshold=0.0)
        searcher = Searcher(
            store, embedder, make_reranker(settings, graph), expand=graph.expand, settings=chosen
        )
        searcher.rebind("kb_asked")
        yield searcher
        searcher.close()
        store.close()


def hits_for(searcher: Searcher, document: Document, question: str) -> list[Hit]:
    wanted = Filter(audience="patient") if document.audience == "patient" else None
    return list(searcher.search_now(question, filter=wanted, limit=100).hits)


def holds(hit: Hit, document: Document, answer: str) -> bool:
    return hit.chunk.document_id == document.document_id and letters(answer) in letters(hit.chunk.text)


def measure(searcher: Searcher, documents: Sequence[Document]) -> dict[str, float]:
    """hit@1, hit@5 and MRR of the left-out wordings, by passage and by document."""
    ranks: dict[str, list[float]] = {"passage": [], "document": []}
    for document in documents:
        for asked in filter(left_out, document.asked):
            hits = hits_for(searcher, document, asked.question)
            right = {
                "passage": [holds(hit, document, asked.answer) for hit in hits],
                "document": [hit.chunk.document_id == document.document_id for hit in hits],
            }
            for name, flags in right.items():
                ranks[name].append(next((i for i, flag in enumerate(flags, 1) if flag), float("inf")))
    figures = {"questions": float(len(ranks["passage"]))}
    for name, values in ranks.items():
        r = np.array(values)
        figures |= {f"{name} hit@{k}": round(float((r <= k).mean()), 3) for k in (1, 5)}
        figures[f"{name} MRR"] = round(float((1 / r).mean()), 3)
    return figures


def write_features(searcher: Searcher, documents: Sequence[Document], path: Path) -> None:
    """The candidates of every wording in the index, each searched without its own entry."""
    matrices, answers = [], []
    for document in documents:
        for asked in document.asked:
            hits = [
                hit
                for hit in hits_for(searcher, document, asked.question)
                if not (hit.chunk.is_asked and asked.question in hit.chunk.sentences[0])
            ]
            right = [holds(hit, document, asked.answer) for hit in hits]
            first = right.index(True) if True in right else -1
            kept = [hit for i, hit in enumerate(hits) if i == first or not right[i]]
            matrices.append(np.array([[hit.scores[name] for name in FEATURES] for hit in kept]))
            answers.append(-1 if first < 0 else kept.index(hits[first]))
    np.savez_compressed(
        path,
        names=np.array(FEATURES),
        features=np.concatenate(matrices).astype(np.float32),
        sizes=np.array([len(matrix) for matrix in matrices]),
        answers=np.array(answers),
        sources=np.array([SOURCE] * len(matrices)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, help="folder with vectors that are not shipped")
    parser.add_argument("--features-out", type=Path)
    chosen = parser.parse_args()
    complete = read_documents(Settings().documents_dir)
    plain = [read_again(document, ()) for document in complete]
    kept = [read_again(d, [a for a in d.asked if not left_out(a)]) for d in complete]
    result = {}
    with searching(plain, chosen.cache) as searcher:
        result["documents alone"] = measure(searcher, complete)
    with searching(kept, chosen.cache) as searcher:
        result["with the other wordings"] = measure(searcher, complete)
        if chosen.features_out is not None:
            write_features(searcher, kept, chosen.features_out)
    for name, figures in result.items():
        print(name, figures)
    print(json.dumps(result))


def read_again(document: Document, asked: Sequence[Asked]) -> Document:
    """The document with other wordings."""
    return with_asked(replace(document, asked=()), asked)


if __name__ == "__main__":
    main()
