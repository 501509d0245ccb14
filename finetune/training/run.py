"""One training run from settings to a finished adapter with its record; the only module that knows the order.

records -> gate -> tokens -> memory plan -> model -> trainer -> (resume) train -> save -> run.json, report.html
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.chat.prompts import VERSION as PROMPT_VERSION
from finetune.training import ledger, sft
from finetune.training.config import Objective, TrainSettings, vllm_limits
from finetune.training.dataset import (
    Examples,
    Loaded,
    encode_records,
    load_records,
    training_files,
    validation_files,
    with_replay,
)
from finetune.training.encoding import ChatEncoder
from finetune.training.errors import DoesNotFit, TrainingFailed
from finetune.training.guards import WholeCheckpoints, checkpoint_to_resume
from finetune.training.memory import Estimate, free_memory, plan, shape_of
from finetune.training.model import fingerprint, load_base, load_config, load_tokenizer
from finetune.training.report import write_report
from finetune.training.templates import training_template

MIN_DISK_BYTES = 200 * 2**20
# How safetensors and torch.save report a full disk.
FULL_DISK_WORDS = (
    "No space left",
    "os error 28",
    "PytorchStreamWriter failed",
    "iostream error",
    "unexpected pos",
)


def train(settings: TrainSettings) -> Path:
    """Run what the settings say; the folder of the finished weights.

    Raises:
        FinetuneError: every foreseeable failure, with what to do about it; checkpoints stay and a new start resumes.
    """
    if settings.objective in (Objective.DPO, Objective.REWARD):
        from finetune.training.preference import train_preference

        return train_preference(settings)
    if settings.objective is Objective.REFT:
        from finetune.training.reft import train_reft

        return train_reft(settings)
    return train_supervised(settings)


def dry_run(settings: TrainSettings) -> str:
    """What a run would do, without loading the weights: examples, steps, memory. Raises as `train` would."""
    tokenizer = load_tokenizer(settings.model_name_or_path)
    config = load_config(settings.model_name_or_path)
    loaded = load_records(training_files(settings.data_path))
    encoder = ChatEncoder(tokenizer, training_template(tokenizer, settings.chat_template))
    examples = encode_records(loaded.records, encoder, settings)
    planned, _ = memory_plan(settings, config)
    steps = sft.steps_of(settings, len(examples.encoded))
    tokens = sum(len(example.input_ids) for example in examples.encoded)
    return (
        f"{len(examples.encoded)} examples ({tokens} tokens, {len(examples.too_long)} left out as too long), "
        f"{steps.total} steps of {settings.examples_per_step}; memory {planned}"
    )


def train_supervised(settings: TrainSettings) -> Path:
    """SFT and sequence-level distillation (the teacher's reviewed answers are the records)."""
    meter = ledger.Meter()
    tokenizer = load_tokenizer(settings.model_name_or_path)
    config = load_config(settings.model_name_or_path)
    loaded = load_records(training_files(settings.data_path))
    encoder = ChatEncoder(tokenizer, training_template(tokenizer, settings.chat_template))
    examples, evaluation, hashes = _examples(settings, loaded, encoder)
    metadata = metadata_of(settings, config, tokenizer, hashes, demo=loaded.demo)
    checkpoint = checkpoint_to_resume(settings.output_dir, metadata, resume=settings.resume)
    planned, on_gpu = memory_plan(settings, config)
    enough_disk(settings.output_dir)
    with translated(settings):
        model = load_base(settings, bf16=sft.bf16(settings, on_gpu=on_gpu))
        encoded = evaluation.encoded if evaluation is not None else ()
        trainer = sft.build(settings, model, tokenizer, examples.encoded, encoded, planned, on_gpu=on_gpu)
        trainer.add_callback(WholeCheckpoints(metadata))
        result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        folder = save(settings, trainer, tokenizer, metadata)
    run = describe(settings, metadata, trainer, meter) | {
        "examples": len(examples.encoded),
        "tokens": trainer.tokens_seen,
        "train_loss": result.training_loss,
        "too_long": list(examples.too_long),
        "memory_plan": str(planned),
    }
    finish(settings.output_dir, run)
    return folder


def _examples(
    settings: TrainSettings, loaded: Loaded, encoder: ChatEncoder
) -> tuple[Examples, Examples | None, dict[str, str]]:
    examples = encode_records(loaded.records, encoder, settings)
    hashes = dict(loaded.hashes)
    if settings.replay_ratio:
        general = load_records(settings.replay_path)
        hashes |= {f"replay {name}": value for name, value in general.hashes.items()}
        replay = encode_records(general.records, encoder, settings)
        examples = with_replay(examples, replay, settings.replay_ratio, settings.seed)
    files = validation_files(settings.eval_path, settings.data_path)
    if not files:
        return examples, None, hashes
    held_out = load_records(files)
    hashes |= {f"validation {name}": value for name, value in held_out.hashes.items()}
    return examples, encode_records(held_out.records, encoder, settings), hashes


def memory_plan(settings: TrainSettings, config: Any) -> tuple[Estimate, bool]:
    """The plan that fits the device, and whether that is a GPU. Raises DoesNotFit."""
    free, on_gpu = free_memory(settings.memory_limit_gib)
    return plan(shape_of(config), settings, free, on_gpu=on_gpu), on_gpu


def metadata_of(
    settings: TrainSettings, config: Any, tokenizer: Any, hashes: Mapping[str, str], *, demo: bool
) -> dict[str, Any]:
    """What travels beside the weights as `anxin.json`; the registry reads `demo`, `base_fingerprint`, `refusals`."""
    template = tokenizer.chat_template
    return {
        "format": 1,
        "base": settings.model_name_or_path,
        "base_fingerprint": fingerprint(config, tokenizer),
        "department": settings.department,
        "audience": settings.audience,
        "objective": str(settings.objective),
        "method": str(settings.method),
        "rank": settings.lora_r,
        "demo": demo,
        "refusals": vllm_limits(settings),
        "prompt_version": PROMPT_VERSION if settings.prompt == "service" else None,
        "template_sha256": None if template is None else hashlib.sha256(template.encode()).hexdigest(),
        "data": dict(hashes),
        "settings_hash": ledger.settings_hash(settings),
        "code": ledger.code_version(),
    }


def save(settings: TrainSettings, trainer: Any, tokenizer: Any, metadata: Mapping[str, Any]) -> Path:
    """The finished weights, complete or not at all: written beside and renamed."""
    folder = sft.folder_of(settings)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    trainer.save_model(str(part))
    for leftover in ("training_args.bin", "README.md"):
        (part / leftover).unlink(missing_ok=True)
    tokenizer.save_pretrained(part)
    (part / "anxin.json").write_text(
        json.dumps(dict(metadata), ensure_ascii=False, indent=2), encoding="utf-8"
    )
    part.replace(folder)
    return folder


def describe(
    settings: TrainSettings, metadata: Mapping[str, Any], trainer: Any, meter: ledger.Meter
) -> dict[str, Any]:
    history = list(trainer.state.log_history)
    losses = [row["eval_loss"] for row in history if "eval_loss" in row]
    return {
        **{
            key: metadata[key]
            for key in ("base", "base_fingerprint", "objective", "method", "demo", "data", "code")
        },
        "department": settings.department,
        "settings": settings.model_dump(mode="json"),
        "settings_hash": metadata["settings_hash"],
        "started_at": meter.started_at,
        **meter.read(),
        "steps": trainer.state.global_step,
        "best_eval_loss": min(losses) if losses else None,
        "versions": ledger.versions(),
        "hardware": ledger.hardware(),
        "history": history,
    }


def finish(folder: Path, run: Mapping[str, Any]) -> None:
    ledger.write_run(folder, run)
    write_report(folder, run)


def enough_disk(folder: Path) -> None:
    """Raises TrainingFailed when there is no room for even a small checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < MIN_DISK_BYTES:
        raise TrainingFailed(f"{folder}: only {free // 2**20} MiB of disk are free; nothing was started")


@contextlib.contextmanager
def translated(settings: TrainSettings) -> Iterator[None]:
    """Foreign failures as our own, each with the way on."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        smaller = max(256, settings.micro_batch_tokens // 2)
        raise DoesNotFit(
            f"out of memory ({str(error).splitlines()[0]}). Lower --memory_limit_gib or take --micro_batch_tokens "
            f"{smaller}, then start again: it goes on from the last checkpoint."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TrainingFailed(_full(settings)) from error
        raise
    except RuntimeError as error:
        if any(words in str(error) for words in FULL_DISK_WORDS):
            raise TrainingFailed(_full(settings)) from error
        raise


def _full(settings: TrainSettings) -> str:
    return (
        f"the disk of {settings.output_dir} is full. Free some room and start again: it goes on from the last whole "
        "checkpoint; finished files were not touched."
    )
