"""Runs that begin with the weights of a registered model: resolved to a version, alike in architecture, adapted and merged again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from components.errors import UserError
from components.models.capabilities import DataSpec, Question
from components.models.captioner.model import Captioner
from components.models.family import find_family
from components.models.gpt.config import GptConfig
from components.models.gpt.model import Gpt
from components.models.t5.config import T5Config
from components.models.t5.model import T5
from components.models.token_rows import token_rows
from components.models.vae.config import VaeConfig
from components.models.word2vec.config import Word2VecConfig
from components.project import Project
from components.registry.loading import load_package
from components.registry.package import Package, write_package
from components.tracking import Tracker
from components.training.begin import add_adapters, load_start, merge_adapters, started_data_spec
from components.training.files import checkpoint_folder, last_checkpoint
from components.training.fit import build_model, fit
from components.training.start import Lora, Start
from components.training.starts import find_start
from components.training.stopping import Interrupted, StopRequest
from tests.stores import SMALL_CAPTIONED, register, write_captions_package, write_fusion_package, write_words_package
from tests.training.conftest import SMALL_GPT, MakeSpec
from tests.training.test_fit import Record, equal, opened, train

LORA = Lora(rank=2, targets=("inputs",))
LLAMA: dict[str, Any] = {"backbone": "llama", "logit_softcap": 0.0}


@pytest.fixture
def package(make_spec: MakeSpec, tmp_path: Path) -> Package:
    """A small GPT, trained for a few steps and packaged."""
    spec = make_spec(max_steps=4).model_copy(update={"run_dir": tmp_path / "first"})
    model, _, _ = train(spec)
    return write_package(
        model.cpu(), family="gpt", config=spec.config, data_spec=opened(spec)[2], model_name="gpt-pydocs", identity="1" * 64, dataset="pydocs",
        data_version="v1", data_sha256="e" * 64, folder=tmp_path / "package", card="# gpt-pydocs\n",
    )  # fmt: skip


def start_of(package: Package, lora: Lora | None = None) -> Start:
    return Start(ref="gpt-pydocs/1", sha256=package.sha256, folder=package.folder / "artifacts", lora=lora)


def weights_of(package: Package) -> dict[str, torch.Tensor]:
    return load_file(package.folder / "artifacts/model.safetensors")


@pytest.mark.slow
def test_a_run_begins_with_the_weights_and_the_tokenizer_it_was_given(make_spec: MakeSpec, package: Package) -> None:
    spec = make_spec(vocab_size=310).model_copy(update={"start": start_of(package)})
    data_spec = started_data_spec(start_of(package), opened(spec)[2])
    assert data_spec.vocab_size == 300
    model = build_model(spec, find_family("gpt"), data_spec)
    assert equal(dict(model.state_dict()), weights_of(package))


@pytest.mark.slow
def test_adapters_alone_are_trained_and_are_merged_into_the_layers_they_stand_at(make_spec: MakeSpec, package: Package) -> None:
    spec = make_spec().model_copy(update={"start": start_of(package, LORA)})
    model, training, _ = train(spec)
    after, before = dict(model.state_dict()), weights_of(package)
    assert after.keys() == before.keys()
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"network.blocks.0.attention.inputs.weight"}
    assert training.parameters == sum(weight.numel() for weight in before.values())


@pytest.mark.slow
def test_a_resumed_run_with_adapters_equals_an_uninterrupted_one(make_spec: MakeSpec, package: Package, tmp_path: Path) -> None:
    spec = make_spec().model_copy(update={"start": start_of(package, Lora(rank=2, dropout=0.3))})
    expected, _, _ = train(spec)
    resumed = spec.model_copy(update={"run_dir": tmp_path / "resumed"})
    dataset, config, data_spec = opened(resumed)
    stop = StopRequest()
    with pytest.raises(Interrupted):
        fit(
            build_model(resumed, find_family("gpt"), data_spec),
            resumed,
            dataset,
            data_spec,
            config,
            cache=Project(spec.project).cache,
            stop=stop,
            log=Record(stop, 1),
        )
    assert last_checkpoint(checkpoint_folder(resumed.run_dir))[1] == 4
    model, training, _ = train(resumed)
    assert training.resumed
    assert equal(dict(model.state_dict()), dict(expected.state_dict()))


@pytest.mark.slow
def test_a_merged_network_computes_what_the_adapted_one_did(package: Package, make_spec: MakeSpec) -> None:
    spec = make_spec().model_copy(update={"start": start_of(package)})
    model = build_model(spec, find_family("gpt"), opened(spec)[2]).eval()
    assert isinstance(model, Gpt)
    add_adapters(model, Lora(rank=3))
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    tokens = torch.arange(12)[None]
    adapted = model(tokens)
    merge_adapters(model)
    assert torch.allclose(model(tokens), adapted, atol=1e-4)
    assert all(parameter.requires_grad for parameter in model.parameters())


TIED: dict[str, tuple[str, dict[str, Any], str]] = {
    "modernbert": ("bert", {"num_heads": 2}, "decoder"),
    "bert": ("bert", {"num_heads": 2, "backbone": "bert"}, "decoder"),
    "t5": ("t5", {"head": "shared"}, "lm_head"),
    "captioner": ("captioner", {}, "lm_head"),
}


def tied(family: str, settings: dict[str, Any]) -> pl.LightningModule:
    """A small model whose output layer shares the token vectors."""
    found = find_family(family)
    small: dict[str, Any] = SMALL_CAPTIONED["captioner"] if family == "captioner" else {"width": 16, "num_layers": 1, "context_length": 32}
    data_spec = DataSpec("image-text" if family == "captioner" else "text", channels=1, image_size=8, vocab_size=320)
    torch.manual_seed(0)
    model = found.load_class()(found.config.model_validate({**small, **settings}), data_spec).eval()
    assert isinstance(model, pl.LightningModule)
    return model


def logits_of(model: pl.LightningModule) -> torch.Tensor:
    tokens = torch.arange(5, 17)[None]
    if isinstance(model, Captioner):
        return model.caption_nll(torch.full((1, 1, 8, 8), 0.5), tokens)
    logits: torch.Tensor = model(tokens, tokens) if isinstance(model, T5) else model(tokens)
    return logits


@pytest.mark.slow
@pytest.mark.parametrize("case", TIED)
def test_merging_leaves_a_model_whose_output_layer_shares_the_token_vectors_as_it_was_trained(case: str) -> None:
    family, settings, _ = TIED[case]
    model = tied(family, settings)
    before = logits_of(model)
    add_adapters(model, Lora(rank=3))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = logits_of(model)
    merge_adapters(model)
    assert not torch.allclose(adapted, before, rtol=0, atol=3e-4)
    assert torch.allclose(logits_of(model), adapted, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", TIED)
def test_a_target_that_shares_its_weights_is_a_mistake_with_a_sentence(case: str) -> None:
    family, settings, target = TIED[case]
    with pytest.raises(UserError, match=f"names '{target}', which shares its weights with another layer .*: choose from (?!.*{target})"):
        add_adapters(tied(family, settings), Lora(targets=(target,)))


@pytest.mark.slow
def test_a_model_without_linear_layers_is_a_mistake_with_a_sentence() -> None:
    model = find_family("word2vec").load_class()(Word2VecConfig(width=8), DataSpec("text", vocab_size=8, token_counts=(1,) * 8))
    with pytest.raises(UserError, match="has no linear layer that could be adapted: leave lora out"):
        add_adapters(model, Lora())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [{}, LLAMA])
def test_the_adapter_of_an_output_layer_is_trained(make_spec: MakeSpec, backbone: dict[str, Any]) -> None:
    spec = make_spec(**backbone)
    model = build_model(spec, find_family("gpt"), opened(spec)[2])
    add_adapters(model, Lora(rank=2, targets=("lm_head" if backbone else "head",)))
    assert isinstance(model, Gpt)
    optimizer = model.configure_optimizers()["optimizer"]
    taken = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert {id(parameter) for parameter in model.parameters() if parameter.requires_grad} <= taken


@pytest.mark.slow
def test_training_moves_a_layer_that_was_named_even_if_it_is_the_output_layer(make_spec: MakeSpec, package: Package) -> None:
    spec = make_spec().model_copy(update={"start": start_of(package, Lora(rank=2, targets=("head",)))})
    after, before = dict(train(spec)[0].state_dict()), weights_of(package)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"network.head.weight"}


@pytest.mark.slow
def test_a_target_that_is_no_layer_is_a_mistake_with_a_sentence(package: Package, make_spec: MakeSpec) -> None:
    spec = make_spec()
    with pytest.raises(UserError, match="names 'query', which is no linear layer of this model: choose from down, head, inputs, output, up"):
        add_adapters(build_model(spec, find_family("gpt"), opened(spec)[2]), Lora(targets=("query",)))


def find(project: Project, tracker: Tracker, ref: str, family: str = "gpt", **changes: Any) -> Start:
    config = VaeConfig() if family == "vae" else GptConfig(**{**SMALL_GPT, **changes})
    return find_start(project, tracker, model="mine", family=family, config=config, init_from=ref, lora=None)


@pytest.mark.slow
def test_an_alias_is_resolved_to_the_version_it_names_now(home_project: Project, tracker: Tracker, package: Package) -> None:
    version = register(tracker, package)
    start = find(home_project, tracker, "gpt-pydocs@candidate", dropout=0.4, max_steps=7)
    assert (start.ref, start.sha256) == (version.ref, package.sha256)
    assert start == find(home_project, tracker, version.ref)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("vae", {}, "mine is of the family vae and cannot begin with gpt-pydocs/.*, which is of the family gpt: choose one of vae"),
        ("gpt", {"width": 32, "num_layers": 2}, r"which has num_layers 1 \(here 2\), width 16 \(here 32\): set the same in models.mine.config"),
        ("gpt", {"vocab_size": 512}, r"which has vocab_size 300 \(here 512\)"),
    ],
)
def test_what_differs_is_named(home_project: Project, tracker: Tracker, package: Package, family: str, changes: dict[str, Any], sentence: str) -> None:
    register(tracker, package)
    with pytest.raises(UserError, match=sentence):
        find(home_project, tracker, "gpt-pydocs", family, **changes)


@pytest.fixture
def folder(make_spec: MakeSpec, tmp_path: Path) -> Path:
    """A small llama in the format of transformers."""
    spec = make_spec(**LLAMA)
    model = build_model(spec, find_family("gpt"), opened(spec)[2])
    assert isinstance(model, Gpt)
    model.export_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


@pytest.mark.slow
def test_a_run_begins_with_a_folder_of_transformers_and_its_tokenizer(home_project: Project, tracker: Tracker, make_spec: MakeSpec, folder: Path) -> None:
    start = find(home_project, tracker, str(folder), **LLAMA)
    spec = make_spec(**LLAMA).model_copy(update={"start": start, "seed": 7})
    data_spec = started_data_spec(start, opened(spec)[2])
    assert data_spec == opened(spec)[2]
    model = build_model(spec, find_family("gpt"), data_spec)
    assert isinstance(model, Gpt)
    assert equal(dict(model.pretrained().state_dict()), load_file(folder / "model.safetensors"))
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")
    assert find(home_project, tracker, str(folder), **LLAMA).sha256 != start.sha256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "config", "sentence"),
    [
        ({"config.json": None}, LLAMA, "which has no config.json: give init_from a folder"),
        ({"config.json": '{"model_type": "bert"}'}, LLAMA, "it holds a model of the type 'bert': give a folder of the type llama"),
        ({"config.json": "no"}, LLAMA, "whose config.json cannot be understood: write the folder anew"),
        ({}, {**LLAMA, "width": 32}, r"which has width 16 \(here 32\): set the same in models.mine.config"),
        ({}, {}, r"which has backbone llama \(here own\), logit_softcap 0 \(here 15.0\)"),
    ],
)
def test_a_folder_that_does_not_fit_is_a_mistake_with_a_sentence(
    home_project: Project, tracker: Tracker, folder: Path, changes: dict[str, str | None], config: dict[str, Any], sentence: str
) -> None:
    for name, text in changes.items():
        (folder / name).unlink() if text is None else (folder / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        find(home_project, tracker, str(folder), **config)


# -- on other data ---------------------------------------------------------------------------------------------------


def written(package: Package) -> DataSpec:
    return start_of(package).data_spec()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["captioner", "clip", "text-to-image"])
def test_a_model_of_captions_goes_on_with_other_captions(tmp_path: Path, family: str) -> None:
    package = write_captions_package(tmp_path / "package", family)
    described = replace(written(package), example_captions=("another",), characters="another", vocab_size=400, tokenizer="another one")
    found = started_data_spec(start_of(package), described)
    assert found == replace(written(package), example_captions=("another",), characters="another")


@pytest.mark.slow
def test_a_captioner_heeds_no_classes_and_a_model_that_does_begins_with_those_it_knows(tmp_path: Path) -> None:
    for family in ("captioner", "clip"):
        package = write_captions_package(tmp_path / family, family)
        found, start = find_family(family), start_of(package)
        data_spec = started_data_spec(start, replace(written(package), class_names=("a", "b")))
        model = found.load_class()(found.config.model_validate({**SMALL_CAPTIONED[family], "caption_length": 8}), data_spec)
        if family == "captioner":
            load_start(model, start)
            continue
        with pytest.raises(UserError, match="knows other classes than this data has: begin with a model of the same classes, or leave init_from out"):
            load_start(model, start)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 16, "channels": 3}, "of 8 pixels and 1 channels, here they have 16 pixels and 3 channels: set the model's image_size"),
        ({"questions": (Question("which?", "label", ("a", "c")),)}, "on other questions or answers than this data has"),
    ],
)
def test_what_shapes_the_network_must_be_alike(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    package = write_fusion_package(tmp_path / "package", questions=(Question("which?", "label", ("a", "b")),))
    with pytest.raises(UserError, match=sentence):
        started_data_spec(start_of(package), replace(written(package), **changes))


@pytest.mark.slow
def test_answers_stand_in_the_order_in_which_they_were_learnt(tmp_path: Path) -> None:
    package = write_fusion_package(tmp_path / "package", questions=(Question("which?", "label", ("a", "b")),))
    described = replace(written(package), questions=(Question("which?", "label", ("b", "a")),))
    assert started_data_spec(start_of(package), described) == written(package)


@pytest.mark.slow
def test_word_vectors_of_other_texts_are_refused_without_a_list_of_counts(tmp_path: Path) -> None:
    package = write_words_package(tmp_path / "package", family="word2vec")
    assert started_data_spec(start_of(package), written(package)) == written(package)
    with pytest.raises(UserError, match="has learnt how frequent words are in other texts than these: leave init_from out") as error:
        started_data_spec(start_of(package), replace(written(package), token_counts=(1, 2)))
    assert "(1, 2" not in str(error.value)


# -- from gaps in texts to pairs -------------------------------------------------------------------------------------

SMALL_T5 = {"width": 16, "num_layers": 1, "context_length": 32}


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(rank=2, targets=("q", "v"))])
def test_a_model_that_filled_gaps_learns_pairs_in_its_own_words(home_project: Project, tracker: Tracker, tmp_path: Path, lora: Lora | None) -> None:
    package = write_words_package(tmp_path / "gaps", family="t5")
    version = register(tracker, package)
    family, config = find_family("t5"), T5Config(**SMALL_T5)
    start = find_start(home_project, tracker, model="mine", family="t5", config=config, init_from=version.ref, lora=lora)
    described = DataSpec("text-pairs", vocab_size=700, tokenizer="another one")
    data_spec = started_data_spec(start, described)
    assert data_spec.modality == "text-pairs"
    assert data_spec.vocab_size < 700
    model = family.load_class()(config.model_copy(update={"dropout": 0.0}), data_spec)
    load_start(model, start)
    assert equal(dict(model.state_dict()), {**dict(model.state_dict()), **weights_of(package)})
    rows = token_rows(data_spec.tokenizer, ["an object", "the method"], 8).tokens
    model.log = lambda *arguments, **named: None
    before = model.training_step({"source": rows, "target": rows}, 0).item()
    if lora is not None:
        add_adapters(model, lora)
    optimizer = model.configure_optimizers()["optimizer"]
    for _ in range(5):
        optimizer.zero_grad()
        model.training_step({"source": rows, "target": rows}, 0).backward()
        optimizer.step()
    adapted = model.training_step({"source": rows, "target": rows}, 0).item()
    if lora is not None:
        merge_adapters(model)
    assert model.training_step({"source": rows, "target": rows}, 0).item() == pytest.approx(adapted, rel=1e-4)
    assert adapted < before


@pytest.mark.slow
def test_a_folder_that_a_t5_was_exported_to_is_a_start_and_another_t5_is_none(home_project: Project, tracker: Tracker, tmp_path: Path) -> None:
    package = write_words_package(tmp_path / "gaps", family="t5")
    with load_package(package.folder) as loaded:
        assert loaded.model is not None
        loaded.model.export_pretrained(tmp_path / "exported")
        config = T5Config(**{**SMALL_T5, "vocab_size": loaded.data_spec.vocab_size})

    def found() -> Start:
        return find_start(home_project, tracker, model="mine", family="t5", config=config, init_from=str(tmp_path / "exported"), lora=None)

    model = find_family("t5").load_class()(config, started_data_spec(found(), DataSpec("text-pairs")))
    load_start(model, found())
    assert equal(dict(model.state_dict()), {**dict(model.state_dict()), **weights_of(package)})
    described = (tmp_path / "exported/config.json").read_text()
    (tmp_path / "exported/config.json").write_text(described.replace('"sentinels"', '"others"'))
    with pytest.raises(UserError, match="it holds no T5 with the marks of this family: give a folder that `genmill export` has written"):
        found()
