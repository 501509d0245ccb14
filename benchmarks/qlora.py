"""QLoRA speed, memory and loss curve of this project against plain trl with its defaults, in the same run.

A Qwen2.5-7B-shaped model with random weights is written once (15 GB; speed depends on shapes, not on values), loaded
in nf4 and trained at batch 1 with rank 16 on all seven projections. Every measurement is a process of its own.

    python benchmarks/qlora.py --shape 7b --folder /var/tmp/qlora --json qlora.json      # one 24 GB card or more
    python benchmarks/qlora.py --shape tiny --folder /var/tmp/qlora-tiny --lengths 64,128 --steps 6   # a CPU dry run
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    "7b": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
    },
    "tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 128,
        "vocab_size": 512,
    },
}
MEMORY_LIMIT_GIB = 11.5
MOTIFS, MOTIF_TOKENS = 8, 64


def main() -> None:
    options = arguments()
    folder = Path(options.folder)
    if options.measure:
        print("RESULT " + json.dumps(measure(folder, json.loads(options.measure))), flush=True)
        return
    write_model(folder, options.shape)
    results = []
    for case in cases([int(length) for length in options.lengths.split(",")], options.steps):
        case["profile"] = options.profile and case["who"] == "ours" and not case.get("curve")
        results.append(run_case(folder, case))
        print(
            json.dumps(
                {key: value for key, value in results[-1].items() if key not in ("losses", "profile")}
            ),
            flush=True,
        )
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(summary(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="7b")
    parser.add_argument("--folder", required=True, help="where the random model is written")
    parser.add_argument("--lengths", default="1024,4096")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument(
        "--profile", action="store_true", help="keep where one step spends its time in the JSON"
    )
    parser.add_argument("--json", help="where the results go")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def cases(lengths: list[int], steps: int) -> list[dict[str, Any]]:
    """Speed at each length with dropout, the curves without it, and a step of four examples."""
    found = [
        {"who": who, "length": length, "steps": steps, "dropout": 0.05, "examples": 1}
        for length in lengths
        for who in ("plain", "ours")
    ]
    found += [
        {"who": who, "length": lengths[0], "steps": 2 * steps, "dropout": 0.0, "examples": 1, "curve": True}
        for who in ("plain", "ours")
    ]
    found += [
        {"who": who, "length": lengths[0], "steps": max(6, steps // 2), "dropout": 0.05, "examples": 4}
        for who in ("plain", "ours")
    ]
    return found


def run_case(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--folder", str(folder), "--measure", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return {**case, **json.loads(line[len("RESULT ") :])}
    return {**case, "error": (done.stderr or done.stdout)[-1500:]}


def write_model(folder: Path, shape: str) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    if (folder / "config.json").exists():
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = Qwen2Config(**SHAPES[shape], max_position_embeddings=32768, tie_word_embeddings=False)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    with torch.device(device):
        model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    torch.set_default_dtype(torch.float32)


def tokenizer() -> Any:
    """Only its padding id is used; the examples are token ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")


def examples(count: int, length: int, vocabulary: int) -> list[list[int]]:
    """Sequences that repeat one of a few motifs, so that there is something to learn."""
    source = random.Random(7)
    top = min(vocabulary, 4096)
    motifs = [[source.randrange(3, top) for _ in range(MOTIF_TOKENS)] for _ in range(MOTIFS)]
    return [(source.choice(motifs) * (length // MOTIF_TOKENS + 1))[:length] for _ in range(count)]


def measure(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())

    trainer, planned = (plain if case["who"] == "plain" else ours)(folder, case)
    clock = Clock()
    trainer.add_callback(clock)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    steps = sorted(after - before for before, after in zip(clock.times[2:], clock.times[3:], strict=False))
    median = steps[len(steps) // 2]
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    tokens = case["length"] * case["examples"]
    return {
        "step_s": round(median, 4),
        "tokens_per_s": round(tokens / median, 1),
        "peak_gib": round(peak, 2),
        "plan": planned,
        "losses": losses,
        "profile": profile(trainer) if case.get("profile") else None,
    }


def profile(trainer: Any) -> str:
    """Where one more step spends its time."""
    from torch.profiler import ProfilerActivity, profile

    batch = next(iter(trainer.get_train_dataloader()))
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        trainer.training_step(trainer.model, batch)
    averages = watched.key_averages()
    return "\n".join(
        averages.table(sort_by=key, row_limit=25, max_name_column_width=60)
        for key in ("self_cuda_time_total", "self_cpu_time_total")
    )


def arguments_of(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """What both trainers are given."""
    import torch

    return {
        "output_dir": str(folder / "out"),
        "max_steps": case["steps"],
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "logging_steps": 1 if case.get("curve") else 50,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "optim": "paged_adamw_8bit" if torch.cuda.is_available() else "adamw_torch",
        "seed": 42,
        "data_seed": 42,
    }


def plain(folder: Path, case: dict[str, Any]) -> tuple[Any, str]:
    """trl's SFTTrainer as its documentation has it, with gradient checkpointing, its default."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    compute = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    placed = {"device_map": {"": 0}} if torch.cuda.is_available() else {}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=compute, quantization_config=quantised, **placed
    )
    rows = examples((case["steps"] + 4) * case["examples"], case["length"], model.config.vocab_size)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer(),
        train_dataset=Dataset.from_dict({"input_ids": rows}),
        peft_config=LoraConfig(
            r=16,
            lora_alpha=32,
            lora_dropout=case["dropout"],
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            **arguments_of(folder, case),
            per_device_train_batch_size=1,
            gradient_accumulation_steps=case["examples"],
            max_length=case["length"],
            gradient_checkpointing=True,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
    )
    return trainer, "plain trl"


def ours(folder: Path, case: dict[str, Any]) -> tuple[Any, str]:
    import torch
    from transformers import AutoConfig

    from finetune.training import sft
    from finetune.training.config import TrainSettings
    from finetune.training.encoding import Encoded
    from finetune.training.memory import GIB, plan, shape_of
    from finetune.training.model import load_base

    on_gpu = torch.cuda.is_available()
    settings = TrainSettings(
        model_name_or_path=str(folder),
        data_path=(folder,),
        output_dir=folder / "out",
        lora_dropout=case["dropout"],
        prompt="plain",
        max_length=case["length"],
        gradient_accumulation_steps=case["examples"],
        micro_batch_tokens=case["length"] * min(2, case["examples"]),
    )
    planned = plan(
        shape_of(AutoConfig.from_pretrained(folder)), settings, int(MEMORY_LIMIT_GIB * GIB), on_gpu=on_gpu
    )
    torch.manual_seed(42)
    model = load_base(settings, bf16=on_gpu)
    rows = examples((case["steps"] + 4) * case["examples"], case["length"], model.config.vocab_size)
    encoded = [Encoded(tuple(row), tuple(row)) for row in rows]
    extra = arguments_of(folder, case) | {"warmup_steps": 0, "max_grad_norm": 1.0}
    return sft.build(settings, model, tokenizer(), encoded, (), planned, on_gpu=on_gpu, extra=extra), str(
        planned
    )


def summary(results: list[dict[str, Any]]) -> str:
    lines = [
        "",
        "| tokens | examples a step | plain tok/s | ours tok/s | ratio | plain GiB | ours GiB |",
        "|" + " --- |" * 7,
    ]
    good = [result for result in results if "error" not in result]
    for left in (result for result in good if result["who"] == "plain" and not result.get("curve")):
        for right in good:
            same = all(left[key] == right[key] for key in ("length", "examples"))
            if right["who"] == "ours" and same and not right.get("curve"):
                ratio = right["tokens_per_s"] / left["tokens_per_s"]
                cells = [left["length"], left["examples"], left["tokens_per_s"], right["tokens_per_s"]]
                cells += [f"{ratio:.2f}", left["peak_gib"], right["peak_gib"]]
                lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    curves = {result["who"]: result["losses"] for result in good if result.get("curve")}
    if len(curves) == 2:
        pairs = list(zip(curves["plain"], curves["ours"], strict=True))
        worst = max(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs)
        lines.append(
            f"\nloss curve without dropout, {len(pairs)} steps: plain {pairs[0][0]:.3f} -> {pairs[-1][0]:.3f}, "
            f"ours {pairs[0][1]:.3f} -> {pairs[-1][1]:.3f}, largest relative difference {worst:.2%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
