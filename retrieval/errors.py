"""Errors of retrieval; third-party exceptions are translated to these at the boundary, never leaked.

RetrievalError
├── IndexUnavailable        the vector store cannot answer (unreachable, timed out, not loaded)
│   ├── IndexMissing        no such collection or alias, or no index was ever built
│   ├── IndexLocked         another process holds the Milvus Lite file
│   └── IndexCorrupt        the file is there but cannot be read as an index
├── IndexRejected           the store refused what it was given (schema, size, filter)
├── EmbedderUnavailable     no vectors can be made (package, model or service missing or failing)
├── RerankerUnavailable     the reranker's model or service is missing or failing
└── RetrievalOverloaded     the bounded queue is full; try again shortly
"""

from __future__ import annotations


class RetrievalError(Exception):
    """Root of everything this package raises on purpose."""


class IndexUnavailable(RetrievalError):
    """The vector store cannot answer now."""


class IndexMissing(IndexUnavailable):
    """The collection or alias asked for does not exist."""


class IndexLocked(IndexUnavailable):
    """Another process has the Milvus Lite file open."""


class IndexCorrupt(IndexUnavailable):
    """The Milvus Lite file cannot be read."""


class IndexRejected(RetrievalError):
    """The store refused a request that it understood."""


class EmbedderUnavailable(RetrievalError):
    """Texts cannot be turned into vectors now."""


class RerankerUnavailable(RetrievalError):
    """Candidates cannot be reranked now."""


class RetrievalOverloaded(RetrievalError):
    """Too many requests are waiting already."""
