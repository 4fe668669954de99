"""The language model and its optimiser keep what they promise."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from components.models.capabilities import ContinuesText, DataSpec, ScoresText
from components.models.gpt.config import GptConfig
from components.models.gpt.model import END_OF_TEXT, Gpt
from components.models.layers.muon import Muon, orthogonalise

VOCAB = 300


def make(**settings: object) -> Gpt:
    torch.manual_seed(0)
    config = GptConfig(**{"width": 32, "num_heads": 2, "num_layers": 2, "context_length": 16, "max_steps": 100, "warmup_steps": 5, "dropout": 0.0, **settings})
    model = Gpt(config, DataSpec("text", vocab_size=VOCAB))
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def some_tokens(rows: int = 4, length: int = 17) -> Tensor:
    return torch.randint(1, VOCAB, (rows, length), generator=torch.Generator().manual_seed(1))


def train(model: Gpt, tokens: Tensor, steps: int) -> float:
    settings = model.configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]  # type: ignore[index]
    for _ in range(steps):
        loss = model.training_step({"tokens": tokens}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.training_step({"tokens": tokens}, 0).item()


@pytest.fixture(scope="module")
def trained() -> Gpt:
    """A model that knows four rows by heart, so that its predictions are far from uniform."""
    model = make()
    train(model, some_tokens(), 60)
    return model.eval()


def test_has_the_capabilities_of_a_language_model() -> None:
    assert isinstance(make(), ScoresText)
    assert isinstance(make(), ContinuesText)


def test_first_loss_is_that_of_a_uniform_guess() -> None:
    loss = make().training_step({"tokens": some_tokens()}, 0).item()
    assert loss == pytest.approx(math.log(VOCAB), rel=0.05)


def test_overfits_one_batch_to_nearly_zero() -> None:
    # Unlimited logits: the cap bounds how sure the model can be.
    assert train(make(logit_softcap=0.0, max_steps=200), some_tokens(), 200) < 0.02


def test_never_looks_ahead(trained: Gpt) -> None:
    tokens = some_tokens(1)
    changed = tokens.clone()
    changed[0, 10] = (tokens[0, 10] + 1) % VOCAB
    before, after = trained(tokens[:, :16]), trained(changed[:, :16])
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_scores_each_token_by_the_probability_that_it_predicts(trained: Gpt) -> None:
    tokens = some_tokens()
    expected = -trained(tokens[:, :-1]).log_softmax(-1).gather(2, tokens[:, 1:, None]).squeeze(2)
    assert torch.allclose(trained.token_nll(tokens), expected, atol=1e-5)


def test_refuses_to_score_more_than_its_context(trained: Gpt) -> None:
    with pytest.raises(AssertionError, match="longer than the context"):
        trained.token_nll(some_tokens(1, 18))


def test_cached_continuation_is_that_of_the_whole_network(trained: Gpt) -> None:
    prompt = some_tokens(1, 5)[0].tolist()
    expected = list(prompt)
    for _ in range(8):
        expected.append(int(trained(torch.tensor([expected]))[0, -1].argmax()))
    assert trained.continue_tokens([prompt], max_new_tokens=8, seed=0, temperature=0) == [expected[5:]]


def test_prompts_of_different_length_do_not_disturb_each_other(trained: Gpt) -> None:
    prompts = [some_tokens(1, length)[0].tolist() for length in (2, 9, 5)]
    together = trained.continue_tokens(prompts, max_new_tokens=6, seed=0, temperature=0)
    assert together == [trained.continue_tokens([prompt], max_new_tokens=6, seed=0, temperature=0)[0] for prompt in prompts]


def test_continues_beyond_its_context_and_from_nothing(trained: Gpt) -> None:
    continued = trained.continue_tokens([some_tokens(1, 17)[0].tolist() * 3, []], max_new_tokens=40, seed=3)
    assert all(0 < len(tokens) <= 40 for tokens in continued)
    assert all(0 < token < VOCAB for tokens in continued for token in tokens)


def test_the_same_seed_draws_the_same_text_and_another_seed_another() -> None:
    model = make().eval()

    def draw(seed: int) -> list[list[int]]:
        return model.continue_tokens([[5], [6]], max_new_tokens=12, seed=seed)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    # Sampling leaves the process-wide generator alone.
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    draw(1)
    assert torch.equal(torch.rand(1), expected)


def test_top_k_and_top_p_keep_to_the_likeliest_tokens(trained: Gpt) -> None:
    prompt = [some_tokens(1, 6)[0].tolist()]
    greedy = trained.continue_tokens(prompt, max_new_tokens=8, seed=0, temperature=0)
    assert trained.continue_tokens(prompt, max_new_tokens=8, seed=5, top_k=1) == greedy
    assert trained.continue_tokens(prompt, max_new_tokens=8, seed=5, top_p=0.0) == greedy
    untrained = make().eval()  # all tokens are equally likely
    drawn = untrained.continue_tokens([[1]] * 50, max_new_tokens=1, seed=0, top_k=3)
    assert len({token for tokens in drawn for token in tokens}) <= 3


def test_stops_at_the_end_of_text() -> None:
    model = make(logit_softcap=0.0)
    tokens = some_tokens(1)
    tokens[0, 8] = END_OF_TEXT
    train(model, tokens, 60)
    prompt = tokens[0, :3].tolist()
    assert model.eval().continue_tokens([prompt], max_new_tokens=12, seed=0, temperature=0) == [tokens[0, 3:8].tolist()]


def test_a_continuation_ends_when_it_is_asked_to_and_its_neighbours_go_on(trained: Gpt) -> None:
    prompts = [some_tokens(1, 4)[0].tolist()] * 2
    whole = trained.continue_tokens(prompts, max_new_tokens=6, seed=0)
    ended = trained.continue_tokens(prompts, max_new_tokens=6, seed=0, ends=lambda index, tokens: index == 0 and len(tokens) == 2)
    assert ended == [whole[0][:2], whole[1]]


def test_heads_that_do_not_fit_the_width_are_a_mistake_with_a_sentence() -> None:
    with pytest.raises(ValidationError, match="no multiple of twice num_heads"):
        GptConfig(width=192, num_heads=5)


@pytest.mark.parametrize("shape", [(24, 24), (16, 64), (64, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    drawn = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(drawn, full_matrices=False)
    matrix = left @ torch.diag(torch.linspace(5, 100, min(shape))) @ right
    made = orthogonalise(matrix)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert values.mean() == pytest.approx(1, abs=0.15)
    cosine = torch.cosine_similarity(made.flatten(1), (left @ right).flatten(1))
    assert cosine.min() > 0.95


def test_muon_steps_along_the_orthogonalised_momentum() -> None:
    weight = nn.Parameter(torch.randn(8, 4))
    optimizer = Muon([weight], [], lr=0.1, momentum=0.9, weight_decay=0.5)
    buffer = torch.zeros(8, 4)
    for _ in range(3):
        weight.grad = torch.randn(8, 4)
        buffer = 0.9 * buffer + 0.1 * weight.grad
        direction = orthogonalise(0.1 * weight.grad + 0.9 * buffer)
        expected = weight.detach() * (1 - 0.1 * 0.5) - 0.1 * math.sqrt(2) * direction
        optimizer.step()
        assert torch.allclose(weight, expected, atol=1e-5)


def test_the_rest_is_stepped_by_adamw() -> None:
    ours, theirs = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))
    optimizer = Muon([], [{"params": [ours], "lr": 0.01, "weight_decay": 0.1}], lr=1.0)
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-10)
    for step in range(4):
        ours.grad = theirs.grad = torch.arange(5.0) - step
        optimizer.step()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_a_parameter_without_gradient_is_left_alone() -> None:
    matrix, vector = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4))
    optimizer = Muon([matrix], [{"params": [vector], "lr": 1.0, "weight_decay": 1.0}], lr=1.0, weight_decay=1.0)
    optimizer.step()
    assert torch.equal(matrix, torch.ones(4, 4))
    assert torch.equal(vector, torch.ones(4))
    assert not optimizer.state


def test_muon_goes_on_from_its_saved_state_as_if_never_stopped() -> None:
    def run(stop_after: int | None) -> Tensor:
        torch.manual_seed(0)
        matrix, vector = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(6))
        optimizer = Muon([matrix], [{"params": [vector], "lr": 0.1}], lr=0.1)
        for step in range(6):
            if step == stop_after:
                state = optimizer.state_dict()
                optimizer = Muon([matrix], [{"params": [vector], "lr": 0.1}], lr=0.1)
                optimizer.load_state_dict(state)
            matrix.grad, vector.grad = torch.full_like(matrix, step + 1.0).tril(), torch.full_like(vector, step - 2.0)
            optimizer.step()
        return torch.cat([matrix.detach().flatten(), vector.detach()])

    assert torch.equal(run(3), run(None))
