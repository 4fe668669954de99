"""Text-to-image draws what a caption says, and keeps what its capabilities promise."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from components.models.capabilities import DataSpec, DrawsFromText, SamplerSettings, SamplesInSteps
from components.models.layers.steering import steer_towards
from components.models.text_to_image.config import TextToImageConfig
from components.models.text_to_image.model import TextToImage
from components.models.token_rows import BEGIN, END, PADDING
from tests.models.stripes import class_seen, stripes

DATA = DataSpec("image-text", channels=1, image_size=8, vocab_size=20)
LENGTH = 6


class Stepped(TextToImage):
    """Without a Trainer: the phases ask for the step."""

    global_step = 0


def make(data: DataSpec = DATA, **settings: object) -> Stepped:
    torch.manual_seed(0)
    small = {
        "caption_length": LENGTH, "widths": (16, 16), "head_width": 8, "text_width": 16, "text_heads": 2, "sampling_steps": 6, "sketch_side": 8,
        "drawn_rows": None, "time_mean": 0.0, "guidance": 1.5,
    }  # fmt: skip
    model = Stepped(TextToImageConfig.model_validate({**small, **settings}), data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def captions(labels: Tensor) -> Tensor:
    """A row of tokens for each class: two words of three, and their marks."""
    rows = torch.full((len(labels), LENGTH), PADDING)
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = BEGIN, 5, 6 + labels, END
    return rows


def train(model: Stepped, steps: int, num: int = 48) -> list[float]:
    images, labels = stripes(num)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        loss = model.training_step({"image": images, "tokens": captions(labels)}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def trained() -> Stepped:
    model = make()
    train(model, 120)
    return model.eval()


def test_it_has_the_capabilities_that_the_rest_asks_for() -> None:
    model = make()
    assert isinstance(model, DrawsFromText)
    assert isinstance(model, SamplesInSteps)


def test_the_first_loss_is_that_of_a_network_which_says_nothing() -> None:
    images, labels = stripes(600)
    torch.manual_seed(0)
    loss = make(sketch_weight=0).training_step({"image": images, "tokens": captions(labels)}, 0).item()
    times = torch.sigmoid(torch.randn(100_000)).clamp(min=0.05)
    assert loss == pytest.approx((images * 2 - 1).square().mean().item() * times.pow(-2).mean().item(), rel=0.1)


@pytest.mark.slow
def test_it_overfits_one_batch() -> None:
    losses = train(make(caption_dropout=0.0), 120, num=4)
    assert sum(losses[-20:]) / 20 < 0.1 * losses[0]


def test_it_draws_what_the_caption_says(trained: Stepped) -> None:
    wanted = torch.arange(60) % 3
    drawn = trained.draw_from_text(captions(wanted), seed=3)
    assert drawn.shape == (60, 1, 8, 8)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (class_seen(drawn) == wanted).float().mean() > 0.9


def test_guidance_changes_what_is_drawn_and_none_at_all_heeds_no_caption(trained: Stepped) -> None:
    one, other = captions(torch.zeros(4, dtype=torch.long)), captions(torch.ones(4, dtype=torch.long))
    unguided = SamplerSettings(guidance=0.0)
    assert torch.allclose(trained.draw_from_text(one, seed=0, settings=unguided), trained.draw_from_text(other, seed=0, settings=unguided))
    strong = trained.draw_from_text(one, seed=0, settings=SamplerSettings(guidance=4.0))
    assert not torch.allclose(strong, trained.draw_from_text(one, seed=0, settings=SamplerSettings(guidance=1.0)))


@pytest.mark.parametrize("method", ["euler", "heun", "ddim", "ddpm"])
def test_every_sampler_repeats_itself(trained: Stepped, method: str) -> None:
    tokens, settings = captions(torch.arange(3)), SamplerSettings(method=method, steps=3)
    first = trained.draw_from_text(tokens, seed=5, settings=settings)
    assert torch.equal(first, trained.draw_from_text(tokens, seed=5, settings=settings))
    assert not torch.equal(first, trained.draw_from_text(tokens, seed=6, settings=settings))


def test_a_picture_is_drawn_anew_as_the_caption_says_and_a_weak_edit_stays_near_it(trained: Stepped) -> None:
    images, labels = stripes(30)
    other = (labels + 1) % 3
    near = trained.edit_from_text(images, captions(other), strength=0.1, seed=0)
    free = trained.edit_from_text(images, captions(other), strength=1.0, seed=0)
    assert (near - images).square().mean() < (free - images).square().mean() / 4
    assert (class_seen(free) == other).float().mean() > 0.9


def test_the_last_frame_of_a_strip_is_the_image(trained: Stepped) -> None:
    tokens = captions(torch.arange(3))
    strip = trained.text_strip(tokens, frames=4, seed=2)
    assert strip.shape == (3, 4, 1, 8, 8)
    assert torch.allclose(strip[:, -1], trained.draw_from_text(tokens, seed=2), atol=1e-6)


def test_the_sketch_is_the_mean_of_what_a_caption_shows(trained: Stepped) -> None:
    images, labels = stripes(48)
    *_, sketch = trained._of(captions(torch.arange(3)))
    for label in range(3):
        error = ((sketch[label] + 1) / 2 - images[labels == label].mean(0)).abs().mean()
        assert error < 0.08, label


def test_some_captions_are_hidden_while_training_and_none_in_validation() -> None:
    model, tokens = make(caption_dropout=0.25), captions(torch.zeros(2000, dtype=torch.long))
    torch.manual_seed(0)
    hidden = model._asked({"tokens": tokens}, training=True)[1].sum(dim=1) == 2  # marks alone
    assert hidden.float().mean() == pytest.approx(0.25, abs=0.04)
    assert (model._asked({"tokens": tokens}, training=False)[1].sum(dim=1) == 4).all()


class Bright:
    """Likes images by their first stripe."""

    caption_length = 4

    def embed_images(self, images: Tensor) -> Tensor:
        first = images[:, :, :, :2].mean(dim=(1, 2, 3))
        return torch.stack([first, 1 - first], dim=1)

    def embed_captions(self, tokens: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]])


def test_a_judge_steers_what_is_drawn_and_a_scale_of_zero_does_not(trained: Stepped) -> None:
    tokens, judge = captions(torch.full((8,), 2)), Bright()
    plain = trained.draw_from_text(tokens, seed=1)
    scores = []
    for scale in (0.0, 2.0, 6.0):
        with torch.inference_mode():  # as when a package answers
            drawn = trained.draw_from_text(tokens, seed=1, steer=steer_towards(judge, torch.zeros(1, 4), scale))
        scores.append(judge.embed_images(drawn)[:, 0].mean().item())
        if scale == 0:
            assert torch.allclose(drawn, plain, atol=1e-4)
    assert scores[0] < scores[1] < scores[2]


def test_the_weights_come_back_bit_for_bit(trained: Stepped, tmp_path: Path) -> None:
    from safetensors.torch import load_model, save_model

    save_model(trained, str(tmp_path / "weights.safetensors"))
    again = make().eval()
    load_model(again, tmp_path / "weights.safetensors")
    tokens = captions(torch.arange(3))
    assert torch.equal(again.draw_from_text(tokens, seed=0), trained.draw_from_text(tokens, seed=0))


@pytest.mark.parametrize(("channels", "size", "settings"), [(3, 12, {}), (1, 32, {"sketch_side": 8}), (3, 16, {"latent_factor": 2, "autoencoder_steps": 5})])
def test_images_of_other_forms_are_drawn_in_their_form(channels: int, size: int, settings: dict[str, object]) -> None:
    model = make(DataSpec("image-text", channels=channels, image_size=size, vocab_size=20), **settings)
    batch = {"image": torch.rand(4, channels, size, size), "tokens": captions(torch.zeros(4, dtype=torch.long))}
    assert model.training_step(batch, 0).isfinite()
    assert model.eval().draw_from_text(batch["tokens"], seed=0, settings=SamplerSettings(steps=2)).shape == (4, channels, size, size)


def test_heads_that_do_not_divide_the_width_are_refused_with_the_fix() -> None:
    with pytest.raises(ValidationError, match="text_width 16 is no multiple of text_heads"):
        make(text_heads=3)
