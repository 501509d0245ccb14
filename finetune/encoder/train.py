"""Trains the encoder: `python -m finetune.encoder.train DATA.jsonl.gz --out FOLDER` (DATA: `python -m finetune.encoder.data`).

Owns the losses of the tasks and the schedule. It starts from the embedded model's weights; the files it writes hold what
changed (`retrieval/embedders/changes.py`) and the heads (`app/safety/reader.py`). Needs torch and one GPU for five minutes (a
few steps run on a processor, for tests). An answer is unsafe when its worst sentence is, so only labelled sentences and whole
drafts are needed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from app.safety import reader
from finetune.encoder.merge import save_run
from finetune.encoder.mixture import Mixture, Pairs, Row
from finetune.encoder.model import LAYERS, Encoder
from retrieval.embedders import changes
from retrieval.embedders.e5 import BOS, EOS, shipped_e5

PAD = 1
SMOOTHING = 0.03
# The weight of a task's loss.
SHARE = {"message": 1.0, "answer": 0.6, "request": 0.3, "claim": 0.6, "own": 1.0, "public": 1.0}
# Which pairs a step has besides, in turn. With public ones in every sixth step of a run twice as long, the right one of 13,106
# strangers' answers came first for .44 of the questions instead of .47.
FOUND = ("public", "own")
LEVEL_WEIGHTS = (1.0, 1.4, 1.2)
CATEGORY_SHARE = 0.2
UNSAFE_WEIGHT = 2.0
# Cosines are divided by this; a question that no passage answers should find none nearer than `NOTHING` says.
TEMPERATURE = 0.02
NOTHING = 0.8
HEAD_RATE = 1e-3
# A lower layer learns this much more slowly than the one above it.
LAYER_DECAY = 0.9
WARM_UP = 0.06
AVERAGE = 0.999
# A step's sequences are read in this many groups of like length, padded to a multiple of `ALIGNED` tokens.
GROUPS, ALIGNED = 2, 16


class TokenVectors:
    """The embedded model's vectors of the tokens that occur, on the device."""

    def __init__(self, tokens: Iterable[int], device: str) -> None:
        known = np.array(sorted({*tokens, BOS, EOS, PAD}), dtype=np.int64)
        self._place = np.zeros(int(known.max()) + 1, dtype=np.int64)
        self._place[known] = np.arange(len(known))
        self._vectors = torch.from_numpy(shipped_e5().token_vectors(known)).to(device)

    def __call__(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """(…, 384) for ids (…) of known tokens."""
        return self._vectors[torch.from_numpy(self._place[ids]).to(self._vectors.device)]


class Trainer:
    """One run: the encoder, its optimizer, and the running mean of its weights that is kept."""

    def __init__(self, names: dict[str, Any], mixture: Mixture, rate: float, device: str) -> None:
        self._names, self._mixture, self._device = names, mixture, device
        # cuDNN's attention plans anew for every shape, which took three quarters of a step.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.model = Encoder(
            {
                "triage": 3,
                "category": len(names["categories"]),
                "review": len(names["codes"]),
                "input": len(names["kinds"]),
                "claim": 1,
            }
        ).to(device)
        self.nothing = torch.nn.Parameter(torch.tensor(NOTHING, device=device))
        groups = [{"params": [*self.model.heads.parameters(), self.nothing], "lr": HEAD_RATE}]
        for index, layer in enumerate(self.model.layers):
            groups.append(
                {"params": list(layer.parameters()), "lr": rate * LAYER_DECAY ** (LAYERS - 1 - index)}
            )
        groups.append({"params": list(self.model.ln.parameters()), "lr": rate * LAYER_DECAY**LAYERS})
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._mean = {key: value.detach().clone() for key, value in self.model.state_dict().items()}
        self._steps = 0
        self._table = TokenVectors(mixture.tokens(), device)

    def step(self, done: float) -> float:
        """One update; `done` is the share of the run that is over, 0 … 1. Returns the loss."""
        self.model.train()
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * min(done / WARM_UP + 1e-3, max(0.01, (1 - done) / (1 - WARM_UP)))
        loss = self._loss_of_step(FOUND[self._steps % len(FOUND)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._steps += 1
        keep = min(AVERAGE, self._steps / (self._steps + 9))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._mean.values()), list(self.model.state_dict().values()), 1 - keep)
        return float(loss.detach())

    def _loss_of_step(self, found: str) -> torch.Tensor:
        """The weighted loss of one draw of every task."""
        pairs = self._mixture.pairs(found) if self._mixture.rows.get(found) else Pairs([], [], 0)
        jobs = []
        sequences: list[list[int]] = []
        for task in ("message", "answer", "request", "claim"):
            if self._mixture.rows[task]:
                rows = self._mixture.draw(task)
                made, owners = self._mixture.sequences(task, rows)
                jobs.append((task, rows, owners, len(sequences), len(sequences) + len(made)))
                sequences += made
        read = len(sequences)
        kind = self._device.split(":", maxsplit=1)[0]
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            pooled = self._pooled([*sequences, *pairs.questions, *pairs.passages])
            losses = [
                SHARE[task] * self._loss(task, rows, pooled[start:end], owners)
                for task, rows, owners, start, end in jobs
            ]
        if pairs.questions:
            questions, passages = pooled[read:].split([len(pairs.questions), len(pairs.passages)])
            contrast = self._contrast(questions, passages, pairs, with_nothing=found == "own")
            losses.append(SHARE[found] * contrast)
        return torch.stack(losses).sum()

    def _contrast(
        self, questions: torch.Tensor, passages: torch.Tensor, pairs: Pairs, *, with_nothing: bool
    ) -> torch.Tensor:
        cosines = questions.float() @ passages.float().T
        same = torch.tensor(
            [[a == b and i != j for j, b in enumerate(pairs.passages)] for i, a in enumerate(pairs.passages)],
            device=self._device,
        )
        cosines = torch.cat(
            [cosines[: pairs.pairs].masked_fill(same[: pairs.pairs], -1.0), cosines[pairs.pairs :]]
        )
        wanted = torch.arange(pairs.pairs, device=self._device)
        scores = cosines / TEMPERATURE
        if not with_nothing:
            answered = functional.cross_entropy(scores, wanted)
            back = functional.cross_entropy(scores[:, : pairs.pairs].T, wanted)
            return (answered + back) / 2
        none = (self.nothing / TEMPERATURE).expand(len(scores), 1)
        wanted = torch.cat(
            [wanted, torch.full((len(scores) - pairs.pairs,), scores.shape[1], device=self._device)]
        )
        return functional.cross_entropy(torch.cat([scores, none], dim=1), wanted)

    def _pooled(self, sequences: list[list[int]]) -> torch.Tensor:
        """Unit vectors of the sequences, those of like length read together, which saves padding."""
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        size = -(-len(order) // GROUPS)
        parts = [
            self._read([sequences[i] for i in order[at : at + size]]) for at in range(0, len(order), size)
        ]
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back.to(self._device)]

    def _read(self, sequences: list[list[int]]) -> torch.Tensor:
        width = -(-max(map(len, sequences)) // ALIGNED) * ALIGNED
        ids = np.full((len(sequences), width), PAD, dtype=np.int64)
        for index, sequence in enumerate(sequences):
            ids[index, : len(sequence)] = sequence
        lengths = np.array([len(sequence) for sequence in sequences])
        mask = torch.from_numpy(np.arange(width)[None] < lengths[:, None]).to(self._device)
        return self.model(self._table(ids), mask)

    def _loss(self, task: str, rows: Sequence[Row], pooled: torch.Tensor, owners: list[int]) -> torch.Tensor:
        weights = torch.tensor([row["weight"] for row in rows], device=self._device)
        if task == "message":
            return self._message_loss(rows, pooled, self.model.head("triage", pooled), weights)
        if task == "answer":
            return self._answer_loss(rows, self.model.head("review", pooled), owners, weights)
        if task == "request":
            kinds = [self._names["kinds"].index(row["label"]) for row in rows]
            each = functional.cross_entropy(
                self.model.head("input", pooled),
                torch.tensor(kinds, device=self._device),
                reduction="none",
                label_smoothing=SMOOTHING,
            )
            return (each * weights).sum() / weights.sum()
        wanted = torch.tensor([float(row["label"]) for row in rows], device=self._device)
        each = functional.binary_cross_entropy_with_logits(
            self.model.head("claim", pooled)[:, 0].float(), wanted, reduction="none"
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
                self.model.head("category", pooled[named]).float(),
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

    def save(self, folder: Path) -> None:
        """Write the mean of the weights to `folder`, as the service reads them and as `merge.py` does."""
        self.model.load_state_dict(self._mean)
        heads = {
            name: (head.weight.detach().float().cpu().numpy(), head.bias.detach().float().cpu().numpy())
            for name, head in self.model.heads.items()
            if name in reader.HEADS
        }
        folder.mkdir(parents=True, exist_ok=True)
        weights = self.model.weights()
        save_run(folder, weights, heads, self._names["codes"])
        changes.save(folder / changes.FILE.name, weights)
        reader.save(folder / reader.READER_FILE.name, heads, self._names["codes"])


def read_data(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """The names of the labels, and the rows."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        names = json.loads(file.readline())
        return names, [json.loads(line) for line in file]


def train(
    data: Path, out: Path, *, limit_s: float, most_steps: int | None, rate: float, seed: int, device: str
) -> int:
    """Train for `limit_s` seconds or `most_steps`, write to `out`, return the number of steps."""
    torch.manual_seed(seed)
    names, rows = read_data(data)
    trainer = Trainer(names, Mixture(rows, names["starts"], seed), rate, device)
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
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, default=270.0)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--rate", type=float, default=2.5e-4)
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
