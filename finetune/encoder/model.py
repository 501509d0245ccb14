"""The embedded model in torch, its weights named like the graph's (`retrieval/embedders/e5_graph.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from app.safety.reader import HEAD_SCALE
from retrieval.embedders.e5 import WIDTH, graph_weights, wheel_file

LAYERS, HEADS, INNER, EPSILON = 12, 12, 1536, 1e-12
DROPOUT = 0.1


class Layer(nn.Module):
    """One encoder layer, named like the graph's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.ao = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.fi, self.fo = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.aln, self.oln = nn.LayerNorm(WIDTH, EPSILON), nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, state: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        rows, tokens, _ = state.shape
        q, k, v = (
            part(state).view(rows, tokens, HEADS, -1).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        dropout = DROPOUT if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        mixed = self.ao(mixed.transpose(1, 2).reshape(rows, tokens, WIDTH))
        state = self.aln(state + functional.dropout(mixed, DROPOUT, self.training))
        inner = self.fo(functional.gelu(self.fi(state)))
        return self.oln(state + functional.dropout(inner, DROPOUT, self.training))


class Encoder(nn.Module):
    """The embedded model in torch with its heads. The token table stays as it is."""

    def __init__(self, outputs: dict[str, int]) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(WIDTH, EPSILON)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, size) for name, size in outputs.items()})
        given = graph_weights(wheel_file())
        self.register_buffer("places", torch.tensor(given["emb.pos"]))
        with torch.no_grad():
            for name, parameter in self._shared():
                value = torch.tensor(given[name])
                parameter.copy_(value.T if value.ndim == 2 else value)

    def _shared(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters with the graph's names."""
        ends = {"weight": "w", "bias": "b"}
        found = [(f"emb.ln.{ends[name]}", value) for name, value in self.ln.named_parameters()]
        for index, layer in enumerate(self.layers):
            for name, value in layer.named_parameters():
                part, end = name.split(".")
                found.append((f"l{index}.{part}.{ends[end]}", value))
        return found

    def forward(self, vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(rows, 384) unit means over the tokens, of token vectors (rows, tokens, 384)."""
        state = self.ln(vectors + self.places[: vectors.shape[1]])
        state = functional.dropout(state, DROPOUT, self.training)
        seen = mask[:, None, None, :]
        for layer in self.layers:
            state = layer(state, seen)
        state, kept = state.float(), mask.unsqueeze(-1).float()
        return functional.normalize((state * kept).sum(1) / kept.sum(1), dim=-1)

    def head(self, name: str, vectors: torch.Tensor) -> torch.Tensor:
        """(rows, outputs) logits of a head for unit vectors (rows, 384)."""
        dropped = functional.dropout(vectors * HEAD_SCALE, DROPOUT, self.training)
        logits: torch.Tensor = self.heads[name](dropped)
        return logits

    def weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """By the graph's names, matrices as (in, out)."""
        return {
            name: np.ascontiguousarray(value.detach().float().cpu().numpy().T)
            for name, value in self._shared()
        }
