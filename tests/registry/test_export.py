"""A registered model leaves as a folder that transformers reads."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.errors import UserError
from components.project import Project
from components.registry.export import export_registered
from components.registry.loading import load_package
from components.registry.package import Package
from components.tracking import Tracker
from tests.stores import register, write_text_package

LLAMA = {"backbone": "llama", "logit_softcap": 0, "width": 32, "num_layers": 2, "num_heads": 2, "context_length": 16}


def test_what_is_exported_answers_with_equal_logits_on_the_same_tokens(tracker: Tracker, tmp_path: Path) -> None:
    made = write_text_package(tmp_path / "model", **LLAMA)
    version = register(tracker, made)
    assert export_registered(Project(tmp_path), tracker, version.ref, tmp_path / "out") == version.ref
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")("The Ünï 🎈", return_tensors="pt")["input_ids"]
    with torch.no_grad(), load_package(made.folder) as loaded:
        assert loaded.model is not None
        assert torch.allclose(AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()(tokens).logits, loaded.model(tokens), atol=1e-5)
    with pytest.raises(UserError, match="holds something already: give --to a new folder"):
        export_registered(Project(tmp_path), tracker, version.ref, tmp_path / "out")


def test_what_transformers_has_no_form_for_is_refused_in_one_sentence(tracker: Tracker, tmp_path: Path, package: Package) -> None:
    for made, sentence in ((package, "choose a model of a family that has one"), (write_text_package(tmp_path / "own"), "no counterpart in transformers")):
        version = register(tracker, made)
        with pytest.raises(UserError, match=sentence):
            export_registered(Project(tmp_path), tracker, version.ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()
