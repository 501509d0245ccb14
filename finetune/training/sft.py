"""Supervised training: builds the trainer from settings, model and examples.

Owns the translation of our settings into trl's. Who calls it, saves and reports is `run.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.training.batches import Grouping
from finetune.training.config import Method, TrainSettings
from finetune.training.encoding import Encoded
from finetune.training.fused import fuse
from finetune.training.guards import NumbersGuard
from finetune.training.memory import Estimate
from finetune.training.model import adapter_config, checkpoint_layers


@dataclass(frozen=True, slots=True)
class Steps:
    """How long a run is and how often it looks up."""

    total: int
    evaluate: int
    save: int


def steps_of(settings: TrainSettings, examples: int) -> Steps:
    """Optimizer steps of the run, between evaluations and between checkpoints (a multiple of the former)."""
    an_epoch = math.ceil(examples / settings.examples_per_step)
    total = settings.max_steps if settings.max_steps > 0 else math.ceil(an_epoch * settings.num_train_epochs)
    evaluate = settings.eval_steps if settings.eval_steps else max(1, total // 10)
    save = settings.save_steps if settings.save_steps else evaluate
    return Steps(total, evaluate, math.ceil(save / evaluate) * evaluate)


def common_arguments(
    settings: TrainSettings, steps: Steps, *, evaluates: bool, on_gpu: bool
) -> dict[str, Any]:
    """The part of the trainer's arguments that all objectives share."""
    return {
        "output_dir": str(settings.output_dir),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.lr_scheduler_type,
        "warmup_steps": math.ceil(settings.warmup_ratio * steps.total),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": settings.optim if on_gpu else "adamw_torch",
        "num_train_epochs": settings.num_train_epochs,
        "max_steps": settings.max_steps,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "bf16": bf16(settings, on_gpu=on_gpu),
        "use_cpu": not on_gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": steps.evaluate,
        "save_strategy": "steps",
        "save_steps": steps.save,
        "save_total_limit": settings.save_total_limit,
        "load_best_model_at_end": evaluates,
        "metric_for_best_model": "eval_loss" if evaluates else None,
        "greater_is_better": False if evaluates else None,
        "report_to": list(settings.report_to) if settings.report_to else "none",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
    }


def bf16(settings: TrainSettings, *, on_gpu: bool) -> bool:
    if settings.bf16 is not None:
        return settings.bf16
    import torch

    return on_gpu and torch.cuda.is_bf16_supported()


def callbacks(settings: TrainSettings, *, evaluates: bool) -> list[Any]:
    from transformers import EarlyStoppingCallback

    found: list[Any] = [NumbersGuard(settings.max_grad_norm_seen)]
    if evaluates and settings.early_stopping_patience:
        found.append(EarlyStoppingCallback(settings.early_stopping_patience))
    return found


def rows(examples: Sequence[Encoded]) -> Any:
    from datasets import Dataset

    columns = {
        "input_ids": [list(e.input_ids) for e in examples],
        "labels": [list(e.labels) for e in examples],
    }
    return Dataset.from_dict(columns)


def build(
    settings: TrainSettings,
    model: Any,
    tokenizer: Any,
    train: Sequence[Encoded],
    evaluation: Sequence[Encoded],
    planned: Estimate,
    *,
    on_gpu: bool,
    extra: dict[str, Any] | None = None,
) -> Any:
    """A trainer ready to `train()`; `extra` overrides arguments (benchmarks measure without checkpoints)."""
    from trl import SFTConfig

    from finetune.training.trainer import AdapterTrainer

    evaluates = bool(evaluation)
    arguments = common_arguments(settings, steps_of(settings, len(train)), evaluates=evaluates, on_gpu=on_gpu)
    arguments |= {
        "per_device_train_batch_size": settings.examples_per_step,
        "per_device_eval_batch_size": settings.examples_per_step,
        "gradient_accumulation_steps": 1,
        "max_length": None,
        "use_liger_kernel": settings.liger,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    arguments |= extra if extra is not None else {}
    budget = max(settings.micro_batch_tokens, 0)
    trainer = AdapterTrainer(
        model=model,
        args=SFTConfig(**arguments),
        data_collator=Grouping(budget, tokenizer.pad_token_id, settings.packing),
        train_dataset=rows(train),
        eval_dataset=rows(evaluation) if evaluates else None,
        processing_class=tokenizer,
        peft_config=adapter_config(settings),
        callbacks=callbacks(settings, evaluates=evaluates),
    )
    trainer.kl_weight = settings.kl_weight
    checkpoint_layers(trainer.model, settings, planned)
    if settings.fused and settings.method is not Method.FULL:
        fuse(trainer.model)
    return trainer


def folder_of(settings: TrainSettings) -> Path:
    """Where the finished weights go: an adapter, or a whole model."""
    return settings.output_dir / ("model" if settings.method is Method.FULL else "adapter")
