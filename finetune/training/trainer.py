"""The supervised trainer: trl's, with the passes of `batches.py` and an optional tie to the base model.

Owns the loss of a step, the validation loss, and nothing of the loop around them, which is transformers' own.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from trl import SFTTrainer

from finetune.training.batches import count_learnt
from finetune.training.encoding import IGNORED


class AdapterTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains on {"passes": […]} batches; `kl_weight` ties the answers' distributions to those of the base."""

    kl_weight: float = 0.0
    tokens_seen: int = 0
    control: Any

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One optimizer step's examples: every pass adds its share of the mean over all answer tokens."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        items = self.accelerator.gather(sum(count_learnt(one) for one in inputs["passes"])).sum().clamp(min=1)
        total = torch.zeros((), device=self.args.device)
        for one in inputs["passes"]:
            with self.compute_loss_context_manager():
                loss = self._pass_loss(model, one) * self.accelerator.num_processes / items
            self.accelerator.backward(loss)
            total += loss.detach()
            self.tokens_seen += one["input_ids"].numel()
        return total

    def _pass_loss(self, model: Any, one: dict[str, torch.Tensor]) -> torch.Tensor:
        """Summed negative log-likelihood of the answer tokens, plus the weighted divergence from the base."""
        loss = -model(**one, fused_lm_head=True).log_probs.sum()
        if self.kl_weight:
            loss = loss + self.kl_weight * self._divergence(model, one)
        return loss

    def _divergence(self, model: Any, one: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum over the answer tokens of KL(base || adapted); the base is the adapter switched off."""
        learnt = one["labels"][:, 1:] != IGNORED
        inputs = {key: value for key, value in one.items() if key != "labels"}
        bare = self.accelerator.unwrap_model(model)
        with torch.no_grad(), bare.disable_adapter():
            base = bare(**inputs).logits[:, :-1][learnt].float().log_softmax(-1)
        adapted = model(**inputs).logits[:, :-1][learnt].float().log_softmax(-1)
        return torch.nn.functional.kl_div(adapted, base, reduction="sum", log_target=True)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Mean negative log-likelihood over all answer tokens of the validation set, without the tie to the base."""
        started = time.perf_counter()
        model = self.model
        model.eval()
        summed = torch.zeros((), device=self.args.device, dtype=torch.float64)
        items = torch.zeros((), device=self.args.device, dtype=torch.long)
        for batch in self.get_eval_dataloader(eval_dataset):
            for one in self._prepare_inputs(batch)["passes"]:
                with torch.no_grad(), self.compute_loss_context_manager():
                    summed += -model(**one, fused_lm_head=True).log_probs.sum().double()
                items += count_learnt(one)
        model.train()
        loss = float(summed / items.clamp(min=1))
        metrics = {
            f"{metric_key_prefix}_loss": loss,
            f"{metric_key_prefix}_runtime": time.perf_counter() - started,
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log without trl's own running metrics, which this loss does not collect."""
        super(SFTTrainer, self).log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save without trl's model card in every checkpoint; the exported adapter carries one."""
        super(SFTTrainer, self)._save_checkpoint(model, trial)
