"""What a user does with a registered model: serve it, sample from it, read its card."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
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
from components.registry.serving import ModelServer, names_no_version
from components.registry.stored import store_evidence, stored_evidence
from components.tracking import Tracker
from pipelines.servers import answers, terminal_servers
from tests.stores import figure, register, tracker_in
from tests.workshop import clean_environment


class Served(NamedTuple):
    """`genmill serve vae-digits@candidate` on version 1; version 2 is another one, and the package of version 3 does not import."""

    address: str
    tracker: Tracker
    project: Project
    process: "subprocess.Popen[str]"
    told: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, package: Package) -> Iterator[Served]:
    project = Project(tmp_path_factory.mktemp("served"))
    for name in ("params.yaml", "dvc.yaml"):
        (project.root / name).touch()
    tracker = tracker_in(project, empty_store)
    register(tracker, package)
    register(tracker, rewritten(package, project.root / "second", LIGHT))
    register(tracker, rewritten(package, project.root / "third", BROKEN))
    tracker.set_alias("vae-digits", "candidate", 1)
    port, told = free_port(), project.root / "told.txt"
    command = [str(Path(sys.executable).with_name("genmill")), "serve", "vae-digits@candidate", "--port", str(port)]
    with told.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=project.root, text=True, env=clean_environment())
    address = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(f"{address}/ping"), process, told)
    yield Served(address, tracker, project, process, told)
    process.terminate()
    process.wait(20)


@pytest.fixture
def server(served: Served) -> str:
    return served.address


BROKEN = "import gone_library"
LIGHT = """
import mlflow
import pandas as pd

class Light(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        return pd.DataFrame([{"row": 0}])

mlflow.models.set_model(Light())
"""
"""Code of a package that loads in a moment, for it does without torch."""


def rewritten(package: Package, folder: Path, code: str) -> Package:
    """``package`` with other code."""
    shutil.copytree(package.folder, folder)
    (folder / "served_model.py").write_text(code)
    return package.model_copy(update={"folder": folder})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(done: Callable[[], bool], process: "subprocess.Popen[str]", told: Path, within_s: float = 240) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert process.poll() is None, told.read_text()
        assert time.monotonic() < deadline, told.read_text()
        time.sleep(0.1)


def version_of(server: str) -> str:
    """The version that answers, as every answer names it."""
    with urllib.request.urlopen(f"{server}/model", timeout=60) as answer:
        told = json.load(answer)
        assert told["version"] == answer.headers["X-Genmill-Model"]
        return str(told["version"])


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


@pytest.mark.slow
def test_the_command_line_that_is_printed_works(served: Served) -> None:
    line = next(line for line in served.told.read_text().splitlines() if line.startswith("Try"))
    answer = subprocess.run(line.removeprefix("Try").strip(), shell=True, capture_output=True, text=True, check=True)
    assert len(json.loads(answer.stdout)["predictions"]) == 1


@pytest.mark.slow
def test_what_serves_is_listed_with_its_version(served: Served) -> None:
    (entry,) = terminal_servers(served.project)
    assert (entry.pid, entry.url) == (served.process.pid, served.address)
    assert entry.serves == "vae-digits/1 (vae-digits@candidate)"
    with urllib.request.urlopen(f"{served.address}/model", timeout=60) as answer:
        told = json.load(answer)
    assert (told["reference"], told["data"], told["run_id"]) == ("vae-digits@candidate", "digits@v1", served.tracker.model_version("vae-digits", 1).run_id)


@pytest.mark.slow
def test_a_new_version_that_does_not_import_leaves_the_old_one_serving(served: Served) -> None:
    served.tracker.set_alias("vae-digits", "candidate", 3)
    wait_for(lambda: "goes on being served" in served.told.read_text(), served.process, served.told)
    assert version_of(served.address) == "vae-digits/1"
    told = " ".join(served.told.read_text().split())
    assert "vae-digits@candidate moved, but vae-digits/1 goes on being served: vae-digits/3 cannot be served here (ModuleNotFoundError" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_the_server_moves_on_with_the_alias_and_loses_no_request(served: Served) -> None:
    served.tracker.set_alias("vae-digits", "candidate", 2)
    seen = []
    deadline = time.monotonic() + 240
    while "vae-digits/2" not in seen[-3:] and time.monotonic() < deadline:
        assert ask(served.address, {"dataframe_records": [{"n": 1}]})[0] == 200
        seen.append(version_of(served.address))
    wait_for(lambda: "is served in place of vae-digits/1" in served.told.read_text(), served.process, served.told)
    assert [version_of(served.address) for _ in range(5)] == ["vae-digits/2"] * 5
    assert set(seen) == {"vae-digits/1", "vae-digits/2"}


@pytest.mark.slow
def test_a_process_that_was_killed_is_started_again(served: Served) -> None:
    (child,) = psutil.Process(served.process.pid).children()
    child.kill()
    child.wait(10)
    assert version_of(served.address) == "vae-digits/2"  # who asks meanwhile waits, and is answered
    assert "starting it again" in served.told.read_text()


@pytest.mark.slow
def test_ctrl_c_is_a_good_end_that_leaves_nothing_behind(served: Served) -> None:
    children = psutil.Process(served.process.pid).children(recursive=True)
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(30) == 0
    assert served.told.read_text().endswith("Stopped.\n")
    assert "Traceback" not in served.told.read_text()
    assert not any(child.is_running() for child in children)
    assert not terminal_servers(served.project)


@pytest.mark.slow
def test_a_model_whose_code_does_not_import_is_refused_with_the_fix(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    version = register(tracker, rewritten(package, tmp_path / "broken", BROKEN))
    with socket.socket() as listener, pytest.raises(UserError, match=r"No module named 'gone_library'\): install the versions in .*requirements.txt"):
        serve_here(tracker, version.ref, listener, tmp_path)


def test_a_package_that_was_changed_is_not_run(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    shutil.copytree(package.folder, tmp_path / "package")
    version = register(tracker, package.model_copy(update={"folder": tmp_path / "package"}))
    script = Path(urlsplit(version.source).path) / "served_model.py"
    script.write_text(f"print('mine now')\n{script.read_text()}")
    with socket.socket() as listener, pytest.raises(UserError, match="is not what was registered"):
        serve_here(tracker, version.ref, listener, tmp_path)


def serve_here(tracker: Tracker, ref: str, listener: socket.socket, folder: Path) -> None:
    listener.bind(("127.0.0.1", 0))
    ModelServer(Project(folder), tracker, ref, listener, folder / "serve.log", follow=True, say=print).close()


def test_what_names_a_version_never_moves_on() -> None:
    moves = {"vae-digits": True, "vae-digits@champion": True, "vae-digits/3": False, "0" * 32: False}
    assert {ref: names_no_version(ref) for ref in moves} == moves


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
