"""Training for real on a tiny Qwen2: what a run leaves, what stops it and what it goes on from."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from finetune.training.errors import BaseMismatch, DataRefused, DoesNotFit, SettingsError, TrainingFailed  # noqa: E402
from finetune.training.run import train, translated  # noqa: E402
from tests.finetune.tiny_run import PAIRS, settings, tiny_base  # noqa: E402
from tests.models.tiny import small_tokenizer, write_qwen2  # noqa: E402

pytestmark = pytest.mark.models
torch.set_num_threads(1)  # threads that wait for one another cost more than a tiny model gains
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models"))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"instruction": q, "input": "", "output": a, "department": "cardiology"} for q, a in PAIRS * 3]
    return write(tmp_path_factory.mktemp("data") / "train.jsonl", rows)


def losses(out: Path) -> list[float]:
    run = json.loads((out / "run.json").read_text())
    return [row["loss"] for row in run["history"] if "loss" in row]


def test_a_run_leaves_adapter_curve_and_a_record_of_itself(base: Path, data: Path, tmp_path: Path) -> None:
    folder = train(settings(base, data, tmp_path / "out", eval_path=data))
    assert (folder / "adapter_model.safetensors").is_file()
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["steps"] == 6
    assert run["best_eval_loss"] < run["history"][0]["loss"]
    assert set(run["data"]) == {"train.jsonl", "validation train.jsonl"}
    assert run["versions"]["torch"]
    assert run["settings"]["lora_r"] == 16
    assert (tmp_path / "out" / "loss.png").stat().st_size > 5000
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert json.loads((folder / "anxin.json").read_text())["demo"] is False
    assert (tmp_path / "ledger.jsonl").is_file()
    with pytest.raises(SettingsError, match="finished run"):
        train(settings(base, data, tmp_path / "out", eval_path=data))


SLOW = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from transformers import TrainerCallback
from finetune.training import guards, run
from finetune.training.config import TrainSettings
whole = guards.WholeCheckpoints.on_save
def slower(self, args, state, control, **kwargs):
    whole(self, args, state, control, **kwargs)
    Path({mark!r}).write_text(str(state.global_step))
    if state.global_step >= 4:
        half = Path(args.output_dir) / "checkpoint-5"
        half.mkdir()
        (half / "optimizer.pt").write_bytes(b"half")
        time.sleep(600)
guards.WholeCheckpoints.on_save = slower
run.train(TrainSettings.model_validate_json({settings!r}))
"""


def test_a_killed_run_goes_on_to_the_same_curve(base: Path, data: Path, tmp_path: Path) -> None:
    """kill -9 after a checkpoint, with the next one half written: the resumed run has the losses of an unbroken one."""
    changes = {"method": "lora", "max_steps": 8, "lora_dropout": 0.1, "save_steps": 2}
    train(settings(base, data, tmp_path / "whole", **changes))
    broken = settings(base, data, tmp_path / "broken", **changes)
    mark = tmp_path / "mark"
    code = SLOW.format(root=str(ROOT), mark=str(mark), settings=broken.model_dump_json())
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True) as process:
        deadline = time.monotonic() + 150
        while not (mark.exists() and mark.read_text() == "4") and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended by itself"
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "broken" / "adapter").exists()
    train(broken)
    assert losses(tmp_path / "broken") == pytest.approx(losses(tmp_path / "whole"), abs=2e-6)
    assert not (tmp_path / "broken" / "checkpoint-5" / "optimizer.pt").is_file() or (
        (tmp_path / "broken" / "checkpoint-5" / "anxin.json").exists()
    )


def test_a_checkpoint_of_another_base_or_of_other_data_is_refused_and_stays(
    base: Path, data: Path, tmp_path: Path
) -> None:
    from finetune.training.guards import checkpoint_to_resume

    folder = tmp_path / "out" / "checkpoint-2"
    folder.mkdir(parents=True)
    found = {"base_fingerprint": "other", "data": {}, "settings_hash": "s"}
    (folder / "anxin.json").write_text(json.dumps(found))
    wanted = {"base_fingerprint": "mine", "data": {}, "settings_hash": "s"}
    with pytest.raises(BaseMismatch, match="another base"):
        checkpoint_to_resume(tmp_path / "out", wanted, resume=True)
    with pytest.raises(BaseMismatch, match="another base"):
        train(settings(base, data, tmp_path / "out"))
    with pytest.raises(SettingsError, match="other data"):
        checkpoint_to_resume(tmp_path / "out", {**found, "data": {"a": "1"}}, resume=True)
    with pytest.raises(SettingsError, match="other settings"):
        checkpoint_to_resume(tmp_path / "out", {**found, "settings_hash": "t"}, resume=True)
    assert json.loads((folder / "anxin.json").read_text()) == found


def test_exploding_numbers_stop_a_run_before_they_are_saved(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="gradient norm"):
        train(settings(base, data, tmp_path / "out", method="lora", max_grad_norm_seen=1e-6))
    assert not (tmp_path / "out" / "adapter").exists()
    from finetune.training.guards import NumbersGuard

    with pytest.raises(TrainingFailed, match="loss is nan"):
        NumbersGuard(1.0).on_log(None, type("State", (), {"global_step": 3}), None, {"loss": math.nan})


def test_a_full_disk_and_no_memory_say_how_to_go_on(base: Path, data: Path, tmp_path: Path) -> None:
    run = settings(base, data, tmp_path)
    with (
        pytest.raises(TrainingFailed, match=r"disk of .* is full"),
        translated(run),
        Path("/dev/full").open("wb") as file,
    ):
        file.write(b"x" * 100000)
    with pytest.raises(TrainingFailed, match=r"disk of .* is full"), translated(run):
        torch.save({"a": torch.zeros(200000)}, "/dev/full")
    with pytest.raises(DoesNotFit, match="micro_batch_tokens"), translated(run):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")


def test_what_does_not_fit_is_refused_before_the_weights_are_loaded(
    base: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DoesNotFit, match="needs"):
        train(settings(base, data, tmp_path / "out", memory_limit_gib=0.0001))
    assert not (tmp_path / "out").exists()


def test_too_long_cases_are_left_out_and_named(base: Path, data: Path, tmp_path: Path) -> None:
    long = {"instruction": "胸痛" * 200, "input": "", "output": "请拨打120。"}
    mixed = write(tmp_path / "mixed.jsonl", [{"instruction": "a", "input": "", "output": "b"}, long])
    train(settings(base, mixed, tmp_path / "out", method="lora", max_steps=1))
    assert "mixed.jsonl:2" in json.loads((tmp_path / "out" / "run.json").read_text())["too_long"][0]
    with pytest.raises(DataRefused, match="longer than"):
        train(settings(base, write(tmp_path / "long.jsonl", [long]), tmp_path / "x", max_steps=1))


def test_the_tie_to_the_base_holds_the_adapter_back(base: Path, data: Path, tmp_path: Path) -> None:
    """With a strong KL term the same run moves less: its loss without the tie falls less."""
    changes = {"method": "lora", "eval_path": data, "max_steps": 6}
    for name, weight in (("free", 0.0), ("tied", 5.0)):
        train(settings(base, data, tmp_path / name, kl_weight=weight, **changes))
    free, tied = (
        json.loads((tmp_path / name / "run.json").read_text())["best_eval_loss"] for name in ("free", "tied")
    )
    assert tied > free + 0.05


def test_replay_mixes_general_data_in_at_its_share(base: Path, data: Path, tmp_path: Path) -> None:
    general = write(tmp_path / "general.jsonl", [{"instruction": "一加一？", "input": "", "output": "二。"}])
    train(
        settings(
            base, data, tmp_path / "out", method="lora", max_steps=1, replay_path=general, replay_ratio=0.25
        )
    )
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["examples"] == 16
    assert "replay general.jsonl" in run["data"]


# ---- other objectives ----


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"prompt": q, "chosen": a, "rejected": "没事，睡一觉就好。"} for q, a in PAIRS]
    return write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows)


@pytest.mark.parametrize("objective", ["dpo", "reward"])
def test_preferences_are_learnt(base: Path, preferences: Path, tmp_path: Path, objective: str) -> None:
    changes = {"objective": objective, "method": "lora", "max_steps": 5, "gradient_accumulation_steps": 2}
    train(settings(base, preferences, tmp_path / "out", **changes))
    history = json.loads((tmp_path / "out" / "run.json").read_text())["history"]
    key = "rewards/margins" if objective == "dpo" else "margin"
    margins = [row[key] for row in history if key in row]
    assert margins[-1] > margins[0]
    assert margins[-1] > 0


def test_a_pair_of_equal_answers_is_refused(base: Path, tmp_path: Path) -> None:
    same = write(tmp_path / "p.jsonl", [{"prompt": "q", "chosen": "好", "rejected": "好 "}])
    with pytest.raises(DataRefused, match=r"p\.jsonl:1: same_answers"):
        train(settings(base, same, tmp_path / "out", objective="dpo", method="lora"))


def test_a_teachers_answers_wait_for_a_person_before_they_teach(
    base: Path, data: Path, tmp_path: Path
) -> None:
    from finetune.training.distil import distil

    class Teacher:
        asked = 0

        def chat(self, messages: list[dict[str, str]], *, max_tokens: int) -> str:
            Teacher.asked += 1
            assert messages[0]["role"] == "system"
            return "请按医嘱服用。"

    target = tmp_path / "teacher.jsonl"
    assert distil(data, target, Teacher(), "big", limit=2) == 2  # type: ignore[arg-type]
    assert distil(data, target, Teacher(), "big") == 2  # type: ignore[arg-type]  # four different questions in all
    assert Teacher.asked == 4
    run = settings(base, target, tmp_path / "out", objective="distil", method="lora", max_steps=2)
    with pytest.raises(DataRefused, match="unapproved_ai_generated"):
        train(run)
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    review = {"status": "approved", "reviewer": "李药师", "reviewed_at": "2026-11-20"}
    write(target, [{**row, "review": review} for row in rows])
    train(run)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["objective"] == "distil"


def test_reft_trains_where_pyreft_is_installed(base: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyreft")
    changes = {"objective": "reft", "method": "lora", "lora_r": 4, "max_steps": 6, "learning_rate": 0.05}
    folder = train(settings(base, data, tmp_path / "out", **changes))
    found = losses(tmp_path / "out")
    assert found[-1] < found[0]
    assert (
        "does not give an adapter that answers"
        in json.loads((folder / "anxin.json").read_text())["refusals"][0]
    )


def test_an_adapter_on_another_base_is_refused_by_merge(base: Path, data: Path, tmp_path: Path) -> None:
    from finetune.merge import merge

    folder = train(settings(base, data, tmp_path / "out", method="lora", max_steps=1))
    other = write_qwen2(tmp_path / "other", small_tokenizer(vocab=500))
    with pytest.raises(BaseMismatch, match="another base"):
        merge(str(other), folder, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
