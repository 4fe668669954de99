"""params.yaml: every mistake is one sentence with the line and the nearest right word."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.models.family import find_family
from components.project import Project
from components.tuning.space import Choices
from pipelines.catalog import load_catalog

GOOD = """\
datasets:
  digits:
    modality: image
    source: {kind: digits}
    split: {method: hash, train: 0.5, validation: 0.1, test: 0.4}
  pydocs:
    modality: text
    source: {kind: pydocs}
    split: {method: hash, train: 0.8, validation: 0.1, test: 0.1}
models:
  vae-digits:
    family: vae
    dataset: digits
    config:
      max_steps: 10
  gpt-pydocs:
    family: gpt
    dataset: pydocs
run: [vae-digits]
schedules:
  nightly:
    cron: "0 3 * * *"
    models: [vae-digits]
"""


def write(folder: Path, text: str) -> Project:
    (folder / "params.yaml").write_text(text)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    return Project(folder)


def test_a_correct_file_is_resolved(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, GOOD))
    assert catalog.model("vae-digits").config.max_steps == 10
    assert catalog.run == ("vae-digits",)
    assert catalog.schedules["nightly"].models == ("vae-digits",)


def test_the_search_space_of_a_model_is_checked_with_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("    config:\n", "    tune:\n      width: {choices: [16, 64]}\n    config:\n")
    assert load_catalog(write(tmp_path, text)).model("vae-digits").space["width"] == Choices(choices=(16, 32, 64))
    with pytest.raises(UserError, match=r"params\.yaml line 15: .*range from 5 to 2 is empty: give a `low` below its `high`"):
        load_catalog(write(tmp_path, text.replace("{choices: [16, 64]}", "{low: 5, high: 2}")))


def test_gates_and_promotion_of_a_model_are_over_those_of_its_family_and_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("    family: gpt\n", "    family: gpt\n    gates: {bits_per_byte: {max: 2}, data: false}\n    promotion: {approval: none}\n")
    text += "gates:\n  gpt: {bits_per_byte: {max: 9}, lineage: false}\n  vae: {fid_own: {max: 7}}\npromotion: {approval: required, auto: true}\n"
    catalog = load_catalog(write(tmp_path, text))
    gpt, vae = catalog.model("gpt-pydocs"), catalog.model("vae-digits")
    assert (gpt.gates.limits["bits_per_byte"].max, gpt.gates.data, gpt.gates.lineage) == (2, False, False)
    assert (vae.gates.limits["fid_own"].max, vae.gates.data) == (7, True)
    assert (gpt.promotion.approval, gpt.promotion.auto, vae.promotion.approval) == ("none", True, "required")


@pytest.mark.parametrize(
    ("right", "wrong", "line", "hint"),
    [
        ("    family: vae", "    family: vea", 12, "did you mean 'vae'?"),
        ("    dataset: digits", "    dataset: digts", 13, "did you mean 'digits'?"),
        ("      max_steps: 10", "      max_step: 10", 15, "did you mean 'max_steps'?"),
        ("      max_steps: 10", "      max_steps: many", 15, "max_steps"),
        ("  gpt-pydocs:\n", "  gpt-pydocs:\n    lora: {rank: 4}\n", 17, "give init_from, or leave lora out"),
        ("  gpt-pydocs:\n", "  gpt-pydocs:\n    init_from: vae-digits/1\n    lora: {rang: 4}\n", 18, "did you mean 'rank'?"),
        ("    source: {kind: digits}", "    source: {kind: digit}", 4, "did you mean 'digits'?"),
        ("    modality: image", "    modality: imag", 3, "did you mean 'image'?"),
        ("datasets:", "dataset:", 1, "did you mean 'datasets'?"),
        ("    family: gpt", "    famly: gpt", 17, "did you mean 'family'?"),
        ("    dataset: pydocs", "    dataset: digits", 18, "these fit: pydocs"),
        ("run: [vae-digits]", "run: [vae-digit]", 19, "did you mean 'vae-digits'?"),
        ('    cron: "0 3 * * *"', '    cron: "0 25 * *"', 22, "five fields"),
        ('    cron: "0 3 * * *"', '    cron: "0 25 * * *"', 22, "e.g."),
        ("    models: [vae-digits]", "    models: [vae-digit]", 23, "did you mean 'vae-digits'?"),
        ("run: [vae-digits]", "gates:\n  vea: {fid_own: {max: 3}}\nrun: [vae-digits]", 20, "did you mean 'vae'?"),
        ("run: [vae-digits]", "gates:\n  vae: {colapse: false}\nrun: [vae-digits]", 20, "did you mean 'collapse'?"),
        ("run: [vae-digits]", "promotion: {approval: yes}\nrun: [vae-digits]", 19, "promotion.approval"),
        ("    family: gpt", "    family: gpt\n    promotion: {autos: true}", 18, "did you mean 'auto'?"),
    ],
)
def test_a_mistake_names_its_line_and_the_nearest_word(tmp_path: Path, right: str, wrong: str, line: int, hint: str) -> None:
    assert right in GOOD
    with pytest.raises(UserError) as error:
        load_catalog(write(tmp_path, GOOD.replace(right, wrong, 1)))
    assert f"params.yaml line {line}:" in str(error.value)
    assert hint in str(error.value)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 19: the key 'models' stands twice"):
        load_catalog(write(tmp_path, GOOD.replace("run: [vae-digits]", "models: {}", 1)))


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params.yaml line \d+ is not valid YAML"):
        load_catalog(write(tmp_path, GOOD + "run: [unclosed\n"))


def test_the_cheapest_model_comes_first(tmp_path: Path) -> None:
    chosen = load_catalog(write(tmp_path, GOOD)).choose(["gpt-pydocs", "vae-digits"])
    assert [entry.name for entry in chosen] == ["vae-digits", "gpt-pydocs"]


def test_an_unknown_model_on_the_command_line_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'vae-digits'"):
        load_catalog(write(tmp_path, GOOD)).choose(["vae-digit"])


def test_an_unknown_size_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'small'"):
        load_catalog(write(tmp_path, GOOD), size="smal")


def test_a_dataset_of_the_wrong_modality_is_told_which_would_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vae needs image or image-text, but pydocs is text; these fit: digits"):
        load_catalog(write(tmp_path, GOOD.replace("    dataset: digits", "    dataset: pydocs")))
    only_texts = GOOD.replace(GOOD[GOOD.index("  digits:") : GOOD.index("  pydocs:")], "").replace("    dataset: digits", "    dataset: pydocs")
    with pytest.raises(UserError, match="vae needs image or image-text, but pydocs is text; no dataset here fits"):
        load_catalog(write(tmp_path, only_texts))


def test_an_image_family_takes_captioned_images_as_images(tmp_path: Path) -> None:
    entry = load_catalog(write(tmp_path, GOOD.replace("modality: image", "modality: image-text"))).model("vae-digits")
    assert entry.batches == "image"


def test_a_family_that_needs_captions_says_how_a_dataset_of_images_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captioned = dataclasses.replace(find_family("vae"), modality=("image-text",))
    monkeypatch.setattr("pipelines.catalog.find_family", lambda name: captioned if name == "vae" else find_family(name))
    message = r"line 13: vae needs image-text, but digits is image; no dataset here fits; or give each image its caption .*modality to image-text\.$"
    with pytest.raises(UserError, match=message):
        load_catalog(write(tmp_path, GOOD))


def test_a_dataset_names_the_families_that_fit_it_and_how_much_of_it_they_use(tmp_path: Path) -> None:
    fitting = {found.name: found for found in load_catalog(write(tmp_path, GOOD.replace("modality: image", "modality: image-text"))).fitting("digits")}
    assert {"vae", "gan", "diffusion", "clip", "text-to-image", "captioner", "fusion"} == set(fitting)
    assert (fitting["clip"].uses, fitting["vae"].uses) == ("image-text", "image")
    assert fitting["vae"].models == ("vae-digits",)
    assert fitting["gan"].models == ()


def test_chosen_families_are_trained_with_their_blocks_or_without(tmp_path: Path) -> None:
    chosen = load_catalog(write(tmp_path, GOOD)).choose([], dataset="digits", families=["vae", "gan", "vae"])
    assert {entry.name for entry in chosen} == {"vae-digits", "gan-digits"}
    by_name = {entry.name: entry for entry in chosen}
    assert by_name["vae-digits"].config.max_steps == 10
    assert by_name["gan-digits"].config == find_family("gan").config()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dataset": "digits", "families": ["gpt"]}, "The family 'gpt' does not fit 'digits'"),
        ({"dataset": "digits", "families": ["vea"]}, "did you mean 'vae'"),
        ({"families": ["vae"]}, "name that with --dataset"),
        ({"dataset": "digit"}, "did you mean 'digits'"),
    ],
)
def test_families_that_do_not_fit_get_one_sentence(tmp_path: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_catalog(write(tmp_path, GOOD)).choose([], **arguments)


def test_a_family_of_pairs_uses_both_sides_of_them(tmp_path: Path) -> None:
    pairs = "  answers:\n    modality: text-pairs\n    source: {kind: docstrings}\nmodels:\n"
    fitting = {found.name: found.uses for found in load_catalog(write(tmp_path, GOOD.replace("models:\n", pairs))).fitting("answers")}
    assert (fitting["gpt"], fitting["t5"]) == ("text-pairs", "text-pairs")


@pytest.mark.parametrize("also", [{"dataset": "digits"}, {"everything": True}])
def test_names_beside_another_choice_are_refused_and_not_forgotten(tmp_path: Path, also: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="by their names, with --dataset, or with --all"):
        load_catalog(write(tmp_path, GOOD)).choose(["vae-digits"], **also)


def test_a_default_set_that_holds_more_than_names_is_a_sentence_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line \d+: run names \{'vae-digits': None\}, which is no model"):
        load_catalog(write(tmp_path, GOOD.replace("run: [vae-digits]", "run: [{vae-digits: }]")))


def test_a_model_without_a_block_takes_the_size_that_is_asked_for(tmp_path: Path) -> None:
    family = find_family("diffusion")
    entry = load_catalog(write(tmp_path, GOOD), size="small").model("diffusion-digits")
    assert entry.config.max_steps == family.sizes["small"]["max_steps"]


def test_a_model_comes_behind_the_one_that_it_begins_with(tmp_path: Path) -> None:
    dearer = "  gpt-base:\n    family: gpt\n    dataset: pydocs\n    config: {max_steps: 5000}\n  gpt-pydocs:\n    init_from: gpt-base@candidate\n"
    catalog = load_catalog(write(tmp_path, GOOD.replace("  gpt-pydocs:\n", dearer)))
    assert [entry.name for entry in catalog.choose(["gpt-pydocs", "gpt-base", "vae-digits"])] == ["vae-digits", "gpt-base", "gpt-pydocs"]
    circle = dearer.replace("config: {max_steps: 5000}", "init_from: gpt-pydocs")
    with pytest.raises(UserError, match="begin with one another"):
        load_catalog(write(tmp_path, GOOD.replace("  gpt-pydocs:\n", circle))).choose(["gpt-pydocs", "gpt-base"])


def test_a_model_of_several_seeds_is_trained_again_from_those_behind_its_own(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(GOOD.replace("    dataset: digits\n    config", "    dataset: digits\n    seed: 5\n    seeds: 3\n    config"))
    entry = load_catalog(Project(tmp_path)).model("vae-digits")
    assert [one.block.seed for one in entry.replicates()] == [6, 7]
    assert [one.replicates() for one in entry.replicates()] == [[], []]
    assert entry.cost() == 3 * entry.replicates()[0].cost()
    assert load_catalog(Project(tmp_path), seeds=1).model("vae-digits").replicates() == []
    assert len(load_catalog(Project(tmp_path), seeds=2).model("gpt-pydocs").replicates()) == 1
