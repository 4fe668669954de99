"""A folder of JPEG photographs in class folders, with the source's own split, from params alone to a registered model."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.training.test_folder_images import write
from tests.workshop import SMALL_VAE, Workshop, make_workshop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A project whose only dataset is a folder with train/ and test/, three classes each."""
    root = tmp_path_factory.mktemp("own")
    for split, num in (("train", 70), ("test", 20)):
        for seed, name in enumerate(("cat", "dog", "owl")):
            write(root / "photos" / split / name, num, (32, 32), seed=10 * seed + len(split))
    workshop = make_workshop(root / "project")
    params = {
        "datasets": {"photos": {"modality": "image", "source": {"kind": "folder", "path": "../photos"}, "split": {"method": "given"}}},
        "models": {"vae-photos": {"family": "vae", "dataset": "photos", "config": {**SMALL_VAE, "max_steps": 10, "batch_size": 16, "importance_samples": 2}}},
        "run": ["vae-photos"],
    }
    (workshop.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    try:
        yield workshop
    finally:
        workshop.run("down", code=None)
        shutil.rmtree(workshop.root, ignore_errors=True)


def test_photographs_in_class_folders_become_a_registered_model(shop: Workshop) -> None:
    (outcome,) = shop.json("run")
    assert outcome["status"] == "trained"
    names = {figure["name"] for figure in outcome["figures"]}
    assert {"fid_own", "fid_own_before_prior", "bits_per_dim"} <= names
    version = shop.json("data", "show", "photos")
    assert version["rows"]["test"] == 60
    assert version["rows"]["train"] + version["rows"]["validation"] == 210
    assert version["class_names"] == ["cat", "dog", "owl"]


def test_the_report_has_every_picture_under_its_heading(shop: Workshop) -> None:
    page = (Path(shop.root) / "reports" / "run.html").read_text()
    for heading in ("samples", "reconstructions", "interpolations", "traversals", "latent map", "prior"):
        assert f"<figcaption>{heading}</figcaption>" in page
    assert page.index("<figcaption>samples<") < page.index("<figcaption>interpolations<")
