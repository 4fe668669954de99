"""The client examples of docs/serving.md: each is answered by a real package of its family."""

import base64
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.models.capabilities import Question
from components.models.family import family_names
from components.registry import wire
from components.registry.loading import load_package
from components.registry.package import Package
from tests.stores import (
    write_captions_package,
    write_digits_package,
    write_fusion_package,
    write_scene_package,
    write_text_package,
    write_words_package,
)

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
CLIENT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
EXAMPLES = {
    family: (command, code) for family, command, code in re.findall(r"^### `([a-z0-9-]+)`\n\n```bash\n(.*?)```\n\n```python\n(.*?)```", PAGE, re.DOTALL | re.M)
}
CAPTIONS = ["greek capital letter omega, a new object"] * 4

WRITERS: dict[str, Callable[[Path], Package]] = {
    **{family: lambda folder, family=family: write_digits_package(folder, family=family) for family in ("vae", "gan", "diffusion")},
    **{family: lambda folder, family=family: write_captions_package(folder, family) for family in ("captioner", "clip", "text-to-image")},
    **{family: lambda folder, family=family: write_words_package(folder, family=family) for family in ("bert", "t5", "word2vec")},
    "fusion": lambda folder: write_fusion_package(folder, questions=(Question("what style is it?", "label", ("bold", "plain")),)),
    "gpt": lambda folder: write_text_package(folder, context_length=16, num_layers=1, width=16, num_heads=2),
    "nerf": write_scene_package,
}


def test_every_family_has_an_example() -> None:
    assert set(EXAMPLES) == set(family_names())


def test_the_columns_are_those_that_a_request_may_have() -> None:
    told = {ability: re.findall(r"`(\w+)`", columns) for ability, columns in re.findall(r"^\| .*\(`(.+)`\) \| (.+) \|$", PAGE, re.M)}
    assert told == {ability: [column.name for column in wire.request_columns([ability])] for ability in told}
    assert set(told) | {wire.SAMPLES_IN_STEPS} == set(wire._COLUMNS)


def test_every_parameter_is_named() -> None:
    (told,) = re.findall(r"The parameters are (.*?)\. The", PAGE, re.DOTALL)
    assert re.findall(r"`(\w+)`", told) == list(wire.Parameters.model_fields)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(EXAMPLES))
def test_the_example_of_a_family_is_answered(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if family in ("captioner", "clip", "text-to-image"):
        monkeypatch.setattr("tests.stores.TEXTS", CAPTIONS)
    monkeypatch.chdir(tmp_path)
    Path("picture.png").write_bytes(base64.b64decode(wire.blank_png(1, 8)))
    command, code = EXAMPLES[family]
    by_curl = sent_by_curl(command)
    asked: list[dict[str, Any]] = []
    with load_package(WRITERS[family](tmp_path / "package").folder) as model:

        def answer(rows: list[dict[str, Any]], **params: Any) -> wire.Rows:
            asked.append({"rows": rows, "params": params})
            return model.predict(rows, params)

        names: dict[str, Any] = {}
        exec(CLIENT, names)
        exec(code, {**names, "ask": answer})
        assert len(asked) == 1
        assert asked == [{"rows": by_curl["dataframe_records"], "params": by_curl.get("params", {})}]
        answers = model.predict(**asked[0])
    assert answers
    named = {column.name for column in wire.request_columns(model.spec.abilities)}
    assert {column for row in asked[0]["rows"] for column in row} <= named


def sent_by_curl(command: str) -> dict[str, Any]:
    """What the shell hands to curl as content."""
    script = f'curl() {{ printf %s "${{@: -1}}"; }}\n{command}'
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    sent: dict[str, Any] = json.loads(done.stdout)
    return sent
