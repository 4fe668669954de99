"""The joint encoder keeps what its capabilities promise, in each of its shapes."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from components.models.capabilities import AnswersQuestions, DataSpec, FillsCaptions, Finishes, JudgesPairs, MatchesImagesAndText, Question
from components.models.fusion.config import FAMILY, FusionConfig
from components.models.fusion.model import Fusion, strangers
from components.models.token_rows import BEGIN, END, PADDING, ROW
from components.training.datamodules.text import train_tokenizer

SMALL = {
    "caption_length": 8, "width": 16, "heads": 2, "text_layers": 1, "fusion_layers": 1, "embedding_dim": 8, "working_side": 8, "image_width": 8,
    "max_image_width": 16, "patch": 4, "batch_size": 8, "fused_rows": 8, "align_steps": 0,
}  # fmt: skip
SHAPES = ("align", "single-stream", "two-stream")
QUESTIONS = (Question("which?", "label", ("a", "b")), Question("how many?", "^([0-9])", ("1", "2", "3", "4")))
TOKENIZER = train_tokenizer(["which? how many? " * 9], 280, ROW)
VOCABULARY = TOKENIZER.get_vocab_size()


def make(channels: int = 1, size: int = 8, questions: tuple[Question, ...] = QUESTIONS, **settings: object) -> Fusion:
    torch.manual_seed(0)
    data = DataSpec("image-text", channels=channels, image_size=size, vocab_size=VOCABULARY, tokenizer=TOKENIZER.to_str(), questions=questions)
    model = Fusion(FusionConfig.model_validate({**SMALL, **settings}), data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    model.configure_model()
    return model


def pairs(num: int = 8, channels: int = 1, size: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(3, VOCABULARY, (num, 8), generator=generator)
    words[:, 0], words[:, 5], words[:, 6:] = BEGIN, END, PADDING
    places = torch.arange(num)
    return {"image": torch.rand(num, channels, size, size, generator=generator), "tokens": words, "answers": torch.stack([places % 2, places % 4], dim=1)}


def train(model: Fusion, batch: dict[str, Tensor], steps: int) -> list[float]:
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("tower", ["conv", "patches"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 12)])
def test_each_shape_judges_fills_and_answers(shape: str, tower: str, channels: int, size: int) -> None:
    model, batch = make(channels, size, shape=shape, image_tower=tower).eval(), pairs(3, channels, size)
    assert all(isinstance(model, capability) for capability in (JudgesPairs, FillsCaptions, AnswersQuestions, Finishes))
    judged = model.judge_pairs(batch["image"], batch["tokens"], torch.tensor([[0, 0], [2, 1]])).probability
    assert judged.tolist() == pytest.approx([0.5, 0.5]), "a new model knows nothing"
    answered = model.answer_question(batch["image"], 1)
    assert torch.allclose(answered, torch.full((3, 4), 0.25), atol=1e-6)
    gaps = batch["tokens"].clone()
    gaps[0, 2] = gaps[2, 3] = model.mask_token
    filled = model.fill_captions(batch["image"], gaps)
    assert filled.shape == (2, VOCABULARY)
    assert filled[:, :3].max() == -torch.inf
    assert torch.allclose(filled.exp().sum(1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize(("shape", "has"), [("align", True), ("two-stream", True), ("single-stream", False)])
def test_only_shapes_that_understand_each_by_itself_have_vectors(shape: str, has: bool) -> None:
    model, batch = make(shape=shape), pairs(3)
    assert isinstance(model, MatchesImagesAndText) == has
    if has:
        assert isinstance(model, MatchesImagesAndText)
        for vectors in (model.embed_images(batch["image"]), model.embed_captions(batch["tokens"])):
            assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_losses_are_those_of_guessing(shape: str) -> None:
    # similarities of new towers lie close together, and hardly differ when they are not multiplied
    losses = make(shape=shape, temperature=1.0)._losses(pairs(), fuses=True)
    assert losses["matching"].item() == pytest.approx(math.log(2))
    assert losses["masked"].item() == pytest.approx(math.log(VOCABULARY), rel=0.05)
    assert math.log(2) <= losses["answer"].item() <= math.log(4)
    if shape != "single-stream":
        assert losses["contrastive"].item() == pytest.approx(math.log(8), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_it_overfits_one_batch(shape: str) -> None:
    model, batch = make(shape=shape), pairs()
    losses = train(model, batch, 300)
    assert losses[-1] < 0.1 * losses[0]
    places = torch.arange(8)
    every = torch.cartesian_prod(places, places)
    judged = model.judge_pairs(batch["image"], batch["tokens"], every).probability.view(8, 8)
    assert torch.equal(judged > 0.5, torch.eye(8, dtype=torch.bool))
    for question in range(2):
        assert torch.equal(model.answer_question(batch["image"], question).argmax(1), batch["answers"][:, question])


def test_what_stands_behind_the_end_of_a_caption_changes_nothing() -> None:
    for shape in SHAPES:
        model, batch = make(shape=shape), pairs(2)
        train(model, pairs(), 5)
        longer = torch.cat([batch["tokens"], torch.full((2, 1), PADDING)], dim=1)[:, :8]
        alone = model.judge_pairs(batch["image"], batch["tokens"][:, :6], torch.tensor([[0, 1]])).probability
        longer[0, 6] = 17  # the other row is longer, so that this one is padded
        assert torch.allclose(alone, model.judge_pairs(batch["image"], longer, torch.tensor([[0, 1]])).probability, atol=1e-6)


def test_wrong_partners_read_otherwise_and_the_likest_are_drawn_oftenest() -> None:
    torch.manual_seed(0)
    likeness = torch.tensor([[5.0, 5.0, 3.0, -9.0]])
    same = torch.tensor([[True, False, False, False]])
    drawn = torch.cat([strangers(likeness, same).drawn for _ in range(300)])
    counts = torch.bincount(drawn, minlength=4)
    assert counts[0] == counts[3] == 0
    assert counts[1] > 3 * counts[2] > 0


def test_a_batch_in_which_all_captions_read_the_same_has_no_wrong_partner() -> None:
    for shape in SHAPES:
        batch = pairs(2)
        batch["tokens"][1] = batch["tokens"][0]
        model = make(shape=shape)
        assert len(strangers(torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)).drawn) == 0
        assert math.isfinite(train(model, batch, 2)[-1])


def test_images_without_an_answer_teach_none() -> None:
    batch = {**pairs(), "answers": torch.full((8, 2), -1)}
    assert make()._losses(batch, fuses=True)["answer"].item() == 0


def test_without_questions_there_is_nothing_to_answer() -> None:
    batch = pairs()
    assert "answer" not in make(questions=())._losses({"image": batch["image"], "tokens": batch["tokens"]}, fuses=True)


def test_the_first_steps_only_align() -> None:
    model = make(align_steps=1, temperature=1.0)
    assert model.training_step(pairs(), 0).item() == pytest.approx(math.log(8), rel=0.1)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_teacher_follows_slowly_and_is_no_part_of_what_is_kept(shape: str) -> None:
    model = make(shape=shape, distil_weight=0.4, distil_decay=0.9)
    before = [parameter.detach().clone() for parameter in model.encoder.parameters()]
    train(model, pairs(), 3)
    assert model.teacher is not None
    moved, ahead = (
        sum(float((a - b.detach()).abs().sum()) for a, b in zip(before, found.parameters(), strict=True)) for found in (model.teacher, model.encoder)
    )
    assert 0 < moved < 0.5 * ahead
    assert all(not parameter.requires_grad for parameter in model.teacher.parameters())
    assert any(name.startswith("teacher.") for name in model.state_dict()), "a checkpoint goes on with it"
    optimised = {id(parameter) for group in model.configure_optimizers()["optimizer"].param_groups for parameter in group["params"]}
    assert not optimised & {id(parameter) for parameter in model.teacher.parameters()}
    model.finish([])
    assert set(model.state_dict()) == set(Fusion(model.config, model.data).state_dict())


def test_a_teacher_changes_what_is_to_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make(distil_weight=0.5, distil_warmup_steps=10), pairs()
    tokens, same = batch["tokens"], torch.eye(8, dtype=torch.bool)
    assert torch.equal(model._partners(batch["image"], tokens, same)[0], torch.eye(8)), "its share grows from nothing"
    monkeypatch.setattr(Fusion, "global_step", property(lambda self: 100))
    captions, images = model._partners(batch["image"], tokens, same)
    for wanted in (captions, images):
        assert torch.allclose(wanted.sum(1), torch.ones(8), atol=1e-5)
        assert (wanted.diagonal() > 0.5).all()
        assert (wanted > 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_checkpoint_gives_the_same_model_bit_for_bit(shape: str) -> None:
    model, batch, every = make(shape=shape), pairs(), torch.cartesian_prod(torch.arange(8), torch.arange(8))
    train(model, batch, 3)
    again = make(shape=shape)
    again.load_state_dict(model.state_dict())
    assert torch.equal(
        model.judge_pairs(batch["image"], batch["tokens"], every).probability, again.judge_pairs(batch["image"], batch["tokens"], every).probability
    )
    assert torch.equal(model.answer_question(batch["image"], 0), again.answer_question(batch["image"], 0))


def test_the_data_spec_keeps_its_questions() -> None:
    spec = make().data
    assert DataSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"width": 18, "heads": 4}, "is no multiple of heads"),
        ({"questions": {"which?": "no group"}}, "has 0 groups: write `label`, or a regular expression with one group"),
        ({"questions": {"which?": "(a"}}, "is no pattern"),
        ({"questions": {"": "label"}}, "at least 1 character"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        FusionConfig.model_validate({**SMALL, **settings})


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_size_has_settings_that_fit_together(size: str) -> None:
    FusionConfig.model_validate(dict(FAMILY.sizes.get(size, {})))
