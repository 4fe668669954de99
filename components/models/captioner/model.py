"""Image to text: a decoder that writes a caption token by token while it looks at the places of an image.

Xu et al. 2015, "Show, Attend and Tell"; the decoder is a transformer (Radford et al. 2019) with cross-attention, as in Li et al. 2022, "BLIP".
Muon: Jordan et al. 2024, "modded-nanogpt".
"""

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from components.models.capabilities import DataSpec
from components.models.captioner.config import CaptionerConfig
from components.models.captioner.networks import Decoder, Placed
from components.models.layers.drawing import draw_tokens
from components.models.layers.muon import Muon
from components.models.layers.optimisation import warm_linear
from components.models.layers.towers import tower_of
from components.models.token_rows import BEGIN, END, PADDING

Batch = dict[str, Tensor]


class Captioner(pl.LightningModule):
    """Images [N, C, S, S] in [0, 1] and captions as tokens [N, T] with their marks."""

    def __init__(self, config: CaptionerConfig, data: DataSpec) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.caption_length = config.caption_length
        self.tower = tower_of(config.image_tower, config, data)
        self.placed = Placed(self.tower.place_features, self.tower.num_places, config.text_width)
        self.decoder = Decoder(config, data.vocab_size)

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.log("validation/loss", self._loss(batch), prog_bar=True, batch_size=len(batch["tokens"]))

    def _loss(self, batch: Batch) -> Tensor:
        """Mean negative log likelihood in nats of the tokens behind the begin mark, the end mark among them."""
        tokens = _without_common_padding(batch["tokens"])
        return self._nll(batch["image"], tokens).sum() / (tokens[:, 1:] != PADDING).sum()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        config = self.config
        matrices = [parameter for name, parameter in self.named_parameters() if _is_hidden_matrix(name, parameter)]
        hidden = {id(matrix) for matrix in matrices}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in hidden]
        optimizer = Muon(matrices, [{"params": rest, "lr": config.embedding_learning_rate}], lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_linear(step, config.warmup_steps, config.max_steps, config.cooldown))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _places(self, images: Tensor) -> Tensor:
        """[N, P, text_width]"""
        places: Tensor = self.placed(self.tower.places(images))
        return places

    def _nll(self, images: Tensor, tokens: Tensor) -> Tensor:
        logits = self.decoder(tokens[:, :-1], self._places(images))
        return cross_entropy(logits.mT, tokens[:, 1:], ignore_index=PADDING, reduction="none")

    # -- capabilities --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def caption_nll(self, images: Tensor, tokens: Tensor) -> Tensor:
        return self._nll(images.to(self.device), tokens.to(self.device))

    @torch.no_grad()
    def caption_images(self, images: Tensor, *, seed: int, temperature: float = 0.0, max_new_tokens: int | None = None) -> list[list[int]]:
        """As in `CaptionsImages`; each image draws from a generator of its own, so that its caption does not hang on its neighbours."""
        if not len(images):
            return []
        places = self._places(images.to(self.device))
        generators = [torch.Generator().manual_seed(seed + index) for index in range(len(images))]
        tokens = torch.full((len(images), 1), BEGIN, device=self.device)
        written: list[Tensor] = []
        past, ended = None, torch.zeros(len(images), dtype=torch.bool)
        for _ in range(min(max_new_tokens or self.caption_length, self.caption_length - 1)):
            logits, past = self.decoder.next_logits(tokens, places, past)
            chosen = torch.tensor(draw_tokens(_of_text(logits.cpu()), generators, temperature, None, None))
            ended |= chosen == END
            if ended.all():
                break
            written.append(chosen.masked_fill(ended, PADDING))
            tokens = chosen[:, None].to(self.device)
        return [[token for token in row if token != PADDING] for row in (torch.stack(written, dim=1).tolist() if written else [[] for _ in images])]


def _without_common_padding(tokens: Tensor) -> Tensor:
    """``tokens`` [N, T] up to the longest caption among them: most are far shorter than the longest of all."""
    return tokens[:, : int((tokens != PADDING).sum(dim=1).max())]


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and not any(part in name for part in ("wte", "wpe", "positions", "embedding"))


def _of_text(logits: Tensor) -> Tensor:
    """``logits`` [N, V] without padding and the begin mark, which no caption holds."""
    logits[:, [PADDING, BEGIN]] = -torch.inf
    return logits
