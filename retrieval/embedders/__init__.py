"""Embedders behind one protocol; `make_embedder(EmbedderSpec(...))` builds the one that settings name."""

from retrieval.embedders.base import EmbedderSpec, make_embedder

__all__ = ["EmbedderSpec", "make_embedder"]
