"""A package holds all that is needed to answer, and says when it does not fit."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from components.errors import UserError
from components.models.family import find_family
from components.project import Project
from components.registry import wire
from components.registry.loading import Child, LoadedModel, load_package, package_folder
from components.registry.package import Package, file_hashes, files_digest
from components.registry.runtime import build_model, read_spec
from components.tracking import Tracker
from tests.stores import register, write_digits_package, write_text_package

REQUEST = [{"label": 3, "n": 2}, {"label": "7"}]


@pytest.fixture
def copied(package: Package, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package.folder, tmp_path / "copy"))


def other_code(folder: Path) -> Path:
    """Make the packaged code another version than the one that runs here, and one that can be told apart."""
    wire_file = folder / "code/components/registry/wire.py"
    wire_file.write_text(wire_file.read_text().replace("MAX_DRAWS = 1024", "MAX_DRAWS = 3"))
    spec_file = folder / "artifacts/spec.json"
    spec_file.write_text(json.dumps({**json.loads(spec_file.read_text()), "code_sha256": "0" * 64}))
    return folder


def test_nothing_is_pickled_and_no_path_of_this_machine_is_kept(package: Package) -> None:
    for path in package.folder.rglob("*"):
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt"}
        if path.is_file() and path.suffix != ".safetensors":
            assert str(package.folder.parent) not in path.read_text()
            assert str(Path(__file__).parents[2]) not in path.read_text()


def test_it_is_small_and_holds_only_the_code_it_needs(package: Package) -> None:
    code = {path for path in package.files if path.startswith("code/")}
    assert "code/components/models/vae/model.py" in code
    assert "code/components/models/__init__.py" in code
    assert not [path for path in code if "gpt" in path or "tracking" in path or "training" in path or "/data/" in path]
    weights = (package.folder / "artifacts/model.safetensors").stat().st_size
    assert sum(path.stat().st_size for path in package.folder.rglob("*") if path.is_file()) - weights < 200_000


def test_the_requirements_are_pinned_to_what_is_installed(package: Package) -> None:
    lines = (package.folder / "requirements.txt").read_text().split()
    assert all("==" in line for line in lines)
    assert {"torch==2.13.0", "safetensors", "mlflow"} <= {line if line.startswith("torch==") else line.split("==")[0] for line in lines}


def test_the_same_weights_make_the_same_digest_and_others_another(package: Package, tmp_path: Path) -> None:
    assert write_digits_package(tmp_path / "again").sha256 == package.sha256
    assert write_digits_package(tmp_path / "other", seed=1).sha256 != package.sha256


def test_writing_takes_at_most_three_seconds_of_processor_time(package: Package, tmp_path: Path) -> None:
    begun = time.process_time()
    write_digits_package(tmp_path / "again")
    assert time.process_time() - begun < 3


def test_an_older_package_in_the_same_place_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale").write_text("x")
    write_digits_package(folder)
    assert not (folder / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_compiled_files_do_not_count_and_every_other_change_does(package: Package, copied: Path) -> None:
    (copied / "code/components/__pycache__").mkdir()
    (copied / "code/components/__pycache__/x.pyc").write_bytes(b"x")
    assert files_digest(file_hashes(copied)) == package.sha256
    (copied / "code/components/extra.py").write_text("")
    assert files_digest(file_hashes(copied)) != package.sha256


def test_the_weights_come_back_bit_for_bit(package: Package) -> None:
    with load_package(package.folder) as loaded:
        assert loaded.model is not None
        stored = load_file(package.folder / "artifacts/model.safetensors")
        state = loaded.model.state_dict()
        assert stored.keys() <= state.keys()
        assert all(state[name].equal(tensor) for name, tensor in stored.items())
        assert not loaded.model.training
        assert loaded.data_spec.class_names == tuple("0123456789")


def test_the_same_request_gets_the_same_answer_and_another_seed_another(package: Package) -> None:
    with load_package(package.folder) as loaded:
        first, again, other = (loaded.predict(REQUEST, {"seed": seed}) for seed in (5, 5, 6))
    assert first == again
    assert [answer["row"] for answer in first] == [0, 0, 1]
    assert [answer["seed"] for answer in first] == [5, 5, 7]
    assert [answer["label"] for answer in first] == ["3", "3", "7"]
    assert other[-1]["image"] != first[-1]["image"]


def test_a_picture_is_answered_with_its_reconstruction(package: Package) -> None:
    with load_package(package.folder) as loaded:
        drawn = loaded.predict([{}])[0]["image"]
        answers = loaded.predict([{"image": drawn}])
    assert wire.open_png(wire.decode_png(answers[0]["image"]), "L", 8).size == (8, 8)


def test_with_the_same_code_it_runs_in_this_process(package: Package) -> None:
    with load_package(package.folder) as loaded:
        assert loaded.model is not None


@pytest.mark.slow
def test_with_other_code_it_runs_its_own_in_a_child_and_answers_the_same(package: Package, copied: Path) -> None:
    with load_package(package.folder) as here, load_package(other_code(copied)) as child:
        assert child.model is None
        assert child.predict(REQUEST, {"seed": 5}) == here.predict(REQUEST, {"seed": 5})
        with pytest.raises(wire.BadRequestError, match="asks for 4 draws: ask for at most 3"):
            child.predict([{"n": 4}])
        assert child.predict([{"n": 1}], {"seed": 1})


def test_a_text_model_continues_prompts_from_the_packaged_tokenizer(tmp_path: Path) -> None:
    package = write_text_package(tmp_path / "model")
    request = [{"prompt": "the quick", "n": 2}, {}]
    params = {"seed": 5, "max_new_tokens": 6, "temperature": 2}
    with load_package(package.folder) as loaded:
        first, again = loaded.predict(request, params), loaded.predict(request, params)
        with pytest.raises(wire.BadRequestError, match="This model knows no labels: leave the column label out"):
            loaded.predict([{"label": 1}])
    assert first == again
    assert [(answer["row"], answer["prompt"]) for answer in first] == [(0, "the quick"), (0, "the quick"), (1, "")]
    assert len({answer["text"] for answer in first}) == 3


@pytest.mark.slow
def test_the_child_ends_with_its_owner_and_leaves_no_compiled_files(copied: Path) -> None:
    child = Child(copied)
    LoadedModel(read_spec(copied / "artifacts"), child).close()
    assert child._process.returncode == 0
    assert not list(copied.rglob("__pycache__"))


@pytest.mark.slow
def test_packaged_code_that_does_not_start_is_told_in_a_sentence(copied: Path) -> None:
    (other_code(copied) / "code/components/registry/runtime.py").write_text("import a_library_that_is_gone\n")
    with pytest.raises(UserError, match=r"a_library_that_is_gone.*requirements\.txt"):
        load_package(copied)


def test_a_folder_that_is_no_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no packaged model"):
        load_package(tmp_path)


def test_weights_that_do_not_fit_are_an_error(copied: Path) -> None:
    path = copied / "artifacts/model.safetensors"
    tensors = load_file(path)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, path)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_package(copied)


def test_a_spec_builds_the_network_it_was_made_from(package: Package) -> None:
    spec = read_spec(package.folder / "artifacts")
    assert isinstance(build_model(spec), find_family("vae").load_class())


@pytest.mark.slow
def test_mlflow_loads_it_with_the_packaged_code_even_beside_the_checkout(package: Package) -> None:
    code = (
        "import sys, mlflow.pyfunc, pandas as pd\n"
        f"model = mlflow.pyfunc.load_model({str(package.folder)!r})\n"
        "import components\nprint(components.__file__)\n"
        "answer = model.predict(pd.DataFrame([{'label': 3}]), params={'seed': 5})\nprint(list(answer.columns))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], env=quiet(package.folder.parent)
    )
    assert done.stdout.splitlines() == [str(package.folder / "code/components/__init__.py"), "['row', 'seed', 'label', 'image']"]


@pytest.mark.slow
def test_mlflow_refuses_it_where_other_code_is_imported_already(package: Package, copied: Path) -> None:
    code = f"import components.registry.runtime, mlflow.pyfunc\nmlflow.pyfunc.load_model({str(other_code(copied))!r})"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env=quiet(copied.parent)
    )
    assert done.returncode == 1
    assert "another version of Genmill" in done.stderr


def quiet(home: Path) -> dict[str, str]:
    """The environment of a process that meets no store of ours."""
    return {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{home}/unused.db", "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_a_package_that_is_gone_is_said_to_be_and_is_found_again_when_it_is_back(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    version = register(tracker, package)
    folder = tracker.local_path(version.source)
    assert folder is not None
    folder.rename(tmp_path / "away")
    with pytest.raises(UserError, match="is gone from"):
        package_folder(Project(tmp_path), tracker, version)
    (tmp_path / "away").rename(folder)
    assert (package_folder(Project(tmp_path), tracker, version) / "artifacts/spec.json").is_file()
    assert not list(Project(tmp_path).cache.glob("packages/*"))
