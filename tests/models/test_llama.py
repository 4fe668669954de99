"""The backbone llama trains, samples and scores as the other one does, and leaves for transformers with equal logits."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.errors import UserError
from components.models.capabilities import DataSpec
from components.models.gpt.config import GptConfig
from components.models.gpt.model import Gpt
from components.training.datamodules.text import train_tokenizer
from tests.models.test_gpt import VOCAB, make, some_tokens, train

LLAMA = {"backbone": "llama", "logit_softcap": 0.0}


@pytest.fixture(scope="module")
def llama() -> Gpt:
    model = make(**LLAMA)
    train(model, some_tokens(), 60)
    return model.eval()


def test_first_loss_is_about_that_of_a_uniform_guess_and_one_batch_is_overfitted() -> None:
    model = make(**LLAMA, max_steps=200)
    assert model.training_step({"tokens": some_tokens()}, 0).item() == pytest.approx(math.log(VOCAB), rel=0.05)
    assert train(model, some_tokens(), 200) < 0.05


def test_cached_continuation_is_that_of_the_whole_network(llama: Gpt) -> None:
    prompt = some_tokens(1, 5)[0].tolist()
    expected = list(prompt)
    for _ in range(8):
        expected.append(int(llama(torch.tensor([expected]))[0, -1].argmax()))
    assert llama.continue_tokens([prompt], max_new_tokens=8, seed=0, temperature=0) == [expected[5:]]


def test_prompts_of_different_length_do_not_disturb_each_other_and_may_pass_the_context(llama: Gpt) -> None:
    prompts = [some_tokens(1, length)[0].tolist() for length in (2, 9, 5)]
    together = llama.continue_tokens(prompts, max_new_tokens=20, seed=0, temperature=0)
    assert together == [llama.continue_tokens([prompt], max_new_tokens=20, seed=0, temperature=0)[0] for prompt in prompts]


def test_the_export_gives_equal_logits_and_the_same_tokens(tmp_path: Path) -> None:
    texts = ["def area(width, height):\n    return width * height\n", "Ünï € 🎈"]
    tokenizer = train_tokenizer(texts, VOCAB)
    torch.manual_seed(0)
    config = GptConfig(**{**LLAMA, "width": 32, "num_heads": 2, "num_layers": 2, "context_length": 16})  # type: ignore[arg-type]
    model = Gpt(config, DataSpec("text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())).eval()
    model.export_pretrained(tmp_path)
    loaded, theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    for text in texts:
        ids = tokenizer.encode(text).ids
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids, skip_special_tokens=True) == text
        tokens = torch.tensor([ids[:16]])
        with torch.no_grad():
            assert torch.allclose(model(tokens), loaded(tokens).logits, atol=1e-5)


def test_our_own_backbone_has_nothing_to_export_and_llama_no_soft_cap(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no counterpart in transformers: train it with"):
        make().export_pretrained(tmp_path)
    with pytest.raises(ValidationError, match="no soft cap of the logits: set logit_softcap to 0"):
        GptConfig(backbone="llama")
