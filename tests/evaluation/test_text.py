"""Text figures: exact where the model is known, every byte counted once, and baselines that are what they are called."""

import lzma
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from components.data.dataset import Dataset, Manifest
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evidence import Evidence
from components.evaluation.overlap import shared_characters, shared_ngrams
from components.evaluation.protocol import Figure
from components.evaluation.sampling import draw_samples
from components.evaluation.telling import SILENT
from components.evaluation.text import score_documents, score_text
from components.models.capabilities import DataSpec
from components.training.datamodules.text import train_tokenizer
from tests.evaluation.conftest import no_spread

TRAIN = [f"The method number {number} returns a new object and raises an error when it is empty." for number in range(60)]
TEST = ["An iterator returns the next object — naïve ones never end.\n" * 4, "Short.", TRAIN[7] + " And more."]
TOKENIZER = train_tokenizer(TRAIN, 320)
SPEC = DataSpec("text", vocab_size=320, tokenizer=TOKENIZER.to_str(), example_texts=("An iterator returns the next object", "Short."))


class Texts:
    """A dataset of texts at hand."""

    name, modality = "texts", "text"
    manifest = Manifest(name="texts", modality="text", stage="augment", shards=())

    def __init__(self, test: list[str]) -> None:
        self.texts = {"train": TRAIN, "validation": [], "test": test}

    def table(self, split: str, columns: list[str] | None = None, augmented: bool = True) -> pa.Table:
        return pa.table({"text": pa.array(self.texts[split], pa.string()), "source": pa.array(["here"] * len(self.texts[split]), pa.string())})


class Uniform:
    """Gives every token the same probability, and remembers what it was asked."""

    data = SPEC

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length
        self.windows: list[list[int]] = []

    def token_nll(self, tokens: Tensor) -> Tensor:
        assert tokens.size(1) - 1 <= self.context_length
        self.windows += tokens.tolist()
        return torch.full((len(tokens), tokens.size(1) - 1), math.log(SPEC.vocab_size))


class Parrot(Uniform):
    """Continues every prompt with a training text."""

    def continue_tokens(self, prompts: list[list[int]], **options: Any) -> list[list[int]]:
        return [TOKENIZER.encode(TRAIN[3]).ids for _ in prompts]


class Babbler(Uniform):
    def continue_tokens(self, prompts: list[list[int]], **options: Any) -> list[list[int]]:
        return [TOKENIZER.encode("zig zag zog zug zeg zyg zag zeg zog zug").ids for _ in prompts]


def scored(model: Any, test: list[str] = TEST) -> Evidence:
    return score_text(model, cast(Dataset, Texts(test)), SPEC, config=EvaluationConfig(), tell=SILENT)


def figure(evidence: Evidence, name: str) -> Figure:
    return next(found for found in evidence.figures if found.name == name)


@pytest.mark.parametrize("context", [4, 16, 1000])
def test_a_uniform_model_scores_its_entropy_whatever_the_window(context: int) -> None:
    evidence = scored(Uniform(context))
    num_tokens = sum(len(TOKENIZER.encode(text).ids) - 1 for text in TEST)
    num_bytes = sum(len(text.encode()) for text in TEST)
    assert figure(evidence, "perplexity").value == pytest.approx(SPEC.vocab_size)
    assert figure(evidence, "bits_per_byte").value == pytest.approx(num_tokens * math.log2(SPEC.vocab_size) / num_bytes)


class Lookback(Uniform):
    """The loss of a token is the number of tokens before it in its window."""

    def token_nll(self, tokens: Tensor) -> Tensor:
        super().token_nll(tokens)
        return torch.arange(1.0, tokens.size(1)).expand(len(tokens), -1)


def test_each_token_is_scored_once_with_the_context_that_the_stride_promises() -> None:
    text = "returns a new object " * 12
    tokens = TOKENIZER.encode(text).ids
    context, stride = 16, 4
    model = Lookback(context)
    score = score_documents(model, TOKENIZER, [text], stride)[0]
    # The first 16 tokens are predicted from 1 to 16 before them; of each later window the last 4, from 13 to 16.
    later = len(tokens) - 1 - context
    expected = sum(range(1, context + 1)) + sum(context - stride + 1 + place % stride for place in range(later - later % stride))
    expected += sum(context - later % stride + 1 + place for place in range(later % stride))
    assert score.tokens == len(tokens) - 1
    assert score.bytes == len(text)
    assert score.nats == expected
    assert all(window == tokens[start : start + len(window)] for window in model.windows for start in [_find(tokens, window)])


def _find(tokens: list[int], window: list[int]) -> int:
    return next(start for start in range(len(tokens)) if tokens[start : start + len(window)] == window)


def test_documents_do_not_see_each_other() -> None:
    together = score_documents(Lookback(16), TOKENIZER, TEST, 4)
    assert together == [score_documents(Lookback(16), TOKENIZER, [text], 4)[0] for text in TEST]


def test_the_floor_is_what_the_xz_program_makes_of_the_test_text(tmp_path: Path) -> None:
    content = "\n\n".join(TEST).encode()
    found = figure(scored(Uniform(16)), "bits_per_byte")
    assert found.floor == pytest.approx(8 * len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)) / len(content))
    if shutil.which("xz"):
        packed = subprocess.run(["xz", "-9e", "--stdout"], input=content, capture_output=True, check=True).stdout
        assert found.floor == pytest.approx(8 * len(packed) / len(content), rel=0.02)


def test_a_compressor_that_has_seen_the_training_text_is_the_stronger_baseline() -> None:
    evidence = scored(Uniform(16))
    assert figure(evidence, "bits_per_byte_xz_primed").value < figure(evidence, "bits_per_byte_xz").value


def test_the_unigram_baseline_beats_uniform_and_is_the_floor_of_perplexity() -> None:
    evidence = scored(Uniform(16), [TRAIN[0], TRAIN[1]])
    assert figure(evidence, "bits_per_byte_unigram").value < figure(evidence, "bits_per_byte").value
    perplexity = figure(evidence, "perplexity")
    assert perplexity.floor is not None
    assert perplexity.floor < perplexity.value


def test_figures_carry_their_protocol() -> None:
    evidence = scored(Parrot(16))
    assert {found.name for found in evidence.figures} == {
        "bits_per_byte", "perplexity", "bits_per_byte_unigram", "bits_per_byte_xz", "bits_per_byte_xz_primed", "test_in_train_share", "copy_rate",
        "distinct_1", "distinct_2", "distinct_3", "self_bleu", "repetition",
    }  # fmt: skip
    for found in evidence.figures:
        assert (found.identity.metric, found.identity.split, found.identity.reference_sha256) == (found.name, "test", Texts.manifest.sha256)
    assert "context 16 tokens, stride 4" in figure(evidence, "bits_per_byte").recorded.window
    # Perplexity hangs on the tokenizer, bits per byte do not.
    assert figure(evidence, "perplexity").identity.extractor_sha256
    assert not figure(evidence, "bits_per_byte").identity.extractor_sha256
    spread = figure(evidence, "bits_per_byte").spread
    assert spread is not None
    assert spread > 0
    assert "3 documents" in figure(evidence, "bits_per_byte").spread_over
    assert no_spread(evidence) == set()
    assert "indicative only" in evidence.notes[0]


def test_copying_the_training_text_is_seen_and_babble_is_not() -> None:
    parrot, babbler = (figure(scored(model), "copy_rate") for model in (Parrot(16), Babbler(16)))
    assert parrot.value == 1
    assert babbler.value == 0
    assert parrot.floor is not None
    assert 0 < parrot.floor < 1  # one of the three test documents begins like a training text


def test_samples_show_prompt_and_continuation() -> None:
    text = scored(Parrot(16)).texts["samples"]
    assert f"]{TRAIN[3]}" in text
    assert "[Short.]" in text
    drawn = draw_samples(Parrot(16), SPEC, seed=0, num=4).texts["samples"]
    assert drawn.split("\n\n----\n\n") == [f"[An]{TRAIN[3]}", f"[Sh]{TRAIN[3]}"]


def test_of_a_single_document_no_spread_is_told() -> None:
    evidence = scored(Uniform(16), TEST[:1])
    assert figure(evidence, "bits_per_byte").spread is None
    assert figure(evidence, "perplexity").spread is None


def test_a_better_model_has_a_lower_perplexity() -> None:
    class Better(Uniform):
        def token_nll(self, tokens: Tensor) -> Tensor:
            return 0.5 * super().token_nll(tokens)

    for name in ("perplexity", "bits_per_byte"):
        assert figure(scored(Better(16)), name).value < figure(scored(Uniform(16)), name).value


def test_an_empty_test_split_is_refused_with_the_fix() -> None:
    with pytest.raises(UserError, match="has no test documents to score on: raise the split's test fraction"):
        scored(Uniform(16), [])


def test_shared_characters_counts_whole_runs_and_overlooks_line_breaks() -> None:
    known = "abcdefghijklmnopqrstuvwxyz 0123456789"
    assert shared_characters(["xx" + known + "yy"], [known], window=20) == pytest.approx(37 / 41)
    assert shared_characters([known.replace(" ", "\n   ")], [known], window=20) == 1
    assert shared_characters([known[:19]], [known], window=20) == 0
    assert shared_characters(["completely different text here"], [known], window=20) == 0
    assert shared_characters([], [known]) == 0


def test_shared_ngrams_counts_words_and_marks() -> None:
    assert shared_ngrams(["a b c d e"], ["x a b c d y"], n=4) == 0.5
    assert shared_ngrams(["too short"], ["too short"], n=8) == 0


class Remembers(Uniform):
    """Is sure of every training text, and of no other."""

    def token_nll(self, tokens: Tensor) -> Tensor:
        known = {tuple(filter(None, encoding.ids)) for encoding in TOKENIZER.encode_batch(TRAIN)}
        sure = torch.tensor([tuple(filter(None, row)) in known for row in tokens.tolist()])
        return torch.where(sure[:, None], 0.01, super().token_nll(tokens))


@pytest.mark.parametrize(("model", "least", "most"), [(Remembers(128), 0.99, 1.0), (Uniform(128), 0.0, 0.75)])
def test_texts_that_a_model_knows_by_heart_are_told_from_others(model: Uniform, least: float, most: float) -> None:
    others = [TRAIN[0].replace("number 0", f"number {number}") for number in range(60, 100)]
    evidence = score_text(model, cast(Dataset, Texts(others)), SPEC, config=EvaluationConfig(), tell=SILENT)
    (found,) = [figure for figure in evidence.figures if figure.name == "membership_auc_by_loss"]
    assert least <= found.value <= most
    assert found.identity.num_samples == 40
    assert any(note.startswith("membership_tpr_at_1_fpr_by_loss is left out: it needs 100 test rows, and there are 40") for note in evidence.notes)
