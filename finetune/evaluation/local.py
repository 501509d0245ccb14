"""Local weights for evaluation: greedy answers, likelihood of options, and loss of held-out records.

Owns the use of transformers in the evaluation; needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.training.encoding import IGNORED, ChatEncoder, Encoded
from finetune.training.errors import BaseMismatch, SettingsError
from finetune.training.model import check_base, fingerprint, load_config, load_tokenizer
from finetune.training.templates import training_template


class LocalModel:
    """A base with an optional adapter; `bare` switches the adapter off for a before/after comparison."""

    def __init__(self, name: str, adapter: Path | None = None, *, template: Path | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.tokenizer = load_tokenizer(name)
        self.encoder = ChatEncoder(self.tokenizer, training_template(self.tokenizer, template))
        on_gpu = torch.cuda.is_available()
        try:
            model = AutoModelForCausalLM.from_pretrained(
                name, dtype=torch.bfloat16 if on_gpu else torch.float32
            )
        except (OSError, ValueError) as error:
            raise SettingsError(f"{name}: {error}") from error
        if adapter is not None:
            check_base(adapter, fingerprint(load_config(name), self.tokenizer))
            model = _with_adapter(model, adapter)
        self.model: Any = model.to("cuda" if on_gpu else "cpu").eval()

    def generate(self, messages: Sequence[dict[str, str]], max_tokens: int) -> str:
        import torch

        ids = torch.tensor([self.encoder.prompt(messages)], device=self.model.device)
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self._stops(),
            )
        return str(self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()

    def _stops(self) -> list[int]:
        named = self.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<end_of_turn>"])
        found = {self.tokenizer.eos_token_id, *named} - {None, self.tokenizer.unk_token_id}
        return sorted(int(token) for token in found)

    def likelihood(self, messages: Sequence[dict[str, str]], option: str) -> float:
        """Mean log-likelihood of the option's tokens as the answer."""
        whole = self.encoder.example([*messages, {"role": "assistant", "content": option}])
        return -self.loss([whole])

    def loss(self, examples: Sequence[Encoded]) -> float:
        """Mean negative log-likelihood over all answer tokens."""
        summed, count = 0.0, 0
        for example in examples:
            part, tokens = self.summed_loss(example)
            summed, count = summed + part, count + tokens
        return summed / max(1, count)

    def summed_loss(self, example: Encoded) -> tuple[float, int]:
        """Summed negative log-likelihood of an example's answer tokens, and their number."""
        import torch

        ids = torch.tensor([example.input_ids], device=self.model.device)
        labels = torch.tensor([example.labels], device=self.model.device)[:, 1:]
        learnt = labels != IGNORED
        with torch.no_grad():
            logits = self.model(input_ids=ids).logits[:, :-1][learnt].float()
        found = torch.nn.functional.cross_entropy(logits, labels[learnt], reduction="sum")
        return float(found), int(learnt.sum())


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter))
    except RuntimeError as error:
        raise BaseMismatch(f"{adapter} does not fit this base: {str(error).splitlines()[0]}") from error
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"{adapter}: {error}") from error
