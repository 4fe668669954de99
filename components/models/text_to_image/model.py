"""Diffusion by caption: a text encoder says what is wanted, and diffusers' U-Net looks at it while it draws.

Text to image with classifier-free guidance: Nichol et al. 2022, "GLIDE"; cross-attention to an encoder's states: Rombach et al. 2022.
"""

import torch
from torch import Tensor

from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings, Steer
from components.models.diffusion.core import CHUNK, Asked, Batch, GaussianDiffusion
from components.models.text_to_image.config import TextToImageConfig
from components.models.text_to_image.networks import Sketch, TextEncoder, TextUNet
from components.models.token_rows import BEGIN, END, mask_of


class TextToImage(GaussianDiffusion):
    """Draws images [N, C, S, S] in [0, 1] from noise, as captions say."""

    config: TextToImageConfig

    def __init__(self, config: TextToImageConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.caption_length = config.caption_length
        self.text = TextEncoder(config, data)
        self.sketch = Sketch(self.code_shape, config)
        self.network = TextUNet(self.code_shape[0], self.code_shape[1], config)

    def _asked(self, batch: Batch, *, training: bool) -> Asked:
        tokens = batch["tokens"]
        if training:
            hidden = torch.rand(len(tokens), device=self.device) < self.config.caption_dropout
            tokens = torch.where(hidden[:, None], self._silence(len(tokens)), tokens)
            tokens = tokens[:, : int(mask_of(tokens).sum(dim=1).max())]  # what is padding in every row costs time
        return self._of(tokens)

    def _nothing(self, num: int) -> Asked:
        return tuple(part.expand(num, *part.shape[1:]) for part in self._of(self._silence(1)))

    def _of(self, tokens: Tensor) -> Asked:
        """What captions [N, T] ask for: the encoder's states [N, T, D], their mask, the captions' vectors [N, D], and sketches [N, C, S, S]."""
        chunks = [self.text(chunk.to(self.device)) for chunk in tokens.split(CHUNK)]
        states, mask, whole = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return states, mask, whole, self.sketch(whole)

    def _loss(self, codes: Tensor, asked: Asked) -> Tensor:
        """That of diffusion, and the sketches' squared error; what is drawn by them has no say in what they are."""
        *said, sketch = asked
        error = (sketch - codes).square().mean()
        if self.training:
            self.log("train/sketch_error", error)
        some = slice(self.config.drawn_rows or len(codes))
        drawn = super()._loss(codes[some], tuple(part[some] for part in (*said, sketch.detach())))
        return drawn + self.config.sketch_weight * error

    def _silence(self, num: int) -> Tensor:
        """The empty caption, [num, T]."""
        tokens = torch.zeros(num, self.caption_length, dtype=torch.int64, device=self.device)
        tokens[:, 0], tokens[:, 1] = BEGIN, END
        return tokens

    def _say(self, x: Tensor, times: Tensor, asked: Asked) -> Tensor:
        out: Tensor = self.network(x, times, *asked)
        return out

    # -- capabilities --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def draw_from_text(self, tokens: Tensor, *, seed: int, settings: SamplerSettings = OWN_SETTINGS, steer: Steer | None = None) -> Tensor:
        """An image [N, C, S, S] in [0, 1] for each caption of ``tokens`` [N, T]."""
        return self._draw(len(tokens), torch.Generator().manual_seed(seed), self._of(tokens), self.settled(settings), steer=steer)

    @torch.no_grad()
    def edit_from_text(
        self, images: Tensor, tokens: Tensor, *, strength: float, seed: int, settings: SamplerSettings = OWN_SETTINGS, steer: Steer | None = None
    ) -> Tensor:
        """``images`` [N, C, S, S] brought to the time ``strength`` and back, as ``tokens`` [N, T] say."""
        return self._edit(images, strength, seed, self._of(tokens), self.settled(settings), steer)

    @torch.no_grad()
    def text_strip(self, tokens: Tensor, *, frames: int, seed: int) -> Tensor:
        """Draws of ``tokens`` [N, T] on their way from noise, [N, frames, C, S, S]."""
        return self._strip(len(tokens), frames, torch.Generator().manual_seed(seed), self._of(tokens))

    @torch.no_grad()
    def caption_losses(self, images: Tensor, tokens: Tensor, *, seed: int) -> Tensor:
        """The loss [N] of ``images`` [N, C, S, S] with their captions ``tokens`` [N, T]."""
        return self._losses(images.to(self.device), self._of(tokens), seed)
