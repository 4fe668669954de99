"""A small modern GPT: network, loss and sampler.

Rotary positions: Su et al. 2021. Normalised queries and keys: Henry et al. 2020. Squared ReLU: So et al. 2021, "Primer". Projections that
start at zero, the soft cap of the logits and Muon: Jordan et al. 2024, "modded-nanogpt"; Gemma 2 (2024), section 2, for the cap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu, rms_norm, scaled_dot_product_attention

from components.errors import UserError
from components.models.capabilities import DataSpec, Ends, never_ends
from components.models.gpt.config import GptConfig
from components.models.layers.drawing import draw_tokens
from components.models.layers.muon import Muon
from components.models.layers.optimisation import warm_linear
from components.models.prompting import END_OF_TEXT

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from components.models.gpt.llama import LlamaNetwork

Batch = dict[str, Tensor]


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, per layer [B, heads, T, head width], and how many tokens that were."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    position: int = 0

    @property
    def length(self) -> int:
        """How many tokens can still be looked back on."""
        return self.layers[0][0].size(2) if self.layers else 0


class Attention(nn.Module):
    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.num_heads, self.head_width = config.num_heads, config.width // config.num_heads
        self.inputs = nn.Linear(config.width, 3 * config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, T, D]; mask [..., T, past + T] is 0 where a query may look and -inf elsewhere. Returns x's update and all keys and values."""
        batch, length, width = x.shape
        query, key, value = self.inputs(x).view(batch, length, 3, self.num_heads, self.head_width).permute(2, 0, 3, 1, 4)
        query, key = _rotate(_normalise(query), *rotation), _rotate(_normalise(key), *rotation)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        mixed = _attend(query, key, value, mask).transpose(1, 2).reshape(batch, length, width)
        return self.output(mixed), (key, value)


class Block(nn.Module):
    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.up = nn.Linear(config.width, config.mlp_ratio * config.width, bias=False)
        self.down = nn.Linear(config.mlp_ratio * config.width, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        update, seen = self.attention(_normalise(x), rotation, mask, past)
        x = x + self.dropout(update)
        return x + self.dropout(self.down(relu(self.up(_normalise(x))).square())), seen


class Transformer(nn.Module):
    """The network of our own. Tokens [N, T] -> logits [N, T, V] of each next token."""

    def __init__(self, config: GptConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = nn.Linear(config.width, vocab_size, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        """Every branch and the head start at zero: the first prediction is uniform, the first gradient reaches all depths."""
        bound = math.sqrt(3.0 / self.config.width)
        nn.init.normal_(self.embedding.weight)
        nn.init.zeros_(self.head.weight)
        for name, matrix in self.blocks.named_parameters():
            if name.endswith(("inputs.weight", "up.weight")):
                nn.init.uniform_(matrix, -bound, bound)
            else:
                nn.init.zeros_(matrix)

    def forward(self, tokens: Tensor, mask: Tensor, cache: Cache | None) -> Tensor:
        """Logits [B, T, V] for ``tokens`` [B, T] that follow what is in ``cache``; ``mask`` as in `Attention`."""
        rotation = self._rotation(cache.position if cache else 0, tokens.size(1), tokens.device)
        x = self.dropout(_normalise(self.embedding(tokens)))
        seen = []
        for index, block in enumerate(self.blocks):
            x, keys_and_values = block(x, rotation, mask, cache.layers[index] if cache and cache.layers else None)
            seen.append(keys_and_values)
        if cache is not None:
            cache.layers, cache.position = seen, cache.position + tokens.size(1)
        logits = self.head(self.dropout(_normalise(x))).float()
        cap = self.config.logit_softcap
        return cap * torch.tanh(logits / cap) if cap else logits

    def _rotation(self, start: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosine and sine [T, head width / 2] of the positions from ``start``."""
        width = self.config.width // self.config.num_heads
        frequencies = self.config.rope_base ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
        angles = torch.arange(start, start + length, device=device, dtype=torch.float32)[:, None] * frequencies
        return angles.cos(), angles.sin()


class Gpt(pl.LightningModule):
    """Tokens [N, T] -> logits [N, T, V] of each next token."""

    def __init__(self, config: GptConfig, data: DataSpec) -> None:
        super().__init__()
        assert data.vocab_size > 0, "the data names no vocabulary"
        self.config, self.data = config, data
        self.context_length, self.prompt_length, self.control = config.context_length, config.prompt_length, config.control
        self.network = self._network()

    def _network(self) -> "Transformer | LlamaNetwork":
        if self.config.backbone == "own":
            return Transformer(self.config, self.data.vocab_size)
        from components.models.gpt.llama import LlamaNetwork  # with transformers, whose import takes seconds

        return LlamaNetwork(self.config, self.data.vocab_size)

    def forward(self, tokens: Tensor, cache: Cache | None = None, padding: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] for ``tokens`` [B, T] that follow what is in ``cache``; ``padding`` [B, past + T] marks keys to overlook."""
        mask = causal_mask(tokens.size(1), cache.length if cache else 0, tokens.device, padding)
        logits: Tensor = self.network(tokens, mask, cache)
        return logits

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.log("validation/loss", self._loss(batch), prog_bar=True, batch_size=len(batch["tokens"]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        config = self.config
        within = list(self.network.blocks.parameters())
        rest = [
            {"params": [self.network.embedding.weight], "lr": config.embedding_learning_rate},
            # With the adapter, where one stands beside it.
            {"params": list(self.network.head.parameters()), "lr": config.head_learning_rate},
            # Scales, which only the backbone llama has.
            {"params": [parameter for parameter in within if parameter.ndim < 2], "lr": config.head_learning_rate},
        ]
        optimizer = Muon([parameter for parameter in within if parameter.ndim == 2], rest, lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_linear(step, config.warmup_steps, config.max_steps, config.cooldown))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, batch: Batch) -> Tensor:
        """Mean negative log likelihood in nats: of every token, or of pairs of those of the responses alone."""
        nll = self._nll(batch["tokens"])
        return nll[batch["scored"]].mean() if "scored" in batch else nll.mean()

    def _nll(self, tokens: Tensor) -> Tensor:
        logits = self(tokens[:, :-1])
        return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(tokens.size(0), -1)

    # -- weights in the format of transformers -----------------------------------------------------------------------

    def pretrained(self) -> "LlamaForCausalLM":
        if isinstance(self.network, Transformer):
            raise UserError("The backbone of our own has no counterpart in transformers: train it with `config: {backbone: llama, logit_softcap: 0}`.")
        return self.network.llama

    def export_pretrained(self, folder: Path) -> None:
        from components.models.gpt.llama import export

        export(self.pretrained(), self.data.tokenizer, folder)

    # -- capabilities --------------------------------------------------------------------------------------------

    def token_vectors(self) -> Tensor:
        return self.network.embedding.weight.detach()

    @torch.no_grad()
    def token_nll(self, tokens: Tensor) -> Tensor:
        assert tokens.size(1) - 1 <= self.context_length, "a window is longer than the context"
        return self._nll(tokens)

    @torch.no_grad()
    def continue_tokens(
        self,
        prompts: list[list[int]],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        ends: Ends = never_ends,
    ) -> list[list[int]]:
        """The new tokens after each prompt, up to the end-of-text mark; temperature 0 takes the likeliest token.

        Of a prompt only the last ``context_length`` tokens count. Each prompt draws from a generator of its own, so that its continuation does
        not hang on its neighbours.
        """
        if not prompts or max_new_tokens < 1:
            return [[] for _ in prompts]
        tokens, padding = _left_padded([prompt[-self.context_length :] or [END_OF_TEXT] for prompt in prompts], self.device)
        generators = [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))]
        results: list[list[int]] = [[] for _ in prompts]
        running = set(range(len(prompts)))
        cache = Cache()
        for _ in range(max_new_tokens):
            logits = self(tokens, cache, padding)[:, -1]
            chosen = draw_tokens(logits.float().cpu(), generators, temperature, top_k, top_p)
            for index in sorted(running):
                if chosen[index] != END_OF_TEXT:
                    results[index].append(chosen[index])
                if chosen[index] == END_OF_TEXT or ends(index, results[index]):
                    running.discard(index)
            if not running:
                break
            tokens = torch.tensor(chosen, device=self.device)[:, None]
            padding = torch.cat([padding, torch.zeros_like(padding[:, :1])], dim=1)
            padding = self._forget(cache, padding)
        return results

    def _forget(self, cache: Cache, padding: Tensor) -> Tensor:
        """Drop from the cache what the next token may no longer look back on."""
        keep = self.context_length - 1
        cache.layers = [(key[:, :, -keep:], value[:, :, -keep:]) for key, value in cache.layers]
        return padding[:, -(keep + 1) :]


def _normalise(x: Tensor) -> Tensor:
    return rms_norm(x, (x.size(-1),))


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1).to(x.dtype)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    if query.is_cuda:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask.to(query.dtype))
    # Written out, because the fused kernel takes 2.5 times as long on a CPU at these lengths (forward and backward, 128 tokens).
    scores = (query @ key.mT) * query.size(-1) ** -0.5 + mask
    return scores.softmax(dim=-1).to(value.dtype) @ value


def causal_mask(length: int, past: int, device: torch.device, padding: Tensor | None) -> Tensor:
    """[T, past + T], or [B, 1, T, past + T] with padding; 0 where a query may look, -inf elsewhere."""
    allowed = torch.ones(length, past + length, dtype=torch.bool, device=device).tril(past)
    if padding is not None and padding.any():
        # A padded position looks at itself alone: a row without any key would turn into NaN and reach the others through its value.
        itself = torch.eye(length, past + length, dtype=torch.bool, device=device).roll(past, dims=1)
        allowed = (allowed & ~padding[:, None, None, :]) | itself
    return torch.zeros(allowed.shape, device=device).masked_fill_(~allowed, -math.inf)


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens [B, T] that end together, and where they are padding."""
    length = max(len(prompt) for prompt in prompts)
    tokens = torch.tensor([[END_OF_TEXT] * (length - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    padding = torch.tensor([[True] * (length - len(prompt)) + [False] * len(prompt) for prompt in prompts], device=device)
    return tokens, padding
