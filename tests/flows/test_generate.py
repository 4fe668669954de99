"""`genmill generate` from the command line: a dataset of the project's own, drawn once, reused, and read by a source."""

import json

import pytest

from components.data.generated import read_lineage
from tests.workshop import Workshop

pytestmark = pytest.mark.slow


def test_a_dataset_is_drawn_once_and_then_reused(shop: Workshop) -> None:
    first = json.loads(shop.run("generate", "vae-digits/1", "-n", "30", "--json").stdout)
    again = json.loads(shop.run("generate", "vae-digits/1", "-n", "30", "--json").stdout)
    assert (first["reused"], again["reused"]) == (False, True)
    folder = shop.root / "data/generated/vae-digits"
    assert first["folder"] == str(folder)
    lineage = read_lineage(folder)
    assert (lineage.model, lineage.rows, lineage.seed) == ("vae-digits/1", 30, 0)
    assert json.loads(shop.run("generate", "vae-digits/1", "-n", "30", "--fresh", "--json").stdout)["lineage"]["seed"] == 1


def test_real_rows_are_prepared_before_the_dataset_that_reads_them(shop: Workshop) -> None:
    shop.run("generate", "vae-digits/1", "-n", "30")
    params, source = shop.root / "params.yaml", {"kind": "synthetic", "path": "data/generated/vae-digits", "real": "digits"}
    before = params.read_text()
    try:
        shop.edit_params(datasets__more={"modality": "image", "source": source}, datasets__digits__source__rows=310)
        planned = [(row["what"], row["action"], row["why"]) for row in shop.json("plan", "vae-more")]
    finally:
        params.write_text(before)
    assert [row[:2] for row in planned] == [("data digits", "prepare"), ("data more", "prepare"), ("vae-more", "train")]
    assert planned[1][2] == "once digits is prepared"


def test_a_mistake_is_told_before_any_server_is_asked(shop: Workshop) -> None:
    assert "is no parameter: write NAME=VALUE" in shop.run("generate", "vae-digits/1", "--param", "steps", code=2).stderr
