"""params.yaml as blocks that know their line numbers; each layer validates its own block."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from components.errors import UserError, nearest

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


class Strict(BaseModel):
    """Base of every block: frozen, and a key that it does not know is an error."""

    # JSON knows no infinity and no not-a-number: as `null` a figure that is one of them could never be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


@dataclass(frozen=True)
class Block:
    """A mapping of params.yaml with where it stands."""

    value: dict[str, Any]
    location: Location
    lines: dict[Location, int]
    file: Path

    def line(self, *keys: str | int) -> int:
        """The line of the key ``keys`` below this block, or of the nearest parent that has one."""
        at = (*self.location, *keys)
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)

    def error(self, message: str, *keys: str | int) -> UserError:
        """A UserError that names the file and the line of ``keys``."""
        return UserError(f"{self.file.name} line {self.line(*keys)}: {message}")

    def child(self, key: str) -> "Block":
        value = self.value.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.error(f"{_dotted((*self.location, key))} must be a mapping, not {value!r}.", key)
        return Block(value, (*self.location, key), self.lines, self.file)

    def children(self) -> Iterator[tuple[str, "Block"]]:
        for key in self.value:
            yield key, self.child(key)

    def validate(self, model: type[Model], value: dict[str, Any] | None = None) -> Model:
        """This block (or ``value`` in its place) as ``model``; a mistake is named with its line and the nearest word."""
        try:
            return model.model_validate(self.value if value is None else value)
        except ValidationError as error:
            raise self._explain(model, error) from None

    def _explain(self, model: type[BaseModel], error: ValidationError) -> UserError:
        # A misspelt key is also a missing one: the misspelling is what the user wants to hear of.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        keys = tuple(first["loc"])
        name = _dotted((*self.location, *keys))
        if first["type"] == "extra_forbidden":
            known = _fields_at(model, keys[:-1])
            return self.error(f"unknown key {str(keys[-1])!r} in {_dotted((*self.location, *keys[:-1]))}; {nearest(str(keys[-1]), known)}", *keys)
        if first["type"] == "missing":
            return self.error(f"{name} is missing: add it.", *keys)
        text = first["msg"].removeprefix("Value error, ")
        return self.error(f"{name}: {text[0].lower()}{text[1:]} (it is {first['input']!r}).", *keys)


def load(path: Path) -> Block:
    """The whole of params.yaml.

    Raises:
        UserError: the file is missing, is no YAML, or says one key twice.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `genmill init {path.parent}` to write one.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{path.name}{where} is not valid YAML ({getattr(error, 'problem', error)}): mend that line.") from None
    lines: dict[Location, int] = {}
    value = _construct(node, (), lines, path) if node is not None else {}
    if not isinstance(value, dict):
        raise UserError(f"{path.name} must be a mapping with the keys datasets and models.")
    return Block(value, (), lines, path)


def _construct(node: yaml.Node, at: Location, lines: dict[Location, int], path: Path) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                raise UserError(f"{path.name} line {key_node.start_mark.line + 1}: the key {key!r} stands twice: remove one of them.")
            lines[(*at, key)] = key_node.start_mark.line + 1
            result[key] = _construct(value_node, (*at, key), lines, path)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*at, index), lines, path) for index, child in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)


def _fields_at(model: type[BaseModel], keys: Location) -> list[str]:
    """Field names of the model that is reached by ``keys``."""
    current: Any = model
    for key in keys:
        field = getattr(current, "model_fields", {}).get(key)
        current = next((t for t in _types(field.annotation) if hasattr(t, "model_fields")), None) if field else None
    return list(getattr(current, "model_fields", {}))


def _types(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation, *(found for arg in inner for found in _types(arg))]


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location) or "params"
