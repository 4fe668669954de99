"""The generative adversarial network keeps what its capabilities promise."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from components.models.capabilities import DataSpec, HeedsLabels, Reconstructs, SamplesImages, SamplesInSteps
from components.models.gan.augmentation import augmented
from components.models.gan.config import GanConfig
from components.models.gan.model import Gan
from tests.models.stripes import GREY, class_seen, stripes


def make(data: DataSpec = GREY, **settings: object) -> Gan:
    torch.manual_seed(0)
    return Gan(GanConfig(**{"width": 8, "max_width": 16, "latent_dim": 8, **settings}), data)


def train(model: Gan, images: Tensor, labels: Tensor | None, steps: int) -> list[dict[str, float]]:
    """The model's own steps without a Trainer; what each of them logged."""
    optimizers, schedules = model.configure_optimizers()
    logged: list[dict[str, float]] = []
    parts: dict[str, Any] = {
        "optimizers": lambda: optimizers,
        "lr_schedulers": lambda: schedules,
        "manual_backward": lambda loss: loss.backward(),
        "log_dict": lambda found, **_: logged.append({name: float(value) for name, value in found.items()}),
    }
    for name, part in parts.items():
        setattr(model, name, part)
    for _ in range(steps):
        model.training_step({"image": images, **({} if labels is None else {"label": labels})}, 0)
    return logged


def test_it_samples_by_class_in_one_pass_and_does_nothing_else() -> None:
    model = make()
    assert isinstance(model, SamplesImages)
    assert isinstance(model, HeedsLabels)
    assert not isinstance(model, (SamplesInSteps, Reconstructs))


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 12), (1, 28), (3, 32), (1, 64)])
def test_samples_have_the_shape_of_the_data_and_lie_in_the_unit_range(channels: int, size: int) -> None:
    data = DataSpec("image", channels=channels, image_size=size)
    model = make(data)
    samples = model.sample_images(3, seed=0)
    assert samples.shape == (3, channels, size, size)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert train(model, torch.rand(4, channels, size, size), None, 1)


def test_samples_repeat_from_their_seed_and_differ_between_seeds() -> None:
    model = make()
    assert torch.equal(model.sample_images(4, seed=3), model.sample_images(4, seed=3))
    assert not torch.equal(model.sample_images(4, seed=3), model.sample_images(4, seed=4))


def test_the_first_loss_of_both_networks_is_a_coin_toss() -> None:
    images, labels = stripes(12)
    first = train(make(), images, labels, 1)[0]
    assert first["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["train/generator_loss"] == pytest.approx(math.log(2), abs=0.02)  # after one step of the discriminator
    assert first["train/gradient_penalty"] == 0


@pytest.mark.slow
def test_it_learns_one_batch_by_class() -> None:
    model = make(learning_rate=3e-3, max_steps=300, augment=(), penalty=1.0, final_penalty=0.1)
    images, labels = stripes(24)
    train(model, images, labels, 300)
    asked = torch.arange(3).repeat_interleave(20)
    drawn = model.sample_images(60, seed=0, labels=asked)
    assert (class_seen(drawn) == asked).float().mean() > 0.9
    distance = torch.cdist(drawn.flatten(1), images.flatten(1)).min(1).values.median()
    assert distance < 0.5 * torch.cdist(torch.rand(60, 64), images.flatten(1)).min(1).values.median()


def test_both_networks_move_in_every_step_and_only_by_their_own_optimiser() -> None:
    model, (images, labels) = make(), stripes(12)
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(model, images, labels, 2)
    moved = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"generator", "discriminator"}
    groups = [{id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in model.configure_optimizers()[0]]
    assert groups == [{id(p) for p in model.generator.parameters()}, {id(p) for p in model.discriminator.parameters()}]


def test_the_penalty_falls_geometrically_to_its_final_weight() -> None:
    model = make(penalty=100.0, final_penalty=1.0, max_steps=10)
    weights = []
    for step in (0, 5, 10, 20):
        model.steps_done.fill_(step)
        weights.append(model._penalty())
    assert weights == pytest.approx([100, 10, 1, 1])
    without = make(penalty=0.0, final_penalty=0.0)
    assert without._penalty() == 0


def test_the_penalties_are_the_squared_slopes_on_real_and_drawn_images() -> None:
    model, (images, _) = make(DataSpec("image", channels=1, image_size=8), augment=()), stripes(6)
    weight = torch.randn(64)
    model.discriminator = Slope(weight)  # type: ignore[assignment]
    found: dict[str, Tensor] = {}
    model._discriminator_loss(images * 2 - 1, None, found)
    assert found["gradient_penalty"].item() == pytest.approx(2 * weight.square().sum().item(), rel=1e-4)


class Slope(torch.nn.Module):
    """A discriminator of constant slope."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return images.flatten(1) @ self.weight


def test_without_labels_it_draws_the_classes_as_often_as_it_saw_them() -> None:
    model, (images, labels) = make(), stripes(12)
    train(model, images[labels != 1], labels[labels != 1], 1)
    assert model.classes.counts.tolist() == [4, 0, 4]
    generator = torch.Generator().manual_seed(0)
    torch.randn(8, 8, generator=generator)
    same = model.classes.draw(8, generator)
    assert same is not None
    assert 1 not in same
    assert torch.equal(model.sample_images(8, seed=0), model.sample_images(8, seed=0, labels=same))


def test_unconditional_by_config_it_ignores_labels() -> None:
    model = make(conditional=False)
    assert not model.conditional
    assert torch.equal(model.sample_images(3, seed=0, labels=torch.tensor([0, 1, 2])), model.sample_images(3, seed=0))


def test_a_checkpoint_gives_the_same_model_bit_for_bit() -> None:
    model, (images, labels) = make(), stripes(12)
    train(model, images, labels, 3)
    again = make()
    again.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    assert torch.equal(model.sample_images(8, seed=0), again.sample_images(8, seed=0))
    assert again.steps_done == 3


# -- differentiable augmentation -------------------------------------------------------------------------------------


def alter(images: Tensor, *kinds: str, shift: float = 0.25, cutout: float = 0.5) -> Tensor:
    torch.manual_seed(0)
    return augmented(images, kinds, shift=shift, cutout=cutout)


def test_a_shift_moves_the_image_and_repeats_the_border() -> None:
    image = torch.full((200, 1, 8, 8), -1.0)
    image[:, :, 4, 4] = 1
    moved = alter(image, "shift")
    assert torch.equal(moved.flatten(1).sum(1), image.flatten(1).sum(1))
    places = {divmod(int(place), 8) for place in moved.flatten(1).argmax(1)}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert set(alter(ramp, "shift").unique().tolist()) <= set(range(8))


def test_no_shift_changes_nothing() -> None:
    images = torch.rand(3, 3, 9, 9)
    assert torch.equal(alter(images, "shift", shift=0.0), images)


def test_a_cut_sets_one_square_to_grey() -> None:
    cut = alter(torch.ones(100, 1, 8, 8), "cutout")
    sizes = (cut == 0).flatten(1).sum(1)
    assert sizes.max() == 16
    assert sizes.min() >= 1
    assert set(cut.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_changes_every_image_and_leaves_black_black(channels: int) -> None:
    images = torch.rand(20, channels, 8, 8)
    images[:, :, 0] = -1
    changed = alter(images, "colour")
    assert torch.allclose(changed[:, :, 0], torch.tensor(-1.0), atol=1e-6)
    assert ((changed - images).abs().flatten(1).amax(1) > 1e-3).all()


def test_gradients_pass_through_every_augmentation() -> None:
    images = torch.rand(4, 3, 8, 8, requires_grad=True)
    alter(images, "colour", "shift", "cutout").sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()
