"""The captioner keeps what its capability promises."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from components.models.capabilities import CaptionsImages, DataSpec
from components.models.captioner.config import FAMILY, CaptionerConfig
from components.models.captioner.model import Captioner
from components.models.token_rows import BEGIN, END, PADDING

SMALL = {
    "caption_length": 8, "working_side": 8, "image_width": 8, "max_image_width": 16, "text_width": 16, "text_layers": 1, "text_heads": 2, "image_heads": 2,
    "batch_size": 8, "max_steps": 100, "warmup_steps": 2, "learning_rate": 0.05, "embedding_learning_rate": 0.02,
}  # fmt: skip
VOCABULARY = 40
TOWERS = ("conv", "vit")


def make(channels: int = 1, size: int = 8, **settings: object) -> Captioner:
    torch.manual_seed(0)
    data = DataSpec("image-text", channels=channels, image_size=size, vocab_size=VOCABULARY)
    model = Captioner(CaptionerConfig.model_validate({**SMALL, **settings}), data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def pairs(num: int = 8, channels: int = 1, size: int = 8) -> dict[str, Tensor]:
    """Captions of four words behind BEGIN, END and two places of padding behind them."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, VOCABULARY, (num, 8), generator=generator)
    tokens[:, 0], tokens[:, 5], tokens[:, 6:] = BEGIN, END, PADDING
    return {"image": torch.rand(num, channels, size, size, generator=generator), "tokens": tokens}


def train(model: Captioner, batch: dict[str, Tensor], steps: int) -> float:
    settings = model.configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]  # type: ignore[index]
    for _ in range(steps):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model._loss(batch).item()


@pytest.fixture(scope="module")
def trained() -> Captioner:
    """A model that knows eight captions by heart."""
    model = make()
    train(model, pairs(), 100)
    return model.eval()


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 12), (1, 32)])
def test_images_of_any_size_get_captions(tower: str, channels: int, size: int) -> None:
    model, batch = make(channels, size, image_tower=tower).eval(), pairs(3, channels, size)
    assert isinstance(model, CaptionsImages)
    captions = model.caption_images(batch["image"], seed=0, temperature=1.0)
    assert len(captions) == 3
    assert all(len(tokens) <= 7 and not {PADDING, BEGIN, END} & set(tokens) for tokens in captions)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_first_loss_is_that_of_a_uniform_guess(tower: str) -> None:
    assert make(image_tower=tower)._loss(pairs()).item() == pytest.approx(math.log(VOCABULARY), rel=0.05)


@pytest.mark.parametrize("tower", TOWERS)
def test_it_overfits_one_batch_to_nearly_zero(tower: str) -> None:
    assert train(make(image_tower=tower), pairs(), 100) < 0.05


def test_what_it_knows_by_heart_it_says(trained: Captioner) -> None:
    assert trained.caption_images(pairs()["image"], seed=0) == pairs()["tokens"][:, 1:5].tolist()
    assert trained.caption_images(pairs()["image"], seed=0, max_new_tokens=2) == pairs()["tokens"][:, 1:3].tolist()


def test_the_image_decides_what_is_likely(trained: Captioner) -> None:
    batch = pairs()
    own, other = (trained.caption_nll(images, batch["tokens"]).sum(dim=1) for images in (batch["image"], batch["image"].roll(1, dims=0)))
    assert (own < other).all()


def test_a_caption_is_scored_to_its_end_and_no_further(trained: Captioner) -> None:
    batch = pairs()
    nats = trained.caption_nll(batch["image"], batch["tokens"])
    assert nats.shape == (8, 7)
    assert (nats[:, 5:] == 0).all()
    assert (nats[:, :5] > 0).all()


def test_captions_that_are_written_are_those_that_are_likely(trained: Captioner) -> None:
    """Token by token from what is remembered, as from the whole beginning at once."""
    torch.manual_seed(3)
    images = torch.rand(2, 1, 8, 8)
    (first, second) = trained.caption_images(images, seed=0)
    for image, said in ((images[:1], first), (images[1:], second)):
        row = torch.tensor([[BEGIN, *said]])
        logits = trained.decoder(row, trained._places(image))
        logits[..., [PADDING, BEGIN]] = -torch.inf
        assert logits[0, : len(said)].argmax(dim=-1).tolist() == said


def test_the_same_seed_draws_the_same_captions_whoever_is_beside_them() -> None:
    model, images = make().eval(), pairs()["image"]
    drawn = model.caption_images(images, seed=4, temperature=1.0)
    assert drawn == model.caption_images(images, seed=4, temperature=1.0)
    assert drawn != model.caption_images(images, seed=5, temperature=1.0)
    assert drawn[0] == model.caption_images(images[:1], seed=4, temperature=1.0)[0]
    assert model.caption_images(images[:0], seed=0) == []


def test_a_checkpoint_gives_the_same_model_bit_for_bit(trained: Captioner) -> None:
    again, batch = make().eval(), pairs()
    again.load_state_dict(trained.state_dict())
    assert torch.equal(again.caption_nll(batch["image"], batch["tokens"]), trained.caption_nll(batch["image"], batch["tokens"]))


@pytest.mark.parametrize("settings", [{"text_width": 18, "text_heads": 4}, {"image_tower": "vit", "image_width": 10, "image_heads": 4}])
def test_a_width_that_its_heads_do_not_divide_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="is no multiple of"):
        CaptionerConfig.model_validate({**SMALL, **settings})


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_size_has_settings_that_fit_together(size: str) -> None:
    CaptionerConfig.model_validate(dict(FAMILY.sizes.get(size, {})))
