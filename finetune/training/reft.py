"""ReFT: low-rank edits of hidden states at the last prompt token, through pyreft where it is installed.

Owns the bridge to pyreft. What it trains cannot be served by vLLM, so `publish` refuses it; it is for experiments on
very small data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.training import ledger, sft
from finetune.training import run as runs
from finetune.training.config import Method, TrainSettings
from finetune.training.dataset import encode_records, load_records, training_files
from finetune.training.encoding import IGNORED, ChatEncoder, Encoded
from finetune.training.errors import MissingPackage
from finetune.training.guards import checkpoint_to_resume
from finetune.training.model import load_base, load_config, load_tokenizer
from finetune.training.templates import training_template


def train_reft(settings: TrainSettings) -> Path:
    """Train interventions of rank `lora_r` on `reft_layers` (default: the middle layer); the folder they are in.

    Raises:
        MissingPackage: pyreft is not installed.
    """
    pyreft = _pyreft()
    meter = ledger.Meter()
    tokenizer = load_tokenizer(settings.model_name_or_path)
    config = load_config(settings.model_name_or_path)
    loaded = load_records(training_files(settings.data_path))
    encoder = ChatEncoder(tokenizer, training_template(tokenizer, settings.chat_template))
    examples = encode_records(loaded.records, encoder, settings)
    metadata = runs.metadata_of(settings, config, tokenizer, dict(loaded.hashes), demo=loaded.demo)
    checkpoint_to_resume(settings.output_dir, metadata, resume=False)
    _, on_gpu = runs.memory_plan(settings, config)
    with runs.translated(settings):
        base = load_base(
            settings.model_copy(update={"method": Method.LORA}), bf16=sft.bf16(settings, on_gpu=on_gpu)
        )
        model = _with_interventions(pyreft, base, settings, config)
        trainer = _trainer(pyreft, model, tokenizer, settings, examples.encoded, on_gpu=on_gpu)
        result = trainer.train()
        folder = _save(settings, model, metadata)
    run = runs.describe(settings, metadata, trainer, meter) | {
        "examples": len(examples.encoded),
        "tokens": sum(len(example.input_ids) for example in examples.encoded),
        "train_loss": result.training_loss,
        "too_long": list(examples.too_long),
    }
    runs.finish(settings.output_dir, run)
    return folder


def _pyreft() -> Any:
    try:
        import pyreft
    except ImportError as error:
        raise MissingPackage(f"objective reft needs the package pyreft ({error})") from error
    return pyreft


def _with_interventions(pyreft: Any, base: Any, settings: TrainSettings, config: Any) -> Any:
    layers = settings.reft_layers if settings.reft_layers else (config.num_hidden_layers // 2,)
    representations = [
        {
            "layer": layer,
            "component": "block_output",
            "low_rank_dimension": settings.lora_r,
            "intervention": pyreft.LoreftIntervention(
                embed_dim=config.hidden_size, low_rank_dimension=settings.lora_r, dtype=base.dtype
            ),
        }
        for layer in layers
    ]
    model = pyreft.get_reft_model(base, pyreft.ReftConfig(representations=representations))
    model.set_device(base.device)
    return model


def _trainer(
    pyreft: Any,
    model: Any,
    tokenizer: Any,
    settings: TrainSettings,
    examples: Sequence[Encoded],
    *,
    on_gpu: bool,
) -> Any:
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, TrainingArguments

    arguments = sft.common_arguments(
        settings, sft.steps_of(settings, len(examples)), evaluates=False, on_gpu=on_gpu
    )
    arguments |= {
        "per_device_train_batch_size": settings.per_device_train_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "save_strategy": "no",
    }
    count = len(model.interventions)
    columns = {
        "input_ids": [list(example.input_ids) for example in examples],
        "labels": [list(example.labels) for example in examples],
        "intervention_locations": [[[_last_prompt_token(example)]] * count for example in examples],
    }
    inner = DataCollatorForSeq2Seq(tokenizer, model=None, label_pad_token_id=IGNORED, padding="longest")

    class CurrentReftTrainer(pyreft.ReftTrainerForCausalLM):  # type: ignore[misc]
        """pyreft's trainer with the arguments that newer transformers pass."""

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            return super().compute_loss(model, inputs, return_outputs)

    return CurrentReftTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=Dataset.from_dict(columns),
        data_collator=pyreft.ReftDataCollator(data_collator=inner),
        callbacks=sft.callbacks(settings, evaluates=False),
    )


def _last_prompt_token(example: Encoded) -> int:
    first = next(index for index, label in enumerate(example.labels) if label != IGNORED)
    return max(0, first - 1)


def _save(settings: TrainSettings, model: Any, metadata: dict[str, Any]) -> Path:
    folder = settings.output_dir / "adapter"
    part = settings.output_dir / "adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    model.save(save_directory=str(part))
    (part / "anxin.json").write_text(json.dumps(metadata, ensure_ascii=False, indent=2), encoding="utf-8")
    part.replace(folder)
    return folder
