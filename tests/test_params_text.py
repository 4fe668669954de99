"""params.yaml is edited as text: the entry is there, and nothing else has changed."""

import pytest
import yaml

from components.params_text import with_block

BLOCK = {"modality": "text", "source": {"kind": "folder", "path": "x: y"}, "clean": {"languages": ["en"]}}
DATASETS = "# what there is\ndatasets:\n  one:\n    modality: image # pictures\n    source: {kind: digits}\n  # a last word\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{DATASETS}models:\n  m: {{family: vae}}\n",
        f"{DATASETS}\n# of models\nmodels: {{}}\n",
        DATASETS,
        DATASETS.rstrip("\n"),
        "models: {}\ndatasets:\n    deep:\n        modality: text\n        source:\n            kind: folder\n            path: here\n# the end\n",
        "datasets: {one: {modality: text, source: {kind: pydocs}}}\nmodels: {}\n",
        "datasets: {}\nmodels: {}\n",
        "datasets:\nmodels: {}\n",
        "datasets: # none yet\nmodels: {}\n",
        "models: {}\n",
        "models: {}",
        "",
    ],
)
def test_the_entry_is_added_and_every_other_line_stays(text: str) -> None:
    before, after_text = yaml.safe_load(text) or {}, with_block(text, "datasets", "new", BLOCK)
    after = yaml.safe_load(after_text)
    assert after["datasets"].pop("new") == BLOCK
    assert (after["datasets"] or {}) == (before.get("datasets") or {})
    assert {key: value for key, value in after.items() if key != "datasets"} == {key: value for key, value in before.items() if key != "datasets"}
    comments = ("# what there is", "# pictures", "# a last word", "# of models", "# the end", "# none yet")
    assert all(comment in after_text for comment in comments if comment in text)
    kept = [line for line in text.splitlines() if line.strip() and not line.startswith("datasets")]
    assert [line for line in after_text.splitlines() if line in kept] == kept


def test_several_entries_stand_in_the_order_in_which_they_came() -> None:
    text = DATASETS
    for name in ("b", "a"):
        text = with_block(text, "datasets", name, BLOCK)
    assert list(yaml.safe_load(text)["datasets"]) == ["one", "b", "a"]
    assert "\n  b:\n    modality: text\n    source: {kind: folder, path: 'x: y'}\n    clean: {languages: [en]}\n" in text
