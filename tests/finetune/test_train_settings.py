"""What an engineer writes in a run file or on the command line, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.training.config import (
    SEVEN_PROJECTIONS,
    Checkpointing,
    Method,
    TrainSettings,
    load_settings,
    parse_overrides,
    vllm_limits,
)
from finetune.training.errors import DoesNotFit, SettingsError
from finetune.training.memory import GIB, Shape, estimate, plan

RUNS = Path(__file__).parents[2] / "finetune" / "runs"
QWEN_7B = Shape(28, 3584, 18944, 3584, 512, 152064, tied=False)
QWEN_72B = Shape(80, 8192, 29568, 8192, 1024, 152064, tied=False)
BASE = {"model_name_or_path": "base", "data_path": "train.jsonl", "output_dir": "out"}


def settings(**changes: object) -> TrainSettings:
    return TrainSettings.model_validate({**BASE, **changes})


def test_the_departments_recipes_are_what_the_departments_use() -> None:
    found = {path.stem: load_settings(path, {}) for path in RUNS.glob("*.toml")}
    assert set(found) == {"cardiology", "allergy", "stroke_rehab", "general_reasoning"}
    heart = found["cardiology"]
    assert (heart.lora_r, heart.lora_alpha, heart.lora_dropout) == (16, 32, 0.05)
    assert heart.target_modules == SEVEN_PROJECTIONS
    allergy = found["allergy"]
    assert (allergy.lora_r, allergy.lora_alpha, allergy.lora_dropout, allergy.learning_rate) == (
        4,
        8,
        0.1,
        2e-4,
    )
    assert (allergy.examples_per_step, allergy.max_length, allergy.num_train_epochs) == (16, 256, 1)
    assert (allergy.optim, allergy.lr_scheduler_type) == ("paged_adamw_8bit", "linear")
    stroke = found["stroke_rehab"]
    assert (stroke.method, stroke.max_steps) == (Method.QLORA, 20)
    general = found["general_reasoning"]
    assert (general.lora_r, general.lora_alpha, general.max_length, general.think) == (32, 32, 8192, "keep")
    assert (general.gradient_accumulation_steps, general.num_train_epochs) == (8, 3)


def test_the_command_line_says_the_same_as_a_run_file_and_wins_over_it(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('model_name_or_path = "base"\ndata_path = "a.jsonl"\noutput_dir = "out"\nlora_r = 8\n')
    given = parse_overrides(
        ["--lora_r", "16", "--data-path", "b.jsonl,c.jsonl", "--use_rslora", "--max_steps=5"]
    )
    found = load_settings(file, given)
    assert (found.lora_r, found.use_rslora, found.max_steps) == (16, True, 5)
    assert found.data_path == (Path("b.jsonl"), Path("c.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lora_rr", "3"], "--lora_r"),
        (["16"], "unexpected"),
        (
            ["--lora_r", "zero", "--model_name_or_path", "b", "--data_path", "d", "--output_dir", "o"],
            "lora_r",
        ),
        (["--model_name_or_path", "b"], "data_path"),
    ],
)
def test_what_cannot_be_a_setting_is_named(arguments: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(None, parse_overrides(arguments))


def test_a_run_file_with_an_unknown_name_is_refused_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('model_name_or_path = "b"\ndata_path = "d"\noutput_dir = "o"\nlerning_rate = 1.0\n')
    with pytest.raises(SettingsError, match="lerning_rate") as caught:
        load_settings(file, {})
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "servable"),
    [({}, True), ({"use_rslora": True}, True), ({"use_dora": True}, False), ({"lora_r": 128}, False)],
)
def test_what_vllm_cannot_load_is_known_before_training(changes: dict[str, object], servable: bool) -> None:
    assert (vllm_limits(settings(**changes)) == []) is servable


def test_seven_billion_parameters_fit_a_24_gib_card_and_72_do_not() -> None:
    fits = plan(QWEN_7B, settings(), 22 * GIB)
    assert 5 * GIB < fits.total <= 22 * GIB
    with pytest.raises(DoesNotFit, match=r"needs .* GiB"):
        plan(QWEN_72B, settings(), 22 * GIB)


def test_less_memory_means_more_recomputed_layers_and_then_a_refusal_that_says_what_would_do() -> None:
    run = settings(max_length=4096, micro_batch_tokens=4096)
    recomputed = [plan(QWEN_7B, run, free * GIB).checkpointed for free in (40, 16, 11)]
    assert recomputed == sorted(recomputed)
    assert recomputed[0] < recomputed[-1]
    with pytest.raises(DoesNotFit, match="--method qlora"):
        plan(QWEN_7B, settings(method=Method.LORA), 12 * GIB)


def test_the_estimate_holds_what_was_measured_on_an_h100() -> None:
    """Peaks measured with `benchmarks/qlora.py`: 9.29 GiB at 1,024 tokens, all activations kept."""
    run = settings(prompt="plain", max_length=1024, gradient_accumulation_steps=1, micro_batch_tokens=1024)
    found = estimate(QWEN_7B, run, 0)
    assert 9.29 * GIB <= found.total <= 1.25 * 9.29 * GIB


def test_all_or_no_recomputation_can_be_demanded() -> None:
    assert plan(QWEN_7B, settings(gradient_checkpointing=Checkpointing.ALL), 80 * GIB).checkpointed == 28
    with pytest.raises(DoesNotFit, match="gradient_checkpointing auto"):
        plan(QWEN_7B, settings(gradient_checkpointing=Checkpointing.NONE, max_length=8192), 16 * GIB)
