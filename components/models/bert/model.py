"""A masked language model: a backbone from `transformers`, with our own masking, loss and optimiser.

Devlin et al. 2019, "BERT"; Warner et al. 2024, "ModernBERT". Masking 30 %: Wettig et al. 2023, "Should you mask 15% in masked language
modeling?". Windows reach over the ends of documents: Liu et al. 2019, "RoBERTa", section 4.2.
"""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from components.models.bert.config import BertConfig
from components.models.capabilities import DataSpec
from components.models.layers.masking import END, MASK, ORDINARY, PAD, START, choose_masked, hide
from components.models.layers.muon import Muon
from components.models.layers.optimisation import warm_linear

Batch = dict[str, Tensor]


class Bert(pl.LightningModule):
    """Tokens [N, T] -> a vector [N, T, D] of each token in its surroundings."""

    mask_token = MASK

    def __init__(self, config: BertConfig, data: DataSpec) -> None:
        super().__init__()
        assert data.vocab_size > ORDINARY, "the data names no vocabulary"
        self.config, self.data = config, data
        self.context_length = config.context_length
        self.network = _backbone(config, data.vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors [N, T, D] for ``tokens`` [N, T], where padding is overlooked."""
        vectors: Tensor = self.network.base_model(input_ids=tokens, attention_mask=(tokens != PAD).long()).last_hidden_state
        return vectors

    def _logits(self, vectors: Tensor) -> Tensor:
        """Logits [M, V] of the tokens whose vectors [M, D] are given: only those that are predicted are worth the largest product of all."""
        if self.config.backbone == "modernbert":
            return self.network.decoder(self.network.head(vectors)).float()
        return self.network.cls(vectors).float()

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self._loss(batch["tokens"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.log("validation/loss", self._loss(batch["tokens"]), prog_bar=True, batch_size=len(batch["tokens"]))

    def _loss(self, windows: Tensor) -> Tensor:
        """Mean negative log likelihood in nats of the hidden tokens of ``windows`` [N, T + 1], whose last token is a causal model's."""
        tokens = windows[:, : self.context_length]
        chosen = choose_masked(tokens, self.config.mask_rate)
        hidden = hide(tokens, chosen, self.data.vocab_size, self.config.masking if self.training else "mask")
        return cross_entropy(self._logits(self(hidden)[chosen]), tokens[chosen])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        config = self.config
        matrices = [parameter for name, parameter in self.named_parameters() if ".layer" in name and parameter.ndim == 2]
        hidden = {id(matrix) for matrix in matrices}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in hidden]
        optimizer = Muon(matrices, [{"params": rest, "lr": config.embedding_learning_rate}], lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_linear(step, config.warmup_steps, config.max_steps, config.cooldown))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # -- capabilities --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fill_masks(self, tokens: Tensor) -> Tensor:
        assert tokens.size(1) <= self.context_length, "a text is longer than the context"
        logits = self._logits(self(tokens)[tokens == MASK])
        logits[:, :ORDINARY] = -torch.inf  # a gap holds text, never a mark
        return logits.log_softmax(dim=-1)

    @torch.no_grad()
    def embed_text(self, tokens: Tensor) -> Tensor:
        assert tokens.size(1) <= self.context_length, "a text is longer than the context"
        text = ((tokens != PAD) & (tokens != START) & (tokens != END)).unsqueeze(-1)
        return (self(tokens) * text).sum(1) / text.sum(1).clamp(min=1)

    def token_vectors(self) -> Tensor:
        vectors: Tensor = self.network.get_input_embeddings().weight.detach()
        return vectors


def _backbone(config: BertConfig, vocab_size: int) -> Any:
    """A network of `transformers` with fresh weights and a prediction head whose output layer shares the token vectors.

    There is no dropout inside the attention: a random number for each pair of tokens takes as long as all products together.
    """
    from transformers import BertConfig as PlainConfig
    from transformers import BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

    shared: dict[str, Any] = {
        "vocab_size": vocab_size, "hidden_size": config.width, "intermediate_size": config.mlp_width, "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads, "max_position_embeddings": config.context_length, "pad_token_id": PAD,
    }  # fmt: skip
    network: nn.Module
    if config.backbone == "modernbert":
        marks: dict[str, Any] = {"bos_token_id": START, "cls_token_id": START, "eos_token_id": END, "sep_token_id": END}
        network = ModernBertForMaskedLM(ModernBertConfig(**shared, **marks, embedding_dropout=config.dropout, mlp_dropout=config.dropout))
    else:
        network = BertForMaskedLM(PlainConfig(**shared, hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=0.0, type_vocab_size=1))
    return network
