"""Trains the reader of `reader.py`: `python -m app.safety.reader_train DATA.jsonl.gz --out reader.npz` (DATA: `reader_data.py`).

Owns the model in torch, the mixture of the four tasks and the schedule. It starts from the embedded model's weights; the
file it writes holds what changed. Needs torch and one GPU for seven minutes (a few steps run on a processor, for tests).
An answer is unsafe when its worst sentence is, so only labelled sentences and whole drafts are needed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from app.safety import reader
from app.safety.reader_data import REQUEST
from retrieval.embedders.e5 import BOS, EOS, WIDTH, graph_weights, shipped_e5, wheel_file

LAYERS, HEADS, INNER, EPSILON = 12, 12, 1536, 1e-12
PAD = 1
DROPOUT = 0.1
SMOOTHING = 0.03
# Rows of a step, and the weight of its loss, by task.
ROWS = {"message": 48, "answer": 22, "request": 20, "claim": 24}
SHARE = {"message": 1.0, "answer": 0.6, "request": 0.5, "claim": 0.6}
LEVEL_WEIGHTS = (1.0, 1.4, 1.2)
CATEGORY_SHARE = 0.2
UNSAFE_WEIGHT = 2.0
HEAD_RATE = 1e-3
# A lower layer learns this much more slowly than the one above it.
LAYER_DECAY = 0.9
WARM_UP = 0.06
AVERAGE = 0.999
MOST_SENTENCES = 14
WITHOUT_QUESTION = 0.3
JOINED = 0.15
JOINED_TOKENS = 90
THINNED = 0.3
START_TOKENS = 3
ORDINARY_REQUESTS = 3000

Row = dict[str, Any]


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
        """(rows, 384) means over the tokens, of token vectors (rows, tokens, 384)."""
        state = self.ln(vectors + self.places[: vectors.shape[1]])
        state = functional.dropout(state, DROPOUT, self.training)
        seen = mask[:, None, None, :]
        for layer in self.layers:
            state = layer(state, seen)
        kept = mask.unsqueeze(-1).float()
        return (state * kept).sum(1) / kept.sum(1)

    def weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """By the graph's names, matrices as (in, out)."""
        return {
            name: np.ascontiguousarray(value.detach().float().cpu().numpy().T)
            for name, value in self._shared()
        }


class Mixture:
    """Draws the rows of a step and turns them into sequences, with the noise that keeps training from learning by heart."""

    def __init__(self, rows: Sequence[Row], seed: int) -> None:
        self._chance = random.Random(seed)
        self.rows = {task: [row for row in rows if row["task"] == task] for task in ROWS}
        ordinary = [
            {**row, "task": "request", "label": "none", "weight": 0.5}
            for row in self.rows["message"]
            if row["category"] != "self_harm" and row["group"] != "background"
        ]
        self._chance.shuffle(ordinary)
        self._request_start = shipped_e5().tokens(REQUEST)
        self._message_start = len(shipped_e5().tokens(reader.MESSAGE))
        self.rows["request"] += [
            {**row, "a": self._request_start + row["a"][self._message_start :]}
            for row in ordinary[:ORDINARY_REQUESTS]
        ]
        self._calm = [
            row
            for row in self.rows["message"]
            if row["label"] == 0 and row["group"] != "background" and len(row["a"]) < JOINED_TOKENS
        ]
        self._queues: dict[str, list[int]] = {task: [] for task in ROWS}

    def draw(self, task: str) -> list[Row]:
        """The next rows of a task; each comes once before any comes again."""
        queue = self._queues[task]
        if len(queue) < ROWS[task]:
            order = list(range(len(self.rows[task])))
            self._chance.shuffle(order)
            queue += order
        taken, self._queues[task] = queue[: ROWS[task]], queue[ROWS[task] :]
        return [self.rows[task][index] for index in taken]

    def sequences(self, task: str, rows: Sequence[Row]) -> tuple[list[list[int]], list[int]]:
        """Token sequences, and of which row each is (several for an answer)."""
        if task == "answer":
            return self._answers(rows)
        made = []
        for row in rows:
            first = self._thinned(self._joined(row) if task == "message" else row["a"])
            if task == "claim":
                made.append(reader.pair(first[: reader.CLAIM_TOKENS], row["b"][0][: reader.PASSAGE_TOKENS]))
            else:
                made.append([BOS, *first[: reader.MESSAGE_TOKENS], EOS])
        return made, list(range(len(rows)))

    def _answers(self, rows: Sequence[Row]) -> tuple[list[list[int]], list[int]]:
        made, owners = [], []
        for index, row in enumerate(rows):
            asked = row["a"]
            if self._chance.random() < WITHOUT_QUESTION:
                asked = shipped_e5().tokens(reader.ANSWER)
            for sentence in row["b"][:MOST_SENTENCES]:
                first = self._thinned(asked)[: reader.QUESTION_TOKENS]
                made.append(reader.pair(first, self._thinned(sentence, 0)[: reader.SENTENCE_TOKENS]))
                owners.append(index)
        return made, owners

    def _joined(self, row: Row) -> list[int]:
        """Now and then an everyday message before or after: an emergency stays one."""
        own: list[int] = row["a"]
        if self._chance.random() >= JOINED or not self._calm:
            return own
        start, other = self._message_start, self._chance.choice(self._calm)["a"]
        if self._chance.random() < 0.5:
            return own + other[start:]
        return other + own[start:]

    def _thinned(self, ids: list[int], start: int = START_TOKENS) -> list[int]:
        """Now and then without some of its tokens."""
        if self._chance.random() >= THINNED or len(ids) < 6:
            return ids
        lost = self._chance.choice((0.05, 0.1, 0.15))
        return ids[:start] + [token for token in ids[start:] if self._chance.random() > lost]


class Trainer:
    """One run: the encoder, its optimizer, and the running mean of its weights that is kept."""

    def __init__(self, names: dict[str, list[str]], mixture: Mixture, rate: float, device: str) -> None:
        self._names, self._mixture, self._device = names, mixture, device
        self.model = Encoder(
            {
                "triage": 3,
                "category": len(names["categories"]),
                "review": len(names["codes"]),
                "input": len(names["kinds"]),
                "claim": 1,
            }
        ).to(device)
        groups = [{"params": list(self.model.heads.parameters()), "lr": HEAD_RATE}]
        for index, layer in enumerate(self.model.layers):
            groups.append(
                {"params": list(layer.parameters()), "lr": rate * LAYER_DECAY ** (LAYERS - 1 - index)}
            )
        groups.append({"params": list(self.model.ln.parameters()), "lr": rate * LAYER_DECAY**LAYERS})
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._mean = {key: value.detach().clone() for key, value in self.model.state_dict().items()}
        self._steps = 0
        self._table = shipped_e5().token_vectors

    def step(self, done: float) -> float:
        """One update; `done` is the share of the run that is over, 0 … 1. Returns the loss."""
        self.model.train()
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * min(done / WARM_UP + 1e-3, max(0.01, (1 - done) / (1 - WARM_UP)))
        total = 0.0
        # Claims are longer than the rest and would pad it.
        for tasks in (("message", "answer", "request"), ("claim",)):
            total += self._backward([task for task in tasks if self._mixture.rows[task]])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._steps += 1
        keep = min(AVERAGE, self._steps / (self._steps + 9))
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                self._mean[key].lerp_(value, 1 - keep)
        return total

    def _backward(self, tasks: Sequence[str]) -> float:
        jobs = []
        sequences: list[list[int]] = []
        for task in tasks:
            rows = self._mixture.draw(task)
            made, owners = self._mixture.sequences(task, rows)
            jobs.append((task, rows, owners, len(sequences), len(sequences) + len(made)))
            sequences += made
        if not sequences:
            return 0.0
        kind = "cuda" if self._device.startswith("cuda") else "cpu"
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            pooled = self._pooled(sequences)
            loss = sum(
                SHARE[task] * self._loss(task, rows, pooled[start:end], owners)
                for task, rows, owners, start, end in jobs
            )
        loss.backward()
        return float(loss.detach())

    def _pooled(self, sequences: list[list[int]]) -> torch.Tensor:
        width = max(map(len, sequences))
        ids = np.full((len(sequences), width), PAD, dtype=np.int64)
        for index, sequence in enumerate(sequences):
            ids[index, : len(sequence)] = sequence
        lengths = np.array([len(sequence) for sequence in sequences])
        mask = torch.from_numpy(np.arange(width)[None] < lengths[:, None]).to(self._device)
        return self.model(torch.from_numpy(self._table(ids)).to(self._device), mask)

    def _loss(self, task: str, rows: Sequence[Row], pooled: torch.Tensor, owners: list[int]) -> torch.Tensor:
        weights = torch.tensor([row["weight"] for row in rows], device=self._device)
        dropped = functional.dropout(pooled, DROPOUT, True)
        if task == "message":
            return self._message_loss(rows, pooled, self.model.heads["triage"](dropped), weights)
        if task == "answer":
            return self._answer_loss(rows, self.model.heads["review"](dropped), owners, weights)
        if task == "request":
            kinds = [self._names["kinds"].index(row["label"]) for row in rows]
            each = functional.cross_entropy(
                self.model.heads["input"](dropped),
                torch.tensor(kinds, device=self._device),
                reduction="none",
                label_smoothing=SMOOTHING,
            )
            return (each * weights).sum() / weights.sum()
        wanted = torch.tensor([float(row["label"]) for row in rows], device=self._device)
        each = functional.binary_cross_entropy_with_logits(
            self.model.heads["claim"](dropped)[:, 0].float(), wanted, reduction="none"
        )
        return (each * weights).sum() / weights.sum()

    def _message_loss(
        self, rows: Sequence[Row], pooled: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        levels = torch.tensor([row["label"] for row in rows], device=self._device)
        by_level = torch.tensor(LEVEL_WEIGHTS, device=self._device)
        each = functional.cross_entropy(
            scores.float(), levels, weight=by_level, reduction="none", label_smoothing=SMOOTHING
        )
        loss = (each * weights).sum() / weights.sum()
        named = [index for index, row in enumerate(rows) if row["label"] == 2 and row["category"]]
        if named:
            wanted = [self._names["categories"].index(rows[index]["category"]) for index in named]
            loss = loss + CATEGORY_SHARE * functional.cross_entropy(
                self.model.heads["category"](pooled[named]).float(),
                torch.tensor(wanted, device=self._device),
            )
        return loss

    def _answer_loss(
        self, rows: Sequence[Row], scores: torch.Tensor, owners: list[int], weights: torch.Tensor
    ) -> torch.Tensor:
        codes = self._names["codes"]
        of = torch.tensor(owners, device=self._device)[:, None].expand_as(scores)
        low = torch.full((len(rows), len(codes)), -1e4, device=self._device, dtype=scores.dtype)
        worst = low.scatter_reduce(0, of, scores, "amax").float()
        wanted = torch.tensor(
            [[float(code in row["label"]) for code in codes] for row in rows], device=self._device
        )
        # Drafts that only their evidence shows to be wrong say nothing about wording.
        told = torch.tensor(
            [not row["label"] or any(code in codes for code in row["label"]) for row in rows],
            device=self._device,
        )
        each = functional.binary_cross_entropy_with_logits(
            worst,
            wanted,
            reduction="none",
            pos_weight=torch.full((len(codes),), UNSAFE_WEIGHT, device=self._device),
        ).sum(1)
        weights = weights * told
        return (each * weights).sum() / weights.sum().clamp(min=1)

    def save(self, out: Path) -> None:
        """Write the mean of the weights as `reader.py` reads them."""
        self.model.load_state_dict(self._mean)
        heads = {
            name: (head.weight.detach().float().cpu().numpy(), head.bias.detach().float().cpu().numpy())
            for name, head in self.model.heads.items()
        }
        reader.save(out, self.model.weights(), heads, self._names["codes"])


def train(
    data: Path, out: Path, *, limit_s: float, most_steps: int | None, rate: float, seed: int, device: str
) -> int:
    """Train for `limit_s` seconds or `most_steps`, write `out`, return the number of steps."""
    torch.manual_seed(seed)
    with gzip.open(data, "rt", encoding="utf-8") as file:
        names = json.loads(file.readline())
        rows = [json.loads(line) for line in file]
    trainer = Trainer(names, Mixture(rows, seed), rate, device)
    started, steps = time.monotonic(), 0
    while True:
        done = (time.monotonic() - started) / limit_s if most_steps is None else steps / most_steps
        if done >= 1:
            break
        loss = trainer.step(done)
        if steps % 100 == 0:
            print(json.dumps({"step": steps, "loss": round(loss, 4)}), flush=True)
        steps += 1
    trainer.save(out)
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=reader.READER_FILE)
    parser.add_argument("--limit-s", type=float, default=400.0)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--rate", type=float, default=1.7e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    steps = train(
        chosen.data,
        chosen.out,
        limit_s=chosen.limit_s,
        most_steps=chosen.steps,
        rate=chosen.rate,
        seed=chosen.seed,
        device=chosen.device,
    )
    print(f"{steps} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
