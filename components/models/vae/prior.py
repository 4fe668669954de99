"""The prior of the latents: a standard normal while training, then a Gaussian mixture fitted to the aggregated posterior.

The decoder is trained on latents of the aggregated posterior, which a standard normal covers with holes; a mixture that is
fitted afterwards draws where the decoder knows its way (Ghosh et al. 2020, "From Variational to Deterministic Autoencoders",
section 4, ex-post density estimation).
"""

import math

import torch
from torch import Tensor, nn

NO_CLASS = -1
UNUSED = -1e9
"""Log weight of a component that is never drawn (finite, so that sums stay finite)."""


class MixturePrior(nn.Module):
    """A mixture of ``components`` Gaussians per class with full covariance, kept in buffers; new, it is a standard normal."""

    log_weights: Tensor
    """[K]"""
    means: Tensor
    """[K, D]"""
    scale_tril: Tensor
    """Lower Cholesky factors of the covariances, [K, D, D]."""
    classes: Tensor
    """The class that each component stands for, [K]; -1 for none."""

    def __init__(self, latent_dim: int, components: int, num_classes: int) -> None:
        super().__init__()
        self.components, self.num_classes = components, num_classes
        count = components * max(1, num_classes)
        self.register_buffer("log_weights", torch.full((count,), -math.log(count)))
        self.register_buffer("means", torch.zeros(count, latent_dim))
        self.register_buffer("scale_tril", torch.eye(latent_dim).repeat(count, 1, 1))
        self.register_buffer("classes", torch.full((count,), NO_CLASS))

    @property
    def by_class(self) -> bool:
        """Whether latents of one class can be drawn: it is fitted, and on labelled data."""
        return bool((self.classes != NO_CLASS).any())

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density in nats of ``latents`` [N, D], [N]."""
        dim = latents.shape[1]
        inverse = torch.linalg.solve_triangular(self.scale_tril, torch.eye(dim, device=latents.device).expand_as(self.scale_tril), upper=False)
        log_det = self.scale_tril.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = self.log_weights - log_det - 0.5 * dim * math.log(2 * math.pi)
        densities = []
        for chunk in latents.split(4096):  # [n, K, D] would not fit for many latents
            white = torch.einsum("kde,nke->nkd", inverse, chunk[:, None] - self.means)
            densities.append(torch.logsumexp(constant - 0.5 * white.square().sum(2), dim=1))
        return torch.cat(densities)

    def draw(self, num: int, generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """``num`` latents [num, D]; of the classes ``labels`` [num] where the prior knows classes."""
        log_weights = self.log_weights.cpu().expand(num, -1)
        if labels is not None and self.by_class:
            log_weights = torch.where(self.classes.cpu() == labels.cpu()[:, None], log_weights, UNUSED)
        chosen = torch.multinomial(log_weights.double().softmax(1), 1, replacement=True, generator=generator).squeeze(1).to(self.means.device)
        noise = torch.randn(num, self.means.shape[1], generator=generator).to(self.means.device)
        return self.means[chosen] + torch.einsum("nde,ne->nd", self.scale_tril[chosen], noise)

    def fit(self, latents: Tensor, labels: Tensor | None) -> None:
        """Fit the mixture to ``latents`` [N, D]; with ``labels`` [N] each class gets components of its own."""
        log_weights = torch.full_like(self.log_weights, UNUSED)
        groups = range(self.num_classes) if labels is not None and self.num_classes else [NO_CLASS]
        count = self.components if labels is not None else len(self.log_weights)
        for group in groups:
            members = latents if labels is None else latents[labels == group]
            if len(members) < 2:
                continue  # a class without training rows is never drawn
            fitted = _fit_gaussians(members, min(count, len(members) // 2))
            at = slice(max(group, 0) * self.components, max(group, 0) * self.components + len(fitted.weights))
            log_weights[at] = (fitted.weights * (len(members) / len(latents))).log()
            self.means[at], self.scale_tril[at] = fitted.means, fitted.scale_tril
            self.classes[at] = group
        self.log_weights.copy_(log_weights.log_softmax(0))


class _Gaussians:
    def __init__(self, weights: Tensor, means: Tensor, scale_tril: Tensor) -> None:
        self.weights, self.means, self.scale_tril = weights, means, scale_tril


def _fit_gaussians(latents: Tensor, components: int) -> _Gaussians:
    from sklearn.mixture import GaussianMixture

    points = latents.double().cpu().numpy()
    mixture = GaussianMixture(components, covariance_type="full", reg_covar=1e-3, random_state=0, init_params="k-means++", max_iter=200).fit(points)
    covariances = torch.as_tensor(mixture.covariances_)
    return _Gaussians(
        torch.as_tensor(mixture.weights_).to(latents), torch.as_tensor(mixture.means_).to(latents), torch.linalg.cholesky(covariances).to(latents)
    )
