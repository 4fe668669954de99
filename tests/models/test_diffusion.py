"""Diffusion keeps what its capabilities promise, on every path and with every sampler."""

from collections.abc import Callable
from pathlib import Path as FilePath

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from components.errors import UserError
from components.models.capabilities import DataSpec, EditsImages, HeedsLabels, SamplerSettings, SamplesImages, SamplesInSteps, ShowsDiffusion
from components.models.diffusion.autoencoder import LatentSpace
from components.models.diffusion.config import DiffusionConfig
from components.models.diffusion.model import Diffusion
from components.models.diffusion.paths import Cosine, Flow, Parts, Path
from components.models.diffusion.samplers import SAMPLERS, integrate
from tests.models.stripes import GREY, class_seen, stripes

PATHS: dict[str, Path] = {"flow": Flow(0.0, 1.0, says_image=False), "flow-image": Flow(0.0, 1.0, says_image=True), "ddpm": Cosine()}


class Stepped(Diffusion):
    """Without a Trainer: the phases ask for the step."""

    step = 0

    @property
    def global_step(self) -> int:
        return self.step


def make(data: DataSpec = GREY, **settings: object) -> Stepped:
    torch.manual_seed(0)
    small = {"widths": (16, 16), "head_width": 8, "sampling_steps": 6, "dropout": 0.0}
    model = Stepped(DiffusionConfig(**{**small, **settings}), data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def train(model: Stepped, images: Tensor, labels: Tensor | None, steps: int, rate: float = 5e-3) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        loss = model.training_step({"image": images, **({} if labels is None else {"label": labels})}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.step += 1
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def trained() -> Stepped:
    """Knows the stripes and their classes."""
    model, (images, labels) = make(), stripes(48)
    train(model, images, labels, 120)
    return model.eval()


# -- paths and samplers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_target_tells_the_image_and_the_noise(path: Path) -> None:
    image, noise = torch.randn(2, 5, 1, 4, 4).unbind(0)
    for t in torch.tensor([0.05, 0.3, 0.7, 0.99]):
        parts = path.parts(path.alpha(t) * image + path.sigma(t) * noise, path.target(image, noise), t)
        assert torch.allclose(parts.image, image, atol=1e-4)
        assert torch.allclose(parts.noise, noise, atol=1e-4)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_path_goes_from_image_to_noise_and_its_slopes_are_right(path: Path) -> None:
    start, end = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    assert (path.alpha(start), path.sigma(start)) == (1, 0)
    assert path.alpha(end) == pytest.approx(0, abs=1e-6)
    assert path.sigma(end) == pytest.approx(1)
    t, h = torch.tensor(0.4, dtype=torch.float64), 1e-5
    assert path.alpha_slope(t) == pytest.approx(float(path.alpha(t + h) - path.alpha(t - h)) / (2 * h), rel=1e-6)
    assert path.sigma_slope(t) == pytest.approx(float(path.sigma(t + h) - path.sigma(t - h)) / (2 * h), rel=1e-6)


def test_flow_times_follow_the_logit_normal_and_those_of_ddpm_are_even() -> None:
    torch.manual_seed(0)
    device = torch.device("cpu")
    late = Flow(1.0, 0.5, says_image=True).draw_times(4000, device)
    assert torch.logit(late).mean() == pytest.approx(1.0, abs=0.05)
    assert torch.logit(late).std() == pytest.approx(0.5, abs=0.05)
    assert Cosine().draw_times(4000, device).mean() == pytest.approx(0.5, abs=0.02)


def solve(path: Path, x: Tensor, *, spread: float, method: str, steps: int) -> Tensor:
    """Sampling of data that is normal with standard deviation ``spread``, for which the best denoiser is known."""

    def denoise(x: Tensor, t: Tensor) -> Parts:
        alpha, sigma = path.alpha(t), path.sigma(t)
        image = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * x
        return Parts(image, (x - alpha * image) / sigma)

    return integrate(denoise, path, x, start=path.latest, steps=steps, method=method, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", SAMPLERS)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_every_sampler_draws_data_of_the_right_spread_on_every_path(path: Path, method: str) -> None:
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    assert solve(path, x, spread=0.5, method=method, steps=100).std() == pytest.approx(0.5, rel=0.04)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_heun_is_nearer_to_the_exact_solution_than_euler_in_as_many_steps(path: Path) -> None:
    x = torch.randn(100, 1, generator=torch.Generator().manual_seed(0)).double()
    exact = solve(path, x, spread=0.5, method="heun", steps=1000)
    errors = {method: (solve(path, x, spread=0.5, method=method, steps=40) - exact).abs().mean() for method in ("euler", "heun")}
    assert errors["heun"] < errors["euler"] / 2


def test_only_ddpm_adds_noise_of_its_own() -> None:
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))

    def draw(method: str, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        path = PATHS["ddpm"]
        denoise = lambda x, t: path.parts(x, torch.zeros_like(x), t)  # noqa: E731
        return integrate(denoise, path, x, start=0.9, steps=4, method=method, generator=generator)

    assert torch.equal(draw("ddim", 1), draw("ddim", 2))
    assert not torch.equal(draw("ddpm", 1), draw("ddpm", 2))


# -- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"predicts": "velocity"}, lambda power, weight: 1 + power),
        ({"predicts": "image"}, lambda power, weight: power * weight),
        ({"objective": "ddpm"}, lambda power, weight: 1.0),
    ],
)
def test_the_first_loss_is_that_of_a_network_which_says_nothing(settings: dict[str, object], expected: Callable[[float, float], float]) -> None:
    images, labels = stripes(600)
    loss = make(**settings).training_step({"image": images, "label": labels}, 0).item()
    times = torch.sigmoid(torch.randn(100_000)).clamp(min=0.05)
    assert loss == pytest.approx(expected((images * 2 - 1).square().mean().item(), times.pow(-2).mean().item()), rel=0.1)


@pytest.mark.parametrize("predicts", ["image", "velocity"])
def test_what_the_network_says_changes_nothing_about_what_is_measured(predicts: str) -> None:
    """A perfect answer costs nothing, and an error of the velocity costs its square."""
    path = Flow(0.0, 1.0, says_image=predicts == "image")
    image, noise, error = torch.randn(3, 4, 1, 4, 4).unbind(0)
    t = torch.tensor(0.3)
    x = path.alpha(t) * image + path.sigma(t) * noise
    wrong = noise - image + error
    said = x - t * wrong if predicts == "image" else wrong
    assert torch.allclose((said - path.target(image, noise)).square() * path.weight(t), error.square(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["flow", "ddpm"])
def test_it_overfits_one_batch(objective: str) -> None:
    model, (images, labels) = make(objective=objective, sampling_steps=20), stripes(3)
    losses = train(model, images.repeat(8, 1, 1, 1), labels.repeat(8), 250)
    assert sum(losses[-20:]) / 20 < 0.2 * losses[0]
    drawn = model.eval().sample_images(30, seed=0)
    assert torch.cdist(drawn.flatten(1), images.flatten(1)).min(1).values.median() < 1.0  # random images are at 3 and more


def test_some_labels_are_hidden_while_training() -> None:
    model = make(label_dropout=0.25)
    torch.manual_seed(0)
    (seen,) = model._asked({"label": torch.zeros(2000, dtype=torch.long)}, training=True)
    assert (seen == 3).float().mean() == pytest.approx(0.25, abs=0.04)


def test_validation_asks_for_no_dropout_of_labels() -> None:
    model, (images, labels) = make(label_dropout=0.9), stripes(6)
    asked: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[2]))
    model.validation_step({"image": images, "label": labels}, 0)
    assert torch.equal(asked[0], labels)


# -- capabilities ----------------------------------------------------------------------------------------------------


def test_it_has_every_capability_of_its_kind() -> None:
    for capability in (SamplesImages, SamplesInSteps, EditsImages, ShowsDiffusion, HeedsLabels):
        assert isinstance(make(), capability), capability.__name__


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 9), (3, 12), (1, 28), (3, 32), (1, 64)])
def test_samples_have_the_shape_of_the_data_and_lie_in_the_unit_range(channels: int, size: int) -> None:
    model = make(DataSpec("image", channels=channels, image_size=size), sampling_steps=2, widths=(8, 8, 8))
    samples = model.sample_images(2, seed=0)
    assert samples.shape == (2, channels, size, size)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert torch.isfinite(model.training_step({"image": samples}, 0))


@pytest.mark.slow
def test_samples_repeat_from_their_seed_and_differ_between_seeds(trained: Stepped) -> None:
    assert torch.equal(trained.sample_images(4, seed=3), trained.sample_images(4, seed=3))
    assert not torch.equal(trained.sample_images(4, seed=3), trained.sample_images(4, seed=4))


def test_it_draws_the_class_that_is_asked_for(trained: Stepped) -> None:
    asked = torch.arange(3).repeat_interleave(10)
    assert (class_seen(trained.sample_images(30, seed=0, labels=asked)) == asked).float().mean() > 0.9


def test_without_guidance_of_its_own_zero_asks_for_no_class(trained: Stepped) -> None:
    asked = torch.zeros(30, dtype=torch.long)
    free = trained.sample_images(30, seed=0, labels=asked, settings=SamplerSettings(guidance=0.0))
    assert len(class_seen(free).unique()) > 1


@pytest.mark.parametrize("method", SAMPLERS)
def test_steps_and_sampler_can_be_chosen(trained: Stepped, method: str) -> None:
    drawn = trained.sample_images(3, seed=0, settings=SamplerSettings(steps=4, method=method))
    assert not torch.equal(drawn, trained.sample_images(3, seed=0, settings=SamplerSettings(steps=3, method=method)))
    assert trained.settled(SamplerSettings(method=method)) == SamplerSettings(6, method, 1.5)


def test_unconditional_by_config_or_without_labels_it_has_nothing_to_guide() -> None:
    for model in (make(conditional=False), make(DataSpec("image", channels=1, image_size=8))):
        assert not model.conditional
        assert model.settled(SamplerSettings(guidance=3.0)).guidance is None
        model.sample_images(2, seed=0, labels=torch.tensor([0, 1]))


def test_an_edit_stays_near_the_picture_at_low_strength_and_leaves_it_at_high_strength(trained: Stepped) -> None:
    images, _ = stripes(12)
    distances = [(trained.edit_images(images, strength=strength, seed=0) - images).square().mean().item() for strength in (0.05, 0.6, 1.0)]
    assert distances[0] < 0.02
    assert distances[0] < distances[1] < distances[2]


def test_a_moderate_edit_mends_noise_and_keeps_the_class(trained: Stepped) -> None:
    images, labels = stripes(30)
    noisy = (images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    edited = trained.edit_images(noisy, strength=0.4, seed=0)
    assert (class_seen(edited) == labels).float().mean() > 0.8
    assert (edited - images).square().mean() < (noisy - images).square().mean()


def test_strips_go_from_image_to_noise_and_from_noise_to_sample(trained: Stepped) -> None:
    images, _ = stripes(4)
    forward = trained.forward_strip(images, frames=5, seed=0)
    assert forward.shape == (4, 5, 1, 8, 8)
    assert torch.allclose(forward[:, 0], images, atol=1e-5)
    labels = torch.tensor([0, 1, 2])
    reverse = trained.reverse_strip(3, frames=4, seed=5, labels=labels)
    assert torch.equal(reverse[:, -1], trained.sample_images(3, seed=5, labels=labels))


def test_a_checkpoint_gives_the_same_model_bit_for_bit(trained: Stepped) -> None:
    again = make().eval()
    again.load_state_dict({name: tensor.clone() for name, tensor in trained.state_dict().items()})
    assert torch.equal(again.sample_images(8, seed=0), trained.sample_images(8, seed=0))


# -- latents ---------------------------------------------------------------------------------------------------------

LATENT = {"latent_factor": 2, "latent_channels": 2, "autoencoder_steps": 40, "autoencoder_width": 8, "max_steps": 80}


def test_latent_diffusion_trains_the_autoencoder_first_and_then_leaves_it_alone() -> None:
    model, (images, labels) = make(**LATENT), stripes(12)
    losses = train(model, images, labels, 40)
    assert losses[-1] < 0.5 * losses[0]
    assert isinstance(model.space, LatentSpace)
    assert model.space.scale == 0
    kept = {name: value.clone() for name, value in model.space.network.state_dict().items()}
    train(model, images, labels, 3)
    assert model.space.scale > 0
    assert all(torch.equal(value, kept[name]) for name, value in model.space.network.state_dict().items())


def test_latents_have_about_unit_variance_and_decode_to_the_image() -> None:
    model, (images, labels) = make(**LATENT), stripes(12)
    train(model, images, labels, 41)
    codes = model.space.encode(images).detach()
    assert codes.shape == (12, 2, 4, 4)
    assert codes.std() == pytest.approx(1, abs=0.1)
    assert (model.space.decode(codes).detach() - images).abs().mean() < 0.2
    assert model.sample_images(3, seed=0).shape == (3, 1, 8, 8)
    assert model.edit_images(images[:2], strength=0.5, seed=0).shape == (2, 1, 8, 8)


def test_a_reduction_that_does_not_suit_the_images_is_refused_with_the_fix() -> None:
    with pytest.raises(UserError, match="latent_factor 4 does not suit images of 8 pixels: choose one that divides the side"):
        make(**{**LATENT, "latent_factor": 4})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"widths": (12, 16)}, "widths must be multiples of 8"),
        ({"latent_factor": 2, "autoencoder_steps": 0}, "needs autoencoder_steps between 1 and max_steps"),
    ],
)
def test_settings_that_contradict_each_other_are_named(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        DiffusionConfig(**settings)  # type: ignore[arg-type]


def test_the_embedded_network_is_built_without_a_download(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    make(**LATENT)
    assert list(tmp_path.iterdir()) == []


def test_the_loss_of_an_image_hangs_on_neither_its_batch_nor_the_clock(trained: Stepped) -> None:
    images, labels = stripes(6)
    whole = trained.image_losses(images, seed=3, labels=labels)
    assert whole.shape == (6,)
    assert torch.allclose(whole[4:5], trained.image_losses(images[4:5], seed=3, labels=labels[4:5]), atol=1e-5)
    assert not torch.allclose(whole, trained.image_losses(images, seed=4, labels=labels))
    assert whole.mean() < trained.image_losses(torch.rand_like(images), seed=3, labels=labels).mean()
