"""The commands as an engineer runs them: exit codes, fixed names, nothing overwritten, nothing half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from finetune.outputs import atomic_text
from finetune.problems import DataError

RUN = CliRunner()
GOOD = {
    "id": "g1",
    "instruction": "阿司匹林饭前吃还是饭后吃？",
    "input": "",
    "output": "宜在饭前整片吞服，大便发黑请尽快看医生。",
    "source": "说明书",
}


def line(**fields: object) -> str:
    return json.dumps({**GOOD, **fields}, ensure_ascii=False) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(
        line() + line(id="g2", instruction="尘螨脱敏要做几年？", output="一般要几年，请到门诊由医生安排。")
    )
    return path


def test_check_exits_by_its_findings(data: Path) -> None:
    assert RUN.invoke(app, ["data", "check", str(data)]).exit_code == 0
    data.write_text(line() + "{\n")
    result = RUN.invoke(app, ["data", "check", str(data), "--json"])
    assert result.exit_code == 1
    error = json.loads(result.stdout)["errors"][0]
    assert (error["file"], error["line"], error["code"]) == (str(data), 2, "bad_json")
    assert RUN.invoke(app, ["data", "check", str(data.with_name("none.jsonl"))]).exit_code == 2


def test_convert_writes_the_good_and_reports_the_rest(data: Path, tmp_path: Path) -> None:
    data.write_text(line() + "{broken\n" + line(id="g3"))
    out = tmp_path / "out.json"
    result = RUN.invoke(app, ["data", "convert", str(data), str(out), "--to", "messages"])
    assert result.exit_code == 1
    assert f"{data}:2" in result.output
    assert [row["id"] for row in json.loads(out.read_text("utf-8"))] == ["g1", "g3"]
    before = out.read_bytes()
    assert RUN.invoke(app, ["data", "convert", str(data), str(out), "--to", "alpaca"]).exit_code == 2
    assert out.read_bytes() == before
    assert (
        RUN.invoke(app, ["data", "convert", str(data), str(out), "--to", "alpaca", "--force"]).exit_code == 1
    )
    assert json.loads(out.read_text("utf-8"))[0]["instruction"] == GOOD["instruction"]


def test_leak_prints_json_and_exits_one(data: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text(line(id="t1", instruction="请问阿司匹林，饭前吃还是饭后吃呢"))
    result = RUN.invoke(app, ["data", "leak", str(data), str(test), "--json", "--no-embeddings"])
    assert result.exit_code == 1
    leak = json.loads(result.stdout)["leaks"][0]
    assert (leak["test"], leak["train"]) == ("t1", "g1")
    test.write_text(line(id="t1", instruction="痛风发作能热敷吗？"))
    result = RUN.invoke(app, ["data", "leak", str(data), str(test), "--json", "--no-embeddings"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"leaks": []}


def test_deidentify_dedupe_split_and_watermark_run(data: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123")
    steps = [
        ["deidentify", str(data), str(tmp_path / "d.jsonl"), "--report", str(tmp_path / "r.json")],
        ["dedupe", str(data), str(tmp_path / "u.jsonl"), "--no-embeddings"],
        ["split", str(data), "--out", str(tmp_path / "s"), "--seed", "1", "--no-embeddings"],
        ["open-test", str(tmp_path / "s"), "--release", "1"],
        [
            "watermark",
            str(data),
            str(tmp_path / "w.jsonl"),
            "--key-file",
            str(key),
            "--owner",
            "o",
            "--version",
            "1",
        ],
    ]
    for step in steps:
        result = RUN.invoke(app, ["data", *step])
        assert result.exit_code == 0, (step, result.output)
        assert "0123456789abcdef" not in result.output
    assert "records" in json.loads((tmp_path / "r.json").read_text("utf-8"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    path = tmp_path / "out.jsonl"
    path.write_text("old")
    full = os.open("/dev/full", os.O_WRONLY)
    decoy = tmp_path / ".decoy.part"
    decoy.touch()
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (full, str(decoy)))
    with pytest.raises(DataError) as failure, atomic_text(path, force=True) as file:
        file.write("x" * 100_000)
    assert failure.value.code == "disk_full"
    assert path.read_text() == "old"
    assert not decoy.exists()


def test_a_killed_command_leaves_no_output(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    os.mkfifo(source)
    command = [sys.executable, "-m", "finetune", "data", "convert", str(source), str(out), "--to", "sharegpt"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with source.open("w") as pipe:
        pipe.write(line())
        pipe.flush()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
