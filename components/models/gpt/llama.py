"""The backbone `llama` (Touvron et al. 2023): the network of transformers, so that its weights are at home wherever Llama's are."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from components.models.gpt.config import GptConfig

if TYPE_CHECKING:
    from components.models.gpt.model import Cache


class LlamaNetwork(nn.Module):
    """Tokens [N, T] -> logits [N, T, V] of each next token."""

    def __init__(self, config: GptConfig, vocab_size: int) -> None:
        super().__init__()
        self.llama = LlamaForCausalLM(llama_config(config, vocab_size))
        # Written out, because that takes any mask as it is.
        self.llama.set_attn_implementation("eager")

    @property
    def embedding(self) -> nn.Embedding:
        return self.llama.model.embed_tokens

    @property
    def blocks(self) -> nn.Module:
        """Everything between the embedding and the output layer; with the last scale."""
        return nn.ModuleList([self.llama.model.layers, self.llama.model.norm])

    @property
    def head(self) -> nn.Linear:
        return self.llama.lm_head

    def forward(self, tokens: Tensor, mask: Tensor, cache: "Cache | None") -> Tensor:
        """Logits [B, T, V] for ``tokens`` [B, T] that follow what is in ``cache``; ``mask`` [T, past + T] or [B, 1, T, past + T] as in `Attention`."""
        start, length = cache.position if cache else 0, tokens.size(1)
        seen = DynamicCache(cache.layers or None) if cache else None
        positions = torch.arange(start, start + length, device=tokens.device)[None]
        whole = mask.expand(tokens.size(0), 1, length, mask.size(-1))
        logits: Tensor = self.llama(tokens, attention_mask=whole, position_ids=positions, past_key_values=seen, use_cache=cache is not None).logits
        if cache is not None and seen is not None:
            cache.layers, cache.position = [(layer.keys, layer.values) for layer in seen.layers], start + length  # type: ignore[union-attr, misc]
        return logits.float()


def llama_config(config: GptConfig, vocab_size: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab_size, hidden_size=config.width, intermediate_size=config.mlp_ratio * config.width, num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads, num_key_value_heads=config.num_heads, max_position_embeddings=config.context_length,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base}, attention_dropout=config.dropout, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


def export(llama: LlamaForCausalLM, tokenizer: str, folder: Path) -> None:
    """Write config.json, model.safetensors and the files of the tokenizer, as `AutoModelForCausalLM` and `AutoTokenizer` read them."""
    from tokenizers import Tokenizer

    mark = Tokenizer.from_str(tokenizer).id_to_token(0)
    llama.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer), bos_token=mark, eos_token=mark).save_pretrained(folder)
