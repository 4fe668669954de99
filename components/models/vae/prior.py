"""The prior of the latents: a standard normal while training, then a Gaussian mixture fitted to the aggregated posterior.

The decoder is trained on latents of the aggregated posterior, which a standard normal covers with holes; a mixture that is
fitted afterwards draws where the decoder knows its way (Ghosh et al. 2020, "From Variational to Deterministic Autoencoders",
section 4, ex-post density estimation).

Up to `FULL_UP_TO` dimensions the covariances are full, by expectation maximisation. Above, as for the 256 numbers of a latent map,
there are too few rows for that: k-means groups the latents, and each group keeps its `RANK` longest axes and one spread for all
other directions (Tipping and Bishop 1999, "Mixtures of Probabilistic Principal Component Analysers", equations 12 and 15).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NO_CLASS = -1
UNUSED = -1e9
"""Log weight of a component that is never drawn (finite, so that sums stay finite)."""
FULL_UP_TO = 96
RANK = 96
LEAST_STD = 0.03
"""No axis is shorter: a mixture must not shrink to a point."""
_CHUNK_NUMBERS = 2**24
"""Numbers held at once by `log_prob`."""


class MixturePrior(nn.Module):
    """A mixture of ``components`` Gaussians per class, kept in buffers; new, it is a standard normal.

    A Gaussian has R orthonormal axes with a standard deviation each, and one standard deviation for what is at right angles to all of
    them; R is the whole dimension where covariances are full.
    """

    log_weights: Tensor
    """[K]"""
    means: Tensor
    """[K, D]"""
    axes: Tensor
    """[K, D, R]"""
    stds: Tensor
    """Along the axes, [K, R]."""
    rest: Tensor
    """In every other direction, [K]."""
    classes: Tensor
    """The class that each component stands for, [K]; -1 for none."""

    def __init__(self, latent_dim: int, components: int, num_classes: int) -> None:
        super().__init__()
        self.components, self.num_classes = components, num_classes
        count, rank = components * max(1, num_classes), rank_of(latent_dim)
        self.register_buffer("log_weights", torch.full((count,), -math.log(count)))
        self.register_buffer("means", torch.zeros(count, latent_dim))
        self.register_buffer("axes", torch.eye(latent_dim, rank).repeat(count, 1, 1))
        self.register_buffer("stds", torch.ones(count, rank))
        self.register_buffer("rest", torch.ones(count))
        self.register_buffer("classes", torch.full((count,), NO_CLASS))

    @property
    def by_class(self) -> bool:
        """Whether latents of one class can be drawn: it is fitted, and on labelled data."""
        return bool((self.classes != NO_CLASS).any())

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density in nats of ``latents`` [N, D], [N]."""
        count, dim, rank = self.axes.shape
        log_det = self.stds.log().sum(1) + (dim - rank) * self.rest.log()
        constant = self.log_weights - log_det - 0.5 * dim * math.log(2 * math.pi)
        densities = []
        for chunk in latents.split(max(1, _CHUNK_NUMBERS // (count * dim))):
            offset = chunk[:, None] - self.means
            along = torch.einsum("kdr,nkd->nkr", self.axes, offset)
            distance = (along / self.stds).square().sum(2)
            if rank < dim:
                across = offset - torch.einsum("kdr,nkr->nkd", self.axes, along)
                distance = distance + (across / self.rest[:, None]).square().sum(2)
            densities.append(torch.logsumexp(constant - 0.5 * distance, dim=1))
        return torch.cat(densities)

    def draw(self, num: int, generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """``num`` latents [num, D]; of the classes ``labels`` [num] where the prior knows classes."""
        log_weights = self.log_weights.cpu().expand(num, -1)
        if labels is not None and self.by_class:
            log_weights = torch.where(self.classes.cpu() == labels.cpu()[:, None], log_weights, UNUSED)
        chosen = torch.multinomial(log_weights.double().softmax(1), 1, replacement=True, generator=generator).squeeze(1).to(self.means.device)
        noise = torch.randn(num, self.means.shape[1], generator=generator).to(self.means.device)
        axes = self.axes[chosen]
        along = torch.einsum("ndr,nd->nr", axes, noise)
        stretched = self.rest[chosen, None] * noise + torch.einsum("ndr,nr->nd", axes, (self.stds - self.rest[:, None])[chosen] * along)
        return self.means[chosen] + stretched

    def fit(self, latents: Tensor, labels: Tensor | None) -> None:
        """Fit the mixture to ``latents`` [N, D]; with ``labels`` [N] each class gets components of its own."""
        log_weights = torch.full_like(self.log_weights, UNUSED)
        groups = range(self.num_classes) if labels is not None and self.num_classes else [NO_CLASS]
        count = self.components if labels is not None else len(self.log_weights)
        for group in groups:
            members = latents if labels is None else latents[labels == group]
            if len(members) < 2:
                continue  # a class without training rows is never drawn
            fitted = _fit_gaussians(members, count)
            at = slice(max(group, 0) * self.components, max(group, 0) * self.components + len(fitted.weights))
            log_weights[at] = (fitted.weights * (len(members) / len(latents))).log().to(log_weights)
            self.means[at] = fitted.means.to(latents)
            self.axes[at], self.stds[at], self.rest[at] = fitted.axes.to(latents), fitted.stds.to(latents), fitted.rest.to(latents)
            self.classes[at] = group
        self.log_weights.copy_(log_weights.log_softmax(0))


@dataclass(frozen=True)
class _Gaussians:
    weights: Tensor
    means: Tensor
    axes: Tensor
    stds: Tensor
    rest: Tensor


def rank_of(latent_dim: int) -> int:
    """How many axes a Gaussian of the prior has."""
    return latent_dim if latent_dim <= FULL_UP_TO else RANK


def _fit_gaussians(latents: Tensor, components: int) -> _Gaussians:
    points = latents.double().cpu()
    if points.shape[1] <= FULL_UP_TO:
        return _fit_full(points, min(components, len(points) // 2))
    return _fit_low_rank(points, min(components, max(1, len(points) // (2 * RANK))))


def _fit_full(points: Tensor, components: int) -> _Gaussians:
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, covariance_type="full", reg_covar=1e-3, random_state=0, init_params="k-means++", max_iter=100, tol=1e-2)
    mixture.fit(points.numpy())
    variances, axes = torch.linalg.eigh(torch.as_tensor(mixture.covariances_))
    stds = variances.clamp(min=LEAST_STD**2).sqrt()
    return _Gaussians(torch.as_tensor(mixture.weights_), torch.as_tensor(mixture.means_), axes, stds, torch.ones(components))


def _fit_low_rank(points: Tensor, components: int) -> _Gaussians:
    from sklearn.cluster import KMeans

    nearest = torch.as_tensor(KMeans(components, n_init=1, random_state=0).fit_predict(points.numpy()))
    groups = [points[nearest == index] for index in range(components)]
    parts = [_principal(group) for group in groups if len(group) > 1]
    weights = torch.tensor([len(group) / len(points) for group in groups if len(group) > 1])
    means, axes, stds, rest = (torch.stack(column) for column in zip(*parts, strict=True))
    return _Gaussians(weights, means, axes, stds, rest)


def _principal(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, the `RANK` longest axes, the standard deviations along them, and the mean one of the other directions."""
    variances, axes = torch.linalg.eigh(torch.cov(points.T))
    variances = variances.flip(0).clamp(min=LEAST_STD**2)
    return points.mean(0), axes.flip(1)[:, :RANK], variances[:RANK].sqrt(), variances[RANK:].mean().sqrt()
