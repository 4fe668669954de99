"""Muon for matrices and AdamW for the rest, as one optimiser.

Muon takes the momentum of a matrix's gradient and replaces it by the nearest orthogonal matrix, so that every direction moves
by the same amount. Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration pulls singular values towards 1; chosen by Jordan et al. for its slope at 0."""


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """U S' V^T with S' about 1 (0.7 to 1.2) for every matrix U S V^T of ``matrices`` [..., M, N], by Newton-Schulz."""
    a, b, c = COEFFICIENTS
    wide = matrices.size(-2) <= matrices.size(-1)
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon on ``matrices``, AdamW on the groups ``rest``. A kernel [out, in, ...] counts as the matrix [out, in * ...].

    Each group of ``rest`` is a dict with ``params`` and ``lr``, and may set ``weight_decay`` and ``betas``. A parameter without a gradient is
    left alone, its state and its weight decay too. Weight decay is decoupled and scaled by the group's learning rate.
    """

    def __init__(self, matrices: Iterable[Tensor], rest: Iterable[dict[str, Any]], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        hidden = list(matrices)
        assert all(parameter.ndim >= 2 for parameter in hidden), "Muon takes matrices and kernels only"
        defaults = {"lr": lr, "weight_decay": 0.0, "momentum": momentum, "betas": (0.8, 0.95), "eps": 1e-10}
        groups = [{"params": hidden, "muon": True, "weight_decay": weight_decay}, *({**group, "muon": False} for group in rest)]
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what ``closure`` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                (self._muon if group["muon"] else self._adamw)(group, parameters)
        return loss

    def _muon(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        buffers = [self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter)) for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, buffers, group["momentum"])
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        # Matrices of one shape go through the iteration as one batch: fewer and larger products.
        for shape in dict.fromkeys(parameter.shape for parameter in parameters):
            same = [index for index, parameter in enumerate(parameters) if parameter.shape == shape]
            stacked = torch.stack([updates[index].flatten(1) for index in same])
            directions = orthogonalise(_working(stacked)).to(parameters[same[0]].dtype)
            scale = group["lr"] * math.sqrt(max(1.0, stacked.size(1) / stacked.size(2)))
            torch._foreach_add_([parameters[index] for index in same], [direction.view(shape) for direction in directions], alpha=-scale)

    def _adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [_gradient(parameter) for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _working(updates: Tensor) -> Tensor:
    """bfloat16 on CUDA, where it is several times faster and exact enough for a direction."""
    return updates.bfloat16() if updates.is_cuda else updates
