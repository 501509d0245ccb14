"""Learning from preference pairs: DPO for the answering model, and a reward model that scores answers.

Owns the encoding of pairs and the two trainers. The gate, the plan, checkpoints and the record are those of `run.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.formats import Located
from finetune.training import ledger, sft
from finetune.training import run as runs
from finetune.training.config import Objective, TrainSettings
from finetune.training.dataset import conversation, load_records, training_files, validation_files
from finetune.training.encoding import ChatEncoder
from finetune.training.errors import DataRefused
from finetune.training.guards import WholeCheckpoints, checkpoint_to_resume
from finetune.training.model import adapter_config, checkpoint_layers, load_base, load_config, load_tokenizer
from finetune.training.templates import training_template


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids of the conversation before the answer, of the better and of the worse answer."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


def encode_pair(item: Located, encoder: ChatEncoder, settings: TrainSettings) -> Pair:
    """Raises DataRefused when the record is no preference pair, or its two answers are the same."""
    record = item.record
    place = f"{item.file}:{item.line}"
    if record is None or record.rejected is None:
        raise DataRefused(f"{place}: not a preference pair (prompt, chosen, rejected)")
    if record.answer.strip() == record.rejected.strip():
        raise DataRefused(f"{place}: same_answers: the chosen and the rejected answer are the same")
    messages = conversation(record, settings)
    prompt = encoder.prompt(messages[:-1])
    answers = []
    for text in (messages[-1]["content"], record.rejected.strip()):
        whole = encoder.example([*messages[:-1], {"role": "assistant", "content": text}]).input_ids
        answers.append(tuple(whole[_shared(prompt, whole) :]))
    return Pair(tuple(prompt), answers[0], answers[1])


def _shared(prompt: Sequence[int], whole: Sequence[int]) -> int:
    count = 0
    for left, right in zip(prompt, whole, strict=False):
        if left != right:
            break
        count += 1
    return count


def train_preference(settings: TrainSettings) -> Path:
    """DPO or a reward model from preference pairs; the folder of the finished weights."""
    meter = ledger.Meter()
    tokenizer = load_tokenizer(settings.model_name_or_path)
    config = load_config(settings.model_name_or_path)
    encoder = ChatEncoder(tokenizer, training_template(tokenizer, settings.chat_template))
    loaded = load_records(training_files(settings.data_path))
    pairs, too_long = _pairs(loaded.records, encoder, settings)
    files = validation_files(settings.eval_path, settings.data_path)
    held_out = load_records(files) if files else None
    evaluation = [] if held_out is None else _pairs(held_out.records, encoder, settings)[0]
    hashes = dict(loaded.hashes)
    if held_out is not None:
        hashes |= {f"validation {name}": value for name, value in held_out.hashes.items()}
    metadata = runs.metadata_of(settings, config, tokenizer, hashes, demo=loaded.demo)
    checkpoint = checkpoint_to_resume(settings.output_dir, metadata, resume=settings.resume)
    planned, on_gpu = runs.memory_plan(settings, config)
    runs.enough_disk(settings.output_dir)
    with runs.translated(settings):
        model = load_base(settings, bf16=sft.bf16(settings, on_gpu=on_gpu))
        trainer = _trainer(settings, model, tokenizer, pairs, evaluation, on_gpu=on_gpu)
        checkpoint_layers(trainer.model, settings, planned)
        trainer.add_callback(WholeCheckpoints(metadata))
        result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        folder = runs.save(settings, trainer, tokenizer, metadata)
    run = runs.describe(settings, metadata, trainer, meter) | {
        "examples": len(pairs),
        "tokens": sum(len(pair.prompt) * 2 + len(pair.chosen) + len(pair.rejected) for pair in pairs),
        "train_loss": result.training_loss,
        "too_long": too_long,
        "memory_plan": str(planned),
    }
    runs.finish(settings.output_dir, run)
    return folder


def _pairs(
    records: Sequence[Located], encoder: ChatEncoder, settings: TrainSettings
) -> tuple[list[Pair], list[str]]:
    kept: list[Pair] = []
    too_long: list[str] = []
    for item in records:
        pair = encode_pair(item, encoder, settings)
        longest = len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
        if longest > settings.row_tokens:
            too_long.append(f"{item.file}:{item.line} ({longest} tokens)")
        else:
            kept.append(pair)
    if not kept:
        raise DataRefused(f"every pair is longer than max_length={settings.max_length}")
    return kept, too_long


def _trainer(
    settings: TrainSettings,
    model: Any,
    tokenizer: Any,
    pairs: list[Pair],
    evaluation: list[Pair],
    *,
    on_gpu: bool,
) -> Any:
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    class EncodedDPOTrainer(DPOTrainer):  # type: ignore[misc]
        """Takes pairs that are already token ids: encoded safely, with our own template."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    evaluates = bool(evaluation)
    steps = sft.steps_of(settings, len(pairs))
    arguments = sft.common_arguments(settings, steps, evaluates=evaluates, on_gpu=on_gpu) | {
        "per_device_train_batch_size": settings.per_device_train_batch_size,
        "per_device_eval_batch_size": settings.per_device_train_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "max_length": settings.row_tokens,
    }
    shared = {
        "model": model,
        "processing_class": tokenizer,
        "peft_config": adapter_config(settings),
        "callbacks": sft.callbacks(settings, evaluates=evaluates),
    }
    if settings.objective is Objective.DPO:
        columns = _columns(pairs), _columns(evaluation)
        trainer: Any = EncodedDPOTrainer(
            args=DPOConfig(beta=settings.dpo_beta, **arguments),
            train_dataset=columns[0],
            eval_dataset=columns[1] if evaluates else None,
            **shared,
        )
        return trainer
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardTrainer(
        args=RewardConfig(**arguments),
        train_dataset=_whole(pairs),
        eval_dataset=_whole(evaluation) if evaluates else None,
        **shared,
    )


def _columns(pairs: Sequence[Pair]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "prompt_ids": [list(pair.prompt) for pair in pairs],
            "chosen_ids": [list(pair.chosen) for pair in pairs],
            "rejected_ids": [list(pair.rejected) for pair in pairs],
        }
    )


def _whole(pairs: Sequence[Pair]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "chosen_ids": [[*pair.prompt, *pair.chosen] for pair in pairs],
            "rejected_ids": [[*pair.prompt, *pair.rejected] for pair in pairs],
        }
    )
