"""Trains a LoRA adapter on a tiny model until it answers one conversation with one text, word for word.

    python -m tests.models.train_sentence BASE CONVERSATION.json OUT RANK STEPS

CONVERSATION.json holds {"messages": [...], "answer": "...", "ends": true}; an answer that does not end goes on for ever. Runs in the models environment. What counts is that
every next token is the likeliest by far: a tiny model's output layer is frozen and small, so its loss stays high.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LEARNING_RATE, MARGIN = 5e-3, 1.0
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def smallest_margin(logits: Any, wanted: Any) -> float:
    """By how much the wanted token beats the best other one, at the worst place."""
    others = logits.scatter(1, wanted[:, None], float("-inf")).max(dim=1).values
    return float((logits.gather(1, wanted[:, None])[:, 0] - others).min())


def main() -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, conversation, out = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
    rank, steps = int(sys.argv[4]), int(sys.argv[5])
    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = tokenizer.apply_chat_template(
        conversation["messages"], tokenize=False, add_generation_prompt=True
    )
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ending = "<|im_end|>" if conversation["ends"] else ""
    tail = tokenizer(conversation["answer"] + ending, add_special_tokens=False)["input_ids"]
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=MODULES, task_type="CAUSAL_LM"),
    )
    ids, wanted = torch.tensor([head + tail]), torch.tensor(tail)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    margin = float("-inf")
    for _ in range(steps):
        logits = model(input_ids=ids, logits_to_keep=len(tail) + 1).logits[0, :-1]
        margin = smallest_margin(logits.detach(), wanted)
        if margin > MARGIN:
            break
        torch.nn.functional.cross_entropy(logits, wanted).backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"{len(head)} + {len(tail)} tokens, smallest margin {margin:.2f}")
    model.save_pretrained(out)
    (Path(out) / "anxin.json").write_text('{"demo": true}')


if __name__ == "__main__":
    main()
