"""How well the service's search finds the words that answer questions asked in patients' own wording.

    python benchmarks/asked.py [--cache DIR] [--features-out FILE.npz]

Asks every wording of `knowledge_base/asked` of an index of the shipped documents. "passage" counts passages that hold
the answering words, "document" any passage of the document. The shipped reranker learned from these wordings, so its
figures here are in sample; `python -m retrieval.rerank.train` on `--features-out`'s file prints cross-validated ones.
The last line is one JSON object.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

# Run as a script, this folder comes first on the path, and retrieval.py here would hide the package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from app.container import embedder_spec, make_reranker
from app.settings import Settings
from knowledge_base.asked import FOLDER, Asked, read_asked
from knowledge_base.build import IndexBuilder
from knowledge_base.document import Document, read_documents
from knowledge_base.vectors import VectorCache
from retrieval.embedders import make_embedder
from retrieval.graph import MedicalGraph
from retrieval.rerank.features import FEATURES
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import Filter, Hit

SOURCE = "asked"
_MARKS = re.compile(r"\[\^\d+\]|[\s*\-]|^答：")


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


def ask(
    searcher: Searcher, documents: Sequence[Document], asked: Mapping[str, Sequence[Asked]]
) -> Iterator[tuple[Document, list[Hit], list[bool]]]:
    """For every wording its document, what was found, and which of that holds the answering words."""
    for document in documents:
        for one in asked.get(document.document_id, ()):
            hits = hits_for(searcher, document, one.question)
            yield document, hits, [holds(hit, document, one.answer) for hit in hits]


def figures(found: Sequence[tuple[Document, list[Hit], list[bool]]]) -> dict[str, float]:
    """hit@1, hit@5 and MRR, by passage and by document."""
    ranks = {
        "passage": [first(right) for _, _, right in found],
        "document": [first([h.chunk.document_id == d.document_id for h in hits]) for d, hits, _ in found],
    }
    out = {"questions": float(len(found))}
    for name, values in ranks.items():
        r = np.array(values)
        out |= {f"{name} hit@{k}": round(float((r <= k).mean()), 3) for k in (1, 5)}
        out[f"{name} MRR"] = round(float((1 / r).mean()), 3)
    return out


def first(flags: Sequence[bool]) -> float:
    return next((float(i) for i, flag in enumerate(flags, 1) if flag), float("inf"))


def write_features(found: Sequence[tuple[Document, list[Hit], list[bool]]], path: Path) -> None:
    """The candidates of every wording with the first right one marked; further right ones are left out."""
    matrices, answers = [], []
    for _, hits, right in found:
        answer = right.index(True) if True in right else -1
        kept = [hit for i, hit in enumerate(hits) if i == answer or not right[i]]
        matrices.append(np.array([[hit.scores[name] for name in FEATURES] for hit in kept]))
        answers.append(answer)
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
    documents = read_documents(Settings().documents_dir)
    with searching(documents, chosen.cache) as searcher:
        found = list(ask(searcher, documents, read_asked(FOLDER)))
    if chosen.features_out is not None:
        write_features(found, chosen.features_out)
    result = {"all": figures(found)}
    for department in sorted({document.department for document, _, _ in found}):
        result[department] = figures([f for f in found if f[0].department == department])
    for name, row in result.items():
        print(name, row)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
