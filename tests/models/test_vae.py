"""The variational autoencoder keeps what its capabilities promise."""

import math

import pytest
import torch
from torch import Tensor

from components.models.capabilities import DataSpec, Embeds, Finishes, HasLatentUnits, HeedsLabels, Reconstructs, SamplesImages, ScoresImages
from components.models.vae.config import VaeConfig
from components.models.vae.likelihood import INITIAL_LOG_SCALE, DiscretisedLogistics
from components.models.vae.model import Vae
from components.models.vae.prior import MixturePrior
from tests.models.stripes import GREY, class_seen, stripes


def make(data: DataSpec = GREY, **settings: object) -> Vae:
    torch.manual_seed(0)
    model = Vae(VaeConfig(**{"width": 8, "max_width": 16, "latent_dim": 4, "levels": 17, "importance_samples": 8, **settings}), data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def train(model: Vae, images: Tensor, steps: int) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model.training_step({"image": images}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_it_has_every_capability_of_its_kind() -> None:
    model = make()
    for capability in (SamplesImages, Reconstructs, ScoresImages, Embeds, Finishes, HeedsLabels, HasLatentUnits):
        assert isinstance(model, capability), capability.__name__


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 12), (1, 28), (3, 32), (1, 64)])
def test_samples_have_the_shape_of_the_data_and_lie_in_the_unit_range(channels: int, size: int) -> None:
    model = make(DataSpec("image", channels=channels, image_size=size))
    samples = model.sample_images(3, seed=0)
    assert samples.shape == (3, channels, size, size)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert model.reconstruct(samples).shape == samples.shape


def test_samples_repeat_from_their_seed_and_differ_between_seeds() -> None:
    model = make()
    train(model, stripes(12)[0], 5)  # a new decoder ignores its latent
    assert torch.equal(model.sample_images(4, seed=3), model.sample_images(4, seed=3))
    assert not torch.equal(model.sample_images(4, seed=3), model.sample_images(4, seed=4))


def test_drawn_pixels_lie_on_the_levels_and_means_do_not() -> None:
    drawn = make(draw_pixels=True).sample_images(4, seed=0) * 16
    assert torch.allclose(drawn, drawn.round(), atol=1e-5)
    assert len(drawn.unique()) > 5
    model = make()
    train(model, stripes(12)[0], 5)
    smooth = model.sample_images(4, seed=0) * 16
    assert not torch.allclose(smooth, smooth.round(), atol=1e-2)


def test_probabilities_of_all_levels_add_up_to_one() -> None:
    pixels = DiscretisedLogistics(levels=17, mixtures=3)
    output = torch.randn(1, pixels.outputs(1), 1, 1, generator=torch.Generator().manual_seed(0)) * 2
    each = torch.linspace(0, 1, 17).reshape(17, 1, 1, 1)
    assert pixels.log_prob(output.expand(17, -1, -1, -1), each).exp().sum() == pytest.approx(1, abs=1e-5)


def test_likelihood_stays_finite_far_from_the_mean() -> None:
    pixels = DiscretisedLogistics(levels=256, mixtures=1)
    output = torch.tensor([0.0, -50.0, -50.0]).reshape(1, 3, 1, 1).requires_grad_()
    nats = pixels.log_prob(output, torch.tensor([[[[0.7]]]]))
    nats.sum().backward()
    assert torch.isfinite(nats).all()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


def test_draws_of_the_likelihood_have_its_mean() -> None:
    pixels = DiscretisedLogistics(levels=256, mixtures=2)
    output = torch.tensor([0.5, -0.5, 0.3, 0.1, -2.0, -2.0]).reshape(1, 6, 1, 1).expand(1, 6, 64, 64)
    draws = pixels.draw(output, torch.Generator().manual_seed(0))
    assert draws.mean() == pytest.approx(pixels.mean(output).mean().item(), abs=0.01)


def test_the_first_loss_is_that_of_one_logistic_in_the_middle() -> None:
    images, _ = stripes(30)
    loss = make().training_step({"image": images}, 0).item()
    # All outputs are zero: centre 0, scale exp(INITIAL_LOG_SCALE), posterior equal to the prior, so KL = 0.
    grey = images * 2 - 1
    upper, lower = (torch.sigmoid((grey + half) / math.exp(INITIAL_LOG_SCALE)) for half in (1 / 16, -1 / 16))
    expected = -torch.log(torch.where(grey == 1, 1.0, upper) - torch.where(grey == -1, 0.0, lower)).mean().item()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_it_overfits_one_batch() -> None:
    model = make(latent_dim=8, width=16, kl_weight=1e-3, kl_warmup_steps=0)
    images, _ = stripes(8)
    losses = train(model, images, 150)
    assert losses[-1] < 0.25 * losses[0]
    assert (model.reconstruct(images) - images).abs().mean() < 0.06


def test_kl_is_weighed_in_over_the_warm_up() -> None:
    model = make(kl_warmup_steps=10)
    images, _ = stripes(12)
    torch.nn.init.normal_(model.posterior.weight, std=0.5)
    torch.manual_seed(0)
    early = model.training_step({"image": images}, 0)
    late_model = make(kl_warmup_steps=0)
    late_model.load_state_dict(model.state_dict())
    torch.manual_seed(0)
    late = late_model.training_step({"image": images}, 0)
    assert late > early + 0.01


def test_free_nats_cost_the_same_below_their_limit() -> None:
    images, _ = stripes(12)
    plain, free = make(kl_warmup_steps=0), make(kl_warmup_steps=0, free_nats=0.5)
    # A new posterior has no KL, so each of the 4 units is charged its free nats.
    torch.manual_seed(0)
    without = plain.training_step({"image": images}, 0).item()
    torch.manual_seed(0)
    assert free.training_step({"image": images}, 0).item() - without == pytest.approx(4 * 0.5 / 64, abs=1e-6)


def test_a_new_prior_is_the_standard_normal() -> None:
    prior = MixturePrior(latent_dim=3, components=2, num_classes=4)
    latents = torch.randn(5, 3)
    expected = torch.distributions.Normal(0, 1).log_prob(latents).sum(1)
    assert torch.allclose(prior.log_prob(latents), expected, atol=1e-5)
    assert not prior.by_class


def test_a_fitted_prior_has_the_moments_and_the_classes_of_the_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(900) % 3
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    prior = MixturePrior(latent_dim=2, components=1, num_classes=3)
    prior.fit(centres[labels] + 0.5 * torch.randn(900, 2, generator=generator), labels)
    ones = prior.draw(500, generator, torch.ones(500, dtype=torch.long))
    assert torch.allclose(ones.mean(0), centres[1], atol=0.1)
    assert torch.allclose(ones.std(0), torch.tensor(0.5), atol=0.1)
    assert prior.log_prob(centres).min() > prior.log_prob(torch.tensor([[3.0, 3.0]])).item() + 5


def test_a_class_without_rows_is_never_drawn() -> None:
    prior = MixturePrior(latent_dim=2, components=2, num_classes=3)
    prior.fit(torch.randn(100, 2), torch.arange(100) % 2)
    drawn = prior.draw(1000, torch.Generator().manual_seed(0))
    assert drawn.abs().max() < 6
    assert prior.log_weights.exp()[4:].sum() == 0
    assert torch.isfinite(prior.log_prob(drawn)).all()


def test_finishing_makes_it_heed_labels() -> None:
    model, (images, labels) = make(kl_warmup_steps=0), stripes(60)
    train(model, images, 80)
    assert not model.conditional
    model.finish([{"image": images[:30], "label": labels[:30]}, {"image": images[30:], "label": labels[30:]}])
    assert model.conditional
    for label in range(3):
        drawn = model.sample_images(20, seed=0, labels=torch.full((20,), label))
        assert (class_seen(drawn) == label).float().mean() > 0.8


def test_finishing_without_labels_fits_one_mixture_and_betters_the_bound() -> None:
    model = make(DataSpec("image", channels=1, image_size=8), kl_weight=0.1, kl_warmup_steps=0)
    images, _ = stripes(60)
    train(model, images, 80)
    before = model.bits_per_dim(images, seed=0).mean()
    model.finish([{"image": images}])
    assert not model.conditional
    assert model.bits_per_dim(images, seed=0).mean() < before


def test_more_draws_tighten_the_bound() -> None:
    model, (images, _) = make(importance_samples=1), stripes(60)
    train(model, images, 30)
    many = make(importance_samples=64)
    many.load_state_dict(model.state_dict())
    assert many.bits_per_dim(images, seed=0).mean() < model.bits_per_dim(images, seed=0).mean()
    assert torch.equal(many.bits_per_dim(images, seed=5), many.bits_per_dim(images, seed=5))


def test_bits_per_dim_cannot_beat_counting_for_a_known_distribution() -> None:
    """Random levels have log2(17) bits each: no honest bound is below that."""
    model = make()
    images = torch.randint(0, 17, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 16
    train(model, images, 30)
    fresh = torch.randint(0, 17, (200, 1, 8, 8), generator=torch.Generator().manual_seed(1)) / 16
    assert model.bits_per_dim(fresh, seed=0).mean() > math.log2(17) - 0.02


def test_an_unused_unit_is_not_counted_as_active() -> None:
    model, (images, _) = make(), stripes(60)
    assert model.active_units(images) == 0
    with torch.no_grad():
        model.posterior.weight[1].normal_(std=0.5)
    assert model.active_units(images) == 1


def test_a_checkpoint_gives_the_same_model_bit_for_bit() -> None:
    model, (images, labels) = make(), stripes(30)
    train(model, images, 10)
    model.finish([{"image": images, "label": labels}])
    again = make()
    again.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    model.eval()
    again.eval()
    assert torch.equal(model.sample_images(8, seed=0), again.sample_images(8, seed=0))
    assert torch.equal(model.bits_per_dim(images, seed=0), again.bits_per_dim(images, seed=0))
    assert again.conditional
