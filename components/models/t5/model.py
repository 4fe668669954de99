"""Text to text by an encoder and a decoder: the network of `transformers`, with our own span corruption, loss, optimiser and decoding.

Raffel et al. 2020, "Exploring the limits of transfer learning with a unified text-to-text transformer"; gated layers and an output layer of its own:
Shazeer 2020, "GLU variants improve transformer", and T5 1.1. What is learnt follows from the data: of pairs the target from its source, of texts the
spans that are hidden in them.
"""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedTokenizerFast, T5ForConditionalGeneration
from transformers import T5Config as NetworkConfig
from transformers.models.t5.modeling_t5 import T5Attention

from components.models.capabilities import DataSpec, Ends, never_ends
from components.models.layers.drawing import draw_tokens
from components.models.layers.muon import Muon
from components.models.layers.optimisation import warm_linear
from components.models.layers.span_counts import RATE, SPAN_LENGTH
from components.models.layers.spans import Sides, corrupt
from components.models.t5.config import T5Config
from components.models.token_rows import BEGIN, END, PADDING

Batch = dict[str, Tensor]
HEAD_SCALE = 0.3
"""Of the first weights of an output layer, times width^-0.5: the first prediction is nearly uniform."""


class T5(pl.LightningModule):
    """Sources [N, S] and what stands of the targets [N, T] -> logits [N, T, V] of each next token; both are rows of tokens with their marks."""

    def __init__(self, config: T5Config, data: DataSpec) -> None:
        super().__init__()
        assert data.vocab_size > END, "the data names no vocabulary"
        self.config, self.data = config, data
        fills_gaps = data.modality == "text"
        self.sentinels = tuple(range(data.vocab_size, data.vocab_size + config.sentinels)) if fills_gaps else ()
        self.source_length = config.context_length if fills_gaps else config.source_length
        self.target_length = config.context_length if fills_gaps else config.target_length
        self.network = _network(config, data.vocab_size + config.sentinels)

    def forward(self, source: Tensor, before: Tensor) -> Tensor:
        out: Tensor = self.network(input_ids=source, attention_mask=(source != PADDING).long(), decoder_input_ids=before, use_cache=False).logits
        return out.float()

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self._loss(self._sides(batch, self.config.corruption_rate, self.config.span_length))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        # The same spans are hidden each time, and as many whatever is trained with.
        sides = self._sides(batch, RATE, SPAN_LENGTH, torch.Generator().manual_seed(batch_index))
        self.log("validation/loss", self._loss(sides), prog_bar=True, batch_size=len(sides.target))

    def _sides(self, batch: Batch, rate: float, span_length: float, generator: torch.Generator | None = None) -> Sides:
        """The pairs of ``batch`` as long as its longest ones, or its windows [N, T + 1] with spans hidden in them, see `corrupt`."""
        if "source" in batch:
            return Sides(_trimmed(batch["source"]), _trimmed(batch["target"]))
        windows = batch["tokens"][:, : self.config.context_length - 2]
        # An end between two documents would read as the end of the target: padding is neither read nor predicted.
        text = windows.masked_fill(windows <= END, PADDING)
        return corrupt(text, rate, span_length, self.sentinels[0], generator)

    def _loss(self, sides: Sides) -> Tensor:
        """Mean negative log likelihood in nats of the tokens of the targets."""
        return self._nll(*sides).sum() / (sides.target[:, 1:] != PADDING).sum().clamp(min=1)

    def _nll(self, source: Tensor, target: Tensor) -> Tensor:
        """[N, T - 1] of what follows the begin marks; 0 for padding."""
        logits = self(source, target[:, :-1])
        return cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PADDING, reduction="none").view(len(target), -1)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        config = self.config
        matrices = {name: parameter for name, parameter in self.named_parameters() if ".layer." in name and parameter.ndim == 2 and "bias" not in name}
        head = [self.network.lm_head.weight] if config.head == "own" else []
        taken = {id(parameter) for parameter in [*matrices.values(), *head]}
        rest = [
            {"params": [parameter for parameter in self.parameters() if id(parameter) not in taken], "lr": config.embedding_learning_rate},
            *({"params": [one], "lr": config.head_learning_rate} for one in head),
        ]
        others = [parameter for name, parameter in matrices.items() if ".q." not in name]
        optimizer = Muon(others, rest, lr=config.learning_rate, weight_decay=config.weight_decay)
        # T5 does not divide the products of queries and keys by the root of their length, its queries begin so much smaller: so they learn as much slower.
        # At the rate of the others the attention is all or nothing before it has learnt where to look, and the decoder finds no use for the source.
        slower = config.learning_rate * (config.width // config.num_heads) ** -0.5
        queries = [parameter for name, parameter in matrices.items() if ".q." in name]
        optimizer.add_param_group({"params": queries, "muon": True, "lr": slower, "weight_decay": config.weight_decay})
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_linear(step, config.warmup_steps, config.max_steps, config.cooldown))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # -- weights in the format of transformers -----------------------------------------------------------------------

    def pretrained(self) -> T5ForConditionalGeneration:
        return self.network

    def export_pretrained(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.data.tokenizer)
        marks = {name: tokenizer.id_to_token(token) for name, token in (("pad_token", PADDING), ("bos_token", BEGIN), ("eos_token", END))}
        self.network.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)

    # -- capabilities --------------------------------------------------------------------------------------------

    def token_vectors(self) -> Tensor:
        """[V, D]; the marks of gaps stand for no text."""
        vectors: Tensor = self.network.shared.weight.detach()[: self.data.vocab_size]
        return vectors

    @torch.no_grad()
    def target_nll(self, source: Tensor, target: Tensor) -> Tensor:
        return self._nll(source.to(self.device), target.to(self.device))

    @torch.no_grad()
    def map_text(
        self,
        source: Tensor,
        *,
        max_new_tokens: int,
        seed: int = 0,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        ends: Ends = never_ends,
    ) -> list[list[int]]:
        """Each row draws from a generator of its own, so that its answer does not hang on its neighbours."""
        source = _trimmed(source).to(self.device)
        if temperature <= 0 and self.config.beams > 1 and not self.sentinels and ends is never_ends:
            return self._searched(source, max_new_tokens)
        mask = (source != PADDING).long()
        states = self.network.encoder(input_ids=source, attention_mask=mask).last_hidden_state
        cache, latest = EncoderDecoderCache(DynamicCache(), DynamicCache()), torch.full_like(source[:, :1], BEGIN)
        generators = [torch.Generator().manual_seed(seed + row) for row in range(len(source))]
        answers: list[list[int]] = [[] for _ in generators]
        gaps, running = self._gaps(source), set(range(len(answers)))
        for _ in range(max_new_tokens):
            out = self.network(encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=latest, past_key_values=cache, use_cache=True)
            chosen = draw_tokens(self._allowed(out.logits[:, -1].float().cpu(), answers, gaps), generators, temperature, top_k, top_p)
            for row in sorted(running):
                if chosen[row] != END:
                    answers[row].append(chosen[row])
                if chosen[row] == END or ends(row, answers[row]):
                    running.discard(row)
            if not running:
                break
            latest = torch.tensor(chosen, device=self.device)[:, None]
        return answers

    def _gaps(self, source: Tensor) -> list[int]:
        """How many gaps each row of ``source`` has."""
        return [int(row) for row in (source >= self.data.vocab_size).sum(dim=1)]

    def _allowed(self, logits: Tensor, answers: list[list[int]], gaps: list[int]) -> Tensor:
        """``logits`` [N, V] without what cannot follow: a target names each gap of its source in turn, and only then it ends."""
        logits[:, [PADDING, BEGIN]] = -torch.inf
        following = logits[:, self.data.vocab_size :].clone()
        logits[:, self.data.vocab_size :] = -torch.inf
        for row, answer in enumerate(answers):
            named = sum(token >= self.data.vocab_size for token in answer)
            if named < gaps[row]:
                logits[row, END] = -torch.inf
                logits[row, self.data.vocab_size + named] = following[row, named]
            if named == 0 and gaps[row]:
                logits[row, : self.data.vocab_size] = -torch.inf
        return logits

    def _searched(self, source: Tensor, max_new_tokens: int) -> list[list[int]]:
        """The likeliest answers that a beam search finds."""
        network: Any = self.network
        found = network.generate(
            input_ids=source, attention_mask=(source != PADDING).long(), num_beams=self.config.beams, max_new_tokens=max_new_tokens, do_sample=False,
            suppress_tokens=[PADDING, BEGIN, *range(self.data.vocab_size, self.data.vocab_size + self.config.sentinels)],
        )  # fmt: skip
        return [[token for token in row if token > END] for row in found.tolist()]


def _trimmed(rows: Tensor) -> Tensor:
    """``rows`` [N, T] as long as the longest one."""
    return rows[:, : int((rows != PADDING).any(dim=0).sum())]


def _network(config: T5Config, vocab_size: int) -> T5ForConditionalGeneration:
    """The network of `transformers` with fresh weights.

    There is no dropout inside the attention: a random number for each pair of tokens takes as long as all products together.
    """
    marks: dict[str, Any] = {"bos_token_id": BEGIN, "decoder_start_token_id": BEGIN, "sentinels": config.sentinels}
    own: dict[str, Any] = {"tie_word_embeddings": False} if config.head == "own" else {}
    described = NetworkConfig(
        vocab_size=vocab_size, d_model=config.width, d_kv=config.width // config.num_heads, d_ff=config.mlp_width, num_layers=config.num_layers,
        num_heads=config.num_heads, feed_forward_proj="gated-gelu", dropout_rate=config.dropout, pad_token_id=PADDING, eos_token_id=END, **marks, **own,
    )  # fmt: skip
    network = T5ForConditionalGeneration(described)
    scale = HEAD_SCALE * config.width**-0.5
    if config.head == "own":
        # The library ties the two whatever the config says, and would draw the weights of an output layer so large that the loss begins at 67.
        network.config.tie_word_embeddings = False
        network.lm_head = nn.Linear(config.width, vocab_size, bias=False)
        nn.init.normal_(network.lm_head.weight, std=scale)
    else:
        nn.init.normal_(network.shared.weight, std=HEAD_SCALE)
    # Written out, because at these lengths the fused kernel is no faster on a CPU.
    network.set_attn_implementation("eager")
    for module in network.modules():
        if isinstance(module, T5Attention):
            module.dropout = 0.0
    return network
