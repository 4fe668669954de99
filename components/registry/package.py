"""Turns a trained model into a package: one folder that holds all a server needs to answer, and nothing pickled.

MLmodel  served_model.py  input_example.json  requirements.txt  card.md
artifacts/model.safetensors  artifacts/spec.json
code/components/…   exactly the modules that the model's code imports
"""

import ast
import hashlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.code import PACKAGE_ROOT, code_digest, import_closure, module_file
from components.params import Strict
from components.registry import wire
from components.registry.runtime import SPEC_FILE, WEIGHTS_FILE, PackageSpec, Runtime, abilities_of
from components.tracking.model_folder import save_model_folder

if TYPE_CHECKING:
    from components.models.capabilities import DataSpec  # with torch, which reading the registry does without

CARD_FILE = "card.md"
SCRIPT = "components.registry.served_model"
MLMODEL = "MLmodel"
VOLATILE = (b"utc_time_created:", b"model_uuid:")
"""Lines of the MLmodel file that differ between two packages of the same content; they do not count in its digest."""


class Package(Strict):
    """A package on disk."""

    folder: Path
    sha256: str
    """Digest of the content: two packages of the same weights, code and description have the same one."""
    code_sha256: str
    files: dict[str, str]
    """sha256 by path inside the folder."""


def write_package(
    model: Any,
    *,
    family: str,
    config: Mapping[str, Any],
    data_spec: "DataSpec",
    model_name: str,
    identity: str,
    dataset: str,
    data_version: str,
    data_sha256: str,
    folder: Path,
    card: str,
    example: Mapping[str, Any] | None = None,
) -> Package:
    """Package ``model`` with the weights that it holds (give it the averaged ones) into ``folder``, which is replaced.

    ``example`` is a request (`rows`, `params`); by default a small one that fits the model. The finished package is
    opened once and answers it, so a package that cannot be loaded is never registered.
    """
    from safetensors.torch import save_model

    modules = package_modules(family)
    spec = PackageSpec(
        model=model_name,
        family=family,
        config=dict(config),
        data_spec=data_spec.to_dict(),
        abilities=abilities_of(model),
        identity=identity,
        dataset=dataset,
        data_version=data_version,
        data_sha256=data_sha256,
        modules=modules,
        code_sha256=code_digest(*modules),
    )
    request = example or request_of(spec.abilities, data_spec)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        parts, made = Path(scratch), Path(scratch) / "package"
        (parts / SPEC_FILE).write_text(spec.model_dump_json(indent=1), encoding="utf-8")
        save_model(model, str(parts / WEIGHTS_FILE))
        copy_code(modules, parts / "code")
        save_model_folder(
            made,
            script=module_file(SCRIPT),
            code=parts / "code",
            artifacts={"spec": parts / SPEC_FILE, "weights": parts / WEIGHTS_FILE},
            inputs=wire.request_columns(spec.abilities),
            outputs=wire.response_columns(spec.abilities),
            params=wire.Parameters().model_dump(),
            example_rows=request["rows"],
            example_params=request["params"],
            requirements=requirements((*modules, SCRIPT)),
            metadata={"family": family, "model": model_name, "identity": identity, "data": f"{dataset}@{data_version}", "abilities": list(spec.abilities)},
        )
        (made / CARD_FILE).write_text(card, encoding="utf-8")
        Runtime.open(made / "artifacts").predict(request["rows"], request["params"])
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    files = file_hashes(folder)
    return Package(folder=folder, sha256=files_digest(files), code_sha256=spec.code_sha256, files=files)


def request_of(abilities: tuple[str, ...], data_spec: "DataSpec") -> dict[str, Any]:
    """A small request that fits the model's vocabulary, and the form of its pictures."""
    given: dict[str, str] = {}
    if data_spec.token_counts:
        given["word"] = _known_word(data_spec)
    if data_spec.example_captions:
        given["caption"] = data_spec.example_captions[0]
    if data_spec.image_size:  # posed photos have none of their own
        given["picture"] = wire.blank_png(data_spec.channels, data_spec.image_size)
    return wire.example(abilities, data_spec.class_names, **given)


def _known_word(data_spec: "DataSpec") -> str:
    """The commonest word of the vocabulary behind its marks."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    marks = tokenizer.get_added_tokens_decoder()
    known = [token for token in range(len(data_spec.token_counts)) if token not in marks]
    return str(tokenizer.id_to_token(max(known, key=lambda token: data_spec.token_counts[token])))


def package_modules(family: str) -> tuple[str, ...]:
    """The roots of what a package of ``family`` must hold; the family's modules are found by name, so no import shows them."""
    at = f"components.models.{family.replace('-', '_')}"
    return ("components.registry.child", f"{at}.config", f"{at}.model")


def copy_code(modules: Iterable[str], to: Path) -> None:
    """Copy everything of `components` that ``modules`` import, and the packages round it, below ``to``."""
    closure = import_closure(*modules)
    parents = {module.rsplit(".", depth)[0] for module in closure for depth in range(1, module.count(".") + 1)}
    for module in closure | parents:
        source = module_file(module)
        target = to / source.relative_to(PACKAGE_ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def requirements(modules: Iterable[str]) -> list[str]:
    """The distributions that the code of ``modules`` imports, pinned to what is installed."""
    distributions = importlib.metadata.packages_distributions()
    imported = {name for module in import_closure(*modules) for name in _top_level_imports(module_file(module))}
    outside = imported - set(sys.stdlib_module_names) - {"components"}
    # safetensors and tokenizers read and write torch tensors without importing numpy by name.
    names = {name if name in distributions[name] else distributions[name][0] for name in outside | {"numpy"}}
    return sorted(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names)


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file in a package by its path; compiled Python files, which serving may leave, do not count."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(_content(path)).hexdigest() for path in paths}


def files_digest(files: Mapping[str, str]) -> str:
    """One digest over all files and their names."""
    return hashlib.sha256(json.dumps(dict(sorted(files.items()))).encode()).hexdigest()


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name != MLMODEL:
        return data
    return b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(VOLATILE))


def _top_level_imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names
