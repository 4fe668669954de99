"""What a user does with a registered model: serve it, sample from it, read its card."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from components.evaluation.evidence import Evidence
from components.models.family import find_family
from components.project import Project
from components.registry import wire
from components.registry.asking import SampleRequest
from components.registry.card import CardCost, CardData, model_card
from components.registry.loading import load_package
from components.registry.package import Package
from components.registry.sampling import sample_registered
from components.registry.stored import store_evidence, stored_evidence
from components.tracking import Tracker
from tests.stores import figure, register, tracker_in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, package: Package) -> Iterator[str]:
    """`mlflow models serve` of the candidate, as a user starts it; its address."""
    project = Project(tmp_path_factory.mktemp("served"))
    tracker = tracker_in(project, empty_store)
    register(tracker, package)
    port = free_port()
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracker.uri, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    command = [str(bin_folder / "mlflow"), "models", "serve", "-m", "models:/vae-digits@candidate", "--env-manager", "local", "-p", str(port)]
    with (project.root / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=Path(__file__).parents[2], start_new_session=True)
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", process, project.root / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text())


def ask(server: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    content = json.dumps(request).encode()
    post = urllib.request.Request(f"{server}/invocations", data=content, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(post, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.slow
def test_a_served_model_answers_as_the_package_does(server: str, package: Package) -> None:
    request = {"dataframe_records": [{"label": 3, "n": 2}, {"label": "7"}], "params": {"seed": 5}}
    status, answer = ask(server, request)
    assert status == 200
    with load_package(package.folder) as loaded:
        assert answer["predictions"] == loaded.predict([{"label": 3, "n": 2}, {"label": "7"}], {"seed": 5})


@pytest.mark.slow
def test_the_example_in_the_package_is_answered(server: str, package: Package) -> None:
    status, answer = ask(server, json.loads((package.folder / "serving_input_example.json").read_text()))
    assert status == 200
    assert wire.open_png(wire.decode_png(answer["predictions"][0]["image"]), "L", 8).size == (8, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"dataframe_records": [{"label": "three"}]}, "There is no class 'three'"),
        ({"dataframe_records": [{"lable": 3}]}, "names none of the columns label, n, image"),
        ({"dataframe_records": [{"n": 0}]}, "must be at least 1"),
        ({"dataframe_records": [{"n": 1}], "params": {"seed": -1}}, "parameter seed is -1"),
        ({"dataframe_records": [{"image": "!"}]}, "PNG in base64"),
    ],
)
def test_a_bad_request_gets_status_400_and_one_sentence(server: str, request_: dict[str, Any], sentence: str) -> None:
    status, answer = ask(server, request_)
    assert status == 400
    assert sentence in answer["message"]
    assert "Traceback" not in json.dumps(answer)


def test_evidence_is_read_back_as_it_was_stored(tracker: Tracker) -> None:
    run_id = tracker.start_run("digits", "a-run", {}, {})
    assert stored_evidence(tracker, run_id) == Evidence()
    evidence = Evidence((figure(floor=5.0),), {"samples": b"\x89PNG"}, {"samples": "words"}, ("IS is absent: there are no labels.",))
    store_evidence(tracker, run_id, evidence)
    assert stored_evidence(tracker, run_id) == evidence


def test_samples_of_a_registered_model_are_a_picture_and_repeatable(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    register(tracker, package)
    project = Project(tmp_path)
    drawn = sample_registered(project, tracker, "vae-digits", SampleRequest(num=9, seed=3))
    assert drawn.png is not None
    assert drawn.png.startswith(b"\x89PNG")
    assert drawn == sample_registered(project, tracker, "vae-digits@candidate", SampleRequest(num=9, seed=3))
    assert drawn.png != sample_registered(project, tracker, "vae-digits", SampleRequest(num=9, seed=4)).png
    assert drawn.description == "9 pictures of vae-digits/1, seed 3"


def test_a_prompt_for_a_model_of_pictures_is_refused(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    register(tracker, package)
    with pytest.raises(UserError, match="no request column 'prompt'"):
        sample_registered(Project(tmp_path), tracker, "vae-digits", SampleRequest(prompt="A"))


def test_the_card_says_what_it_is_for_on_what_data_and_how_good() -> None:
    data = CardData(
        dataset="digits", version="v3", sha256="d" * 64, rows={"train": 900, "test": 700}, licence="CC BY 4.0", source="sklearn", validation="passed"
    )
    cost = CardCost(parameters=1_234_567, steps=2500, train_s=41.2, core_s=80, peak_memory_bytes=2**30)
    card = model_card(
        find_family("vae"), name="vae-digits", family_name="vae", size="tiny", data=data, figures=[figure(floor=5.0)], cost=cost, config={"latent_dim": 16}
    )
    for part in (
        "# vae-digits",
        "## Intended use",
        "## Limits",
        "digits v3",
        "900 train, 700 test",
        "CC BY 4.0",
        "1,234,567 parameters",
        "| fid_own | 10 |",
        "5 (real images)",
    ):
        assert part in card
