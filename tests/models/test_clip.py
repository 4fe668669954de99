"""The contrastive model keeps what its capabilities promise."""

import math
from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from components.models.capabilities import DataSpec, Finishes, MatchesImagesAndText, NamesClasses
from components.models.clip.config import FAMILY, ClipConfig
from components.models.clip.model import CLASS_CAPTIONS, Clip
from components.models.layers.contrastive import LARGEST_SCALE
from components.models.token_rows import BEGIN, END, PADDING

SMALL = {
    "caption_length": 8, "embedding_dim": 16, "working_side": 8, "image_width": 8, "max_image_width": 16, "text_width": 16, "text_layers": 1, "text_heads": 2,
    "image_heads": 2, "batch_size": 8,
}  # fmt: skip
VOCABULARY = 40
TOWERS = ("conv", "vit")


def make(channels: int = 1, size: int = 8, **settings: object) -> Clip:
    torch.manual_seed(0)
    data = DataSpec("image-text", channels=channels, image_size=size, vocab_size=VOCABULARY)
    model = Clip(ClipConfig.model_validate({**SMALL, **settings}), data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def pairs(num: int = 8, channels: int = 1, size: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(3, VOCABULARY, (num, 8), generator=generator)
    words[:, 0], words[:, 5], words[:, 6:] = BEGIN, END, PADDING
    return {"image": torch.rand(num, channels, size, size, generator=generator), "tokens": words}


def train(model: Clip, batch: dict[str, Tensor], steps: int) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 12), (1, 32)])
def test_images_and_captions_become_vectors_of_length_one_in_one_space(tower: str, channels: int, size: int) -> None:
    model, batch = make(channels, size, image_tower=tower), pairs(3, channels, size)
    for capability in (MatchesImagesAndText, NamesClasses, Finishes):
        assert isinstance(model, capability), capability.__name__
    for vectors in (model.embed_images(batch["image"]), model.embed_captions(batch["tokens"])):
        assert vectors.shape == (3, 16)
        assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_it_overfits_one_batch(tower: str, loss: str) -> None:
    losses = train(make(image_tower=tower, loss=loss), pairs(), 150)
    assert losses[-1] < 0.1 * losses[0]


def test_the_first_loss_is_that_of_guessing_among_the_batch() -> None:
    model = make(temperature=1.0)  # similarities of new towers lie close together, and hardly differ when they are not multiplied
    assert model.training_step(pairs(), 0).item() == pytest.approx(math.log(8), rel=0.1)


def test_a_new_sigmoid_model_takes_no_pair_for_a_match() -> None:
    model = make(loss="sigmoid", temperature=1.0)
    probability = torch.sigmoid(model._pair_logits(pairs())[0])
    assert probability.mean().item() == pytest.approx(1 / 9, rel=0.5)


def test_what_stands_behind_the_end_of_a_caption_changes_nothing() -> None:
    model, tokens = make(), pairs()["tokens"]
    other = tokens.clone()
    other[:, 6:] = 17
    assert torch.allclose(model.embed_captions(tokens), model.embed_captions(other), atol=1e-6)


def test_every_word_before_the_end_counts() -> None:
    model, tokens = make(), pairs()["tokens"]
    for place in range(1, 5):
        other = tokens.clone()
        other[:, place] = (other[:, place] - 3 + 1) % (VOCABULARY - 3) + 3
        assert not torch.allclose(model.embed_captions(tokens), model.embed_captions(other), atol=1e-4)


def test_captions_that_read_the_same_are_each_others_partners() -> None:
    """Two images, one caption: the best that can be reached is to be torn between both, ln 2 in either direction, and no further."""
    batch = pairs(2)
    batch["tokens"][1] = batch["tokens"][0]
    model = make()
    assert train(model, batch, 80)[-1] == pytest.approx(math.log(2), abs=0.02)
    assert model._compare(batch)[1] == 1


def test_the_scale_of_similarities_is_held_in_bounds() -> None:
    model = make()
    assert model.scale.item() == pytest.approx(1 / 0.07, rel=1e-3)
    model.log_scale.data.fill_(20.0)
    assert model.scale.item() == LARGEST_SCALE


def of_classes(*names: str) -> Clip:
    torch.manual_seed(0)
    data = DataSpec("image-text", channels=1, image_size=8, vocab_size=VOCABULARY, class_names=names)
    return Clip(ClipConfig.model_validate(SMALL), data).eval()


def test_a_class_whose_captions_come_last_is_known_as_well() -> None:
    model, rows = of_classes("a", "b", "c"), pairs(CLASS_CAPTIONS)["tokens"]
    labels = torch.tensor([0] * CLASS_CAPTIONS + [1] * CLASS_CAPTIONS + [2] * 8)
    tokens = torch.cat([rows, rows, rows[:8]])
    model.finish({"label": label, "tokens": some} for label, some in zip(labels.split(1000), tokens.split(1000), strict=True))
    assert torch.allclose(model.class_vectors.norm(dim=1), torch.ones(3), atol=1e-5)
    expected = torch.nn.functional.normalize(model.embed_captions(rows[:8]).sum(0), dim=0)
    assert torch.allclose(model.class_vectors[2], expected, atol=1e-5)


def test_the_classes_are_read_where_the_model_lies() -> None:
    """Batches lie on the CPU; the device `meta` refuses them as a GPU does."""
    of_classes("a", "b").to("meta").finish([{"label": torch.arange(8) % 2, "tokens": pairs()["tokens"]}])


def test_no_more_captions_are_read_than_the_classes_need() -> None:
    model, num = of_classes("a", "b"), 0
    batch = {"label": torch.arange(CLASS_CAPTIONS) % 2, "tokens": pairs(CLASS_CAPTIONS)["tokens"]}

    def batches() -> Iterator[dict[str, Tensor]]:
        nonlocal num
        for num in range(1, 4):  # noqa: B007 - how far it was asked
            yield batch

    model.finish(batches())
    assert num == 1


def test_classes_are_known_by_what_captions_say_of_them() -> None:
    torch.manual_seed(0)
    data = DataSpec("image-text", channels=1, image_size=8, vocab_size=VOCABULARY, class_names=("a", "b"))
    model, batch = Clip(ClipConfig.model_validate(SMALL), data), pairs()
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    train(model, batch, 100)
    labels = torch.arange(8) % 2
    model.finish([{**batch, "label": labels}])
    assert torch.allclose(model.class_vectors[1], torch.nn.functional.normalize(model.embed_captions(batch["tokens"][1::2]).sum(0), dim=0), atol=1e-5)
    probabilities = model.class_probabilities(batch["image"])
    assert torch.allclose(probabilities.sum(1), torch.ones(8))
    assert torch.equal(probabilities.argmax(1), labels)


def test_a_checkpoint_gives_the_same_model_bit_for_bit() -> None:
    model = make()
    train(model, pairs(), 3)
    again = make()
    again.load_state_dict(model.state_dict())
    assert torch.equal(model.embed_images(pairs()["image"]), again.embed_images(pairs()["image"]))
    assert torch.equal(model.embed_captions(pairs()["tokens"]), again.embed_captions(pairs()["tokens"]))


@pytest.mark.parametrize("settings", [{"text_width": 18, "text_heads": 4}, {"image_tower": "vit", "image_width": 10, "image_heads": 4}])
def test_a_width_that_its_heads_do_not_divide_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="is no multiple of"):
        ClipConfig.model_validate({**SMALL, **settings})


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_size_has_settings_that_fit_together(size: str) -> None:
    ClipConfig.model_validate(dict(FAMILY.sizes.get(size, {})))
