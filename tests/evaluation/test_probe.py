"""A linear probe on frozen vectors: all right where they tell the label, the commonest class where they tell nothing, and words beside it."""

from typing import cast

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from components.data.dataset import Dataset
from components.evaluation.evidence import Evidence
from components.evaluation.probe import PIECE, score_probe
from components.evaluation.protocol import Figure
from components.evaluation.telling import SILENT
from components.models.layers.masking import PAD
from tests.evaluation.test_continuations import sentences
from tests.evaluation.test_masked import SPEC
from tests.evaluation.test_text import Texts


class Labelled(Texts):
    """Documents of which a third has one word that the others have not."""

    def __init__(self, column: str = "label", names: tuple[str, str] = ("error", "other"), test_names: tuple[str, str] | None = None) -> None:
        super().__init__([])
        self.column, self.names = column, {"train": names, "test": test_names or names}

    def table(self, split: str, columns: list[str] | None = None, augmented: bool = True) -> pa.Table:
        seeds = range(60) if split == "train" else range(60, 90)
        names = [self.names[split][0 if seed % 3 == 0 else 1] for seed in seeds]
        texts = [sentences(12, seed).replace("." if seed % 3 == 0 else "?", " again.") for seed in seeds]
        whole = {"text": texts, "label": [None] * len(names), "title": [None] * len(names), self.column: names}
        return pa.table({name: pa.array(whole[name], pa.string()) for name in columns or whole})


class Vectors:
    """Of a text how often it has each token; or nothing of it."""

    context_length = 128

    def __init__(self, *, blind: bool) -> None:
        self.blind = blind

    def embed_text(self, tokens: Tensor) -> Tensor:
        assert tokens.size(1) <= self.context_length
        counts = torch.stack([torch.bincount(row[row != PAD], minlength=SPEC.vocab_size) for row in tokens]).float()
        return torch.ones(len(tokens), 4) if self.blind else counts


def scored(dataset: Texts, *, blind: bool = False) -> Evidence:
    return score_probe(Vectors(blind=blind), cast(Dataset, dataset), SPEC, tell=SILENT)


def figure(evidence: Evidence, name: str) -> Figure:
    return next(found for found in evidence.figures if found.name == name)


@pytest.mark.parametrize("column", ["label", "title"])
def test_vectors_that_tell_the_class_are_read_and_blind_ones_fall_back_to_the_commonest(column: str) -> None:
    seeing, blind = scored(Labelled(column)), scored(Labelled(column), blind=True)
    found = figure(seeing, "probe_accuracy")
    assert 0.5 < (found.floor or 0) < 0.75, "other documents are twice as many"
    assert found.value > 0.85 > (found.floor or 1)
    assert figure(blind, "probe_accuracy").value == pytest.approx(found.floor)
    assert figure(blind, "probe_accuracy_by_words").value == figure(seeing, "probe_accuracy_by_words").value > 0.85
    assert found.identity.preprocessing.startswith(f"{column} of pieces of {PIECE} words, 2 classes")
    assert not found.identity.extractor_sha256, "models of other vocabularies are asked the same"
    assert found.spread is not None
    assert "30 documents" in found.spread_over


def test_without_names_in_both_splits_there_is_a_note_and_no_figure() -> None:
    evidence = scored(Labelled("title", test_names=("unheard", "of")))
    assert not evidence.figures
    assert "no two labels or titles have texts in both splits" in evidence.notes[0]


class Uneven(Labelled):
    """One short document of a class of its own behind two long ones; in the test split the texts may be empty."""

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__()
        self.silent = silent

    def table(self, split: str, columns: list[str] | None = None, augmented: bool = True) -> pa.Table:
        texts = [" "] * 3 if self.silent and split == "test" else [sentences(2_500, 1), sentences(2_500, 2), sentences(8, 3)]
        whole = {"text": texts, "label": ["other", "other", "rare"], "title": [None] * 3}
        return pa.table({name: pa.array(whole[name], pa.string()) for name in columns or whole})


def test_a_rare_class_is_kept_where_pieces_are_thinned() -> None:
    evidence = scored(Uneven())
    assert figure(evidence, "probe_accuracy").identity.preprocessing.startswith(f"label of pieces of {PIECE} words, 2 classes")
    assert not evidence.notes


def test_documents_without_a_word_are_no_class() -> None:
    evidence = scored(Uneven(silent=True))
    assert not evidence.figures
    assert "no two labels or titles have texts in both splits" in evidence.notes[0]
