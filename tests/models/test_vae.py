"""The variational autoencoder keeps what its capabilities promise."""

import math

import pytest
import torch
from torch import Tensor

from components.evaluation.frechet import frechet_distance, moments
from components.models.capabilities import (
    DataSpec,
    Embeds,
    Finishes,
    HasFittedPrior,
    HasLatentSpace,
    HasLatentUnits,
    HeedsLabels,
    Reconstructs,
    SamplesImages,
    ScoresImages,
)
from components.models.vae.config import FAMILY, VaeConfig
from components.models.vae.likelihood import INITIAL_LOG_SCALE, DiscretisedLogistics
from components.models.vae.model import Vae, _spread
from components.models.vae.prior import FULL_UP_TO, RANK, MixturePrior
from tests.models.stripes import GREY, class_seen, stripes

BACKBONES = ("own", "autoencoder-kl")


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


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_has_every_capability_of_its_kind(backbone: str) -> None:
    model = make(backbone=backbone)
    known = (SamplesImages, Reconstructs, ScoresImages, Embeds, Finishes, HeedsLabels, HasLatentUnits, HasLatentSpace, HasFittedPrior)
    for capability in known:
        assert isinstance(model, capability), capability.__name__


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 12), (1, 28), (3, 31), (3, 32), (1, 64), (3, 64)])
def test_everything_has_the_shape_of_the_data_and_lies_in_the_unit_range(backbone: str, channels: int, size: int) -> None:
    model = make(DataSpec("image", channels=channels, image_size=size), backbone=backbone, importance_samples=2)
    samples = model.sample_images(3, seed=0)
    assert samples.shape == (3, channels, size, size)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert model.reconstruct(samples).shape == samples.shape
    latents = model.embed(samples)
    assert latents.shape == (3, model.latent_dim)
    assert model.decode(latents).shape == samples.shape
    assert model.bits_per_dim(samples, seed=0).shape == (3,)


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("side", [8, 20, 64])
def test_colour_images_of_every_side_can_be_trained_on_at_their_sizes_own_settings(size: str, side: int) -> None:
    torch.manual_seed(0)
    settings = {**FAMILY.sizes.get(size, {}), "width": 8, "max_width": 16}
    model = Vae(VaeConfig(**settings), DataSpec("image", channels=3, image_size=side))
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    losses = train(model, torch.rand(2, 3, side, side), 2)
    assert all(math.isfinite(loss) for loss in losses)
    assert all(torch.isfinite(weights).all() for weights in model.parameters())


def test_size_base_has_the_autoencoder_of_diffusers_and_the_others_their_own() -> None:
    backbones = {size: VaeConfig(**FAMILY.sizes.get(size, {})).backbone for size in ("tiny", "small", "base")}
    assert backbones == {"tiny": "own", "small": "own", "base": "autoencoder-kl"}


def test_a_setting_that_the_backbone_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="a setting of backbone own"):
        VaeConfig(backbone="autoencoder-kl", dropout=0.1)


@pytest.mark.parametrize(("working_side", "size"), [(8, 12), (16, 31), (8, 28), (16, 64)])
def test_folded_images_keep_their_size_and_no_pixel_is_left_out(working_side: int, size: int) -> None:
    model = make(DataSpec("image", channels=1, image_size=size), working_side=working_side)
    torch.nn.init.normal_(model.backbone.posterior.weight)
    images = torch.rand(1, 1, size, size)
    assert model.reconstruct(images).shape == images.shape
    before = model.embed(images)
    for place in ((0, 0), (size - 1, size - 1), (size // 2, size // 2)):
        changed = images.clone()
        changed[0, 0, place[0], place[1]] = 1 - changed[0, 0, place[0], place[1]].round()
        assert not torch.allclose(model.embed(changed), before)


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


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_first_loss_is_that_of_one_logistic_in_the_middle(backbone: str) -> None:
    images, _ = stripes(30)
    loss = make(backbone=backbone).training_step({"image": images}, 0).item()
    # All outputs are zero: centre 0, scale exp(INITIAL_LOG_SCALE), posterior equal to the prior, so KL = 0.
    grey = images * 2 - 1
    upper, lower = (torch.sigmoid((grey + half) / math.exp(INITIAL_LOG_SCALE)) for half in (1 / 16, -1 / 16))
    expected = -torch.log(torch.where(grey == 1, 1.0, upper) - torch.where(grey == -1, 0.0, lower)).mean().item()
    assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_overfits_one_batch(backbone: str) -> None:
    model = make(latent_dim=8, width=16, kl_weight=1e-3, kl_warmup_steps=0, backbone=backbone)
    images, _ = stripes(8)
    losses = train(model, images, 150)
    assert losses[-1] < 0.25 * losses[0]
    assert (model.reconstruct(images) - images).abs().mean() < 0.06


def test_kl_is_weighed_in_over_the_warm_up() -> None:
    model = make(kl_warmup_steps=10)
    images, _ = stripes(12)
    torch.nn.init.normal_(model.backbone.posterior.weight, std=0.5)
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


def test_a_full_covariance_is_kept_exactly() -> None:
    mixing = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    points = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) @ mixing.T + 2
    prior = MixturePrior(latent_dim=3, components=1, num_classes=0)
    prior.fit(points, None)
    expected = torch.distributions.MultivariateNormal(points.mean(0), torch.cov(points.T)).log_prob(points[:50])
    assert torch.allclose(prior.log_prob(points[:50]), expected, atol=0.02)
    assert torch.allclose(torch.cov(prior.draw(20_000, torch.Generator().manual_seed(0)).T), torch.cov(points.T), atol=0.15)


def test_above_the_limit_the_long_axes_are_kept_and_the_rest_has_one_spread() -> None:
    dim = 256
    assert dim > FULL_UP_TO
    stds = torch.full((dim,), 0.2)
    stds[:10] = 3.0
    points = torch.randn(3000, dim, generator=torch.Generator().manual_seed(0)) * stds
    prior = MixturePrior(latent_dim=dim, components=1, num_classes=0)
    assert prior.axes.shape == (1, dim, RANK)
    prior.fit(points, None)
    drawn = prior.draw(3000, torch.Generator().manual_seed(1))
    assert torch.allclose(drawn.std(0)[:10], stds[:10], rtol=0.1)
    assert drawn.std(0)[10:].mean().item() == pytest.approx(0.2, rel=0.05)
    fresh = torch.randn(500, dim, generator=torch.Generator().manual_seed(2)) * stds
    exact = torch.distributions.Normal(0, stds).log_prob(fresh).sum(1)
    full = torch.distributions.MultivariateNormal(points.mean(0), torch.cov(points.T)).log_prob(fresh)
    # A full covariance of so many rows overfits; this one is within a few nats of the truth in 256 dimensions.
    assert full.mean() < prior.log_prob(fresh).mean() < exact.mean()
    assert (exact - prior.log_prob(fresh)).mean() < 10


def test_a_group_of_few_rows_in_many_dimensions_can_be_fitted() -> None:
    prior = MixturePrior(latent_dim=256, components=3, num_classes=2)
    labels = torch.arange(30) % 2
    prior.fit(torch.randn(30, 256) + 5 * labels[:, None], labels)
    ones = prior.draw(50, torch.Generator().manual_seed(0), torch.ones(50, dtype=torch.long))
    assert ones.mean().item() == pytest.approx(5, abs=0.3)
    assert torch.isfinite(prior.log_prob(ones)).all()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_finishing_makes_it_heed_labels(backbone: str) -> None:
    model, (images, labels) = make(kl_warmup_steps=0, backbone=backbone), stripes(60)
    train(model, images, 80)
    assert not model.conditional
    model.finish([{"image": images[:30], "label": labels[:30]}, {"image": images[30:], "label": labels[30:]}])
    assert model.conditional
    for label in range(3):
        drawn = model.sample_images(20, seed=0, labels=torch.full((20,), label))
        assert (class_seen(drawn) == label).float().mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "size"), [("own", 8), ("autoencoder-kl", 8), ("autoencoder-kl", 16)])
def test_finishing_without_labels_betters_the_bound_and_the_samples(backbone: str, size: int) -> None:
    data = DataSpec("image", channels=1, image_size=size)
    model = make(data, kl_weight=0.1, kl_warmup_steps=0, backbone=backbone)
    images, _ = stripes(90, data)
    train(model, images, 60)
    before = model.bits_per_dim(images, seed=0).mean()
    model.finish([{"image": images}])
    assert not model.conditional
    assert model.bits_per_dim(images, seed=0).mean() < before
    real = moments(images.flatten(1))
    after, standard = (
        frechet_distance(moments(drawn.flatten(1)), real) for drawn in (model.sample_images(300, seed=1), model.sample_before_prior(300, seed=1))
    )
    assert after < 0.9 * standard


def test_before_the_prior_is_fitted_both_ways_of_drawing_are_one() -> None:
    model = make()
    train(model, stripes(12)[0], 5)
    pixels = [draw.mean() for draw in (model.sample_images(400, seed=0), model.sample_before_prior(400, seed=0))]
    assert pixels[0].item() == pytest.approx(pixels[1].item(), abs=0.02)


def test_many_rows_are_thinned_evenly_before_the_prior_is_fitted() -> None:
    assert _spread(10, 100).tolist() == list(range(10))
    assert _spread(1000, 10).tolist() == list(range(0, 1000, 100))


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
        model.backbone.posterior.weight[1].normal_(std=0.5)
    assert model.active_units(images) == 1


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_checkpoint_gives_the_same_model_bit_for_bit(backbone: str) -> None:
    model, (images, labels) = make(backbone=backbone), stripes(30)
    train(model, images, 10)
    model.finish([{"image": images, "label": labels}])
    again = make(backbone=backbone)
    again.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    model.eval()
    again.eval()
    assert torch.equal(model.sample_images(8, seed=0), again.sample_images(8, seed=0))
    assert torch.equal(model.bits_per_dim(images, seed=0), again.bits_per_dim(images, seed=0))
    assert again.conditional
