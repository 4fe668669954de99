"""The distribution of a pixel given the latent: a mixture of logistics, discretised to the grey levels there are.

Salimans et al. 2017, "PixelCNN++", section 2.1; here the channels are independent given the latent.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_LOG_SCALE = -7.0
"""Below this a logistic is narrower than a 256th of the range, and gradients only grow."""
INITIAL_LOG_SCALE = -1.5
"""Log scale (range [-1, 1]) that a zero output means: about the spread of a natural image's pixels."""


class DiscretisedLogistics:
    """Pixels [N, C, H, W] in [0, 1] at ``levels`` grey levels given the decoder's output [N, C * 3 * mixtures, H, W]."""

    def __init__(self, levels: int, mixtures: int) -> None:
        self.levels, self.mixtures = levels, mixtures

    def outputs(self, channels: int) -> int:
        """How many maps the decoder must give for images of ``channels``."""
        return channels * 3 * self.mixtures

    def log_prob(self, output: Tensor, images: Tensor) -> Tensor:
        """Log probability of each image in nats, [N]; pixels are rounded to the nearest level."""
        log_weights, means, log_scales = self._parameters(output)
        level = (images * (self.levels - 1)).round().unsqueeze(2)
        x, half = level / (self.levels - 1) * 2 - 1, 1 / (self.levels - 1)
        inverse = torch.exp(-log_scales)
        upper, lower = (x - means + half) * inverse, (x - means - half) * inverse
        # The lowest and highest level take the whole tail, so that the probabilities sum to one.
        log_below = F.logsigmoid(upper)
        log_above = F.logsigmoid(-lower)
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), which stays exact far from the mean
        inner = log_below + log_above + torch.log(-torch.expm1(lower - upper))
        per_mixture = torch.where(level <= 0, log_below, torch.where(level >= self.levels - 1, log_above, inner))
        return torch.logsumexp(per_mixture + log_weights, dim=2).flatten(1).sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected pixel [N, C, H, W] in [0, 1]: each logistic's centre, cut to the range, weighted."""
        log_weights, means, _ = self._parameters(output)
        return ((means.clamp(-1, 1) + 1) / 2 * log_weights.exp()).sum(2)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """One draw per pixel, rounded to the levels, [N, C, H, W] in [0, 1]."""
        log_weights, means, log_scales = self._parameters(output)
        noise = torch.rand(log_weights.shape, generator=generator).to(output.device).clamp(1e-6, 1 - 1e-6)
        chosen = (log_weights - torch.log(-torch.log(noise))).argmax(2, keepdim=True)
        uniform = torch.rand(chosen.shape, generator=generator).to(output.device).clamp(1e-6, 1 - 1e-6)
        x = means.gather(2, chosen) + log_scales.gather(2, chosen).exp() * torch.logit(uniform)
        return (((x.squeeze(2).clamp(-1, 1) + 1) / 2 * (self.levels - 1)).round()) / (self.levels - 1)

    def _parameters(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, centres and log scales, each [N, C, mixtures, H, W], pixels in [-1, 1]."""
        logits, means, log_scales = output.unflatten(1, (-1, 3, self.mixtures)).unbind(2)
        # Centres start apart: equal ones would get equal gradients for ever.
        apart = (torch.arange(self.mixtures, device=output.device) + 0.5) * 2 / self.mixtures - 1
        return logits.log_softmax(2), means + apart[:, None, None], (log_scales + INITIAL_LOG_SCALE).clamp(min=MIN_LOG_SCALE)
