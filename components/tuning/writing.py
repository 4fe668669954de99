"""Settings put into a model's block of params.yaml; every other byte of the file stays, comments and layout among them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError, writing

CONFIG = "config"


def settings_line(config: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The line of a model's block that says ``settings`` beside the ``config`` that stands there."""
    return f"{CONFIG}: {_flow({**config, **settings})}"


def write_settings(path: Path, model: str, settings: Mapping[str, Any]) -> None:
    """Set ``settings`` in `models.MODEL.config` of the file ``path``.

    Raises:
        UserError: the model has no block there, or shares one with others.
    """
    with path.open(encoding="utf-8", newline="") as file:
        before = file.read()
    after = before
    for name, value in settings.items():
        after = _with_setting(after, model, name, value, path)
    assert yaml.safe_load(after)["models"][model][CONFIG].items() >= yaml.safe_load(_flow(settings)).items(), "the settings stand there now"
    with writing(path), path.open("w", encoding="utf-8", newline="") as file:
        file.write(after)


def _with_setting(text: str, model: str, name: str, value: Any, path: Path) -> str:
    whole = yaml.compose(text, Loader=yaml.SafeLoader)
    block = _value(_value(whole, "models"), model)
    if not isinstance(block, yaml.MappingNode):
        raise UserError(f"{model} has no block of its own in {path.name}: add one under `models:` with the line above.")
    config = _value(block, CONFIG)
    if _is_alias(_value(whole, "models"), model) or _is_alias(block, CONFIG):
        raise UserError(f"The settings of {model} in {path.name} are an alias (`*`) that others may use: give the model its own, with the line above.")
    if not isinstance(config, yaml.MappingNode):
        return _with_config(text, block, config, f"{CONFIG}: {_flow({name: value})}")
    known = _value(config, name)
    if known is not None:
        return text[: known.start_mark.index] + _flow(value) + text[known.end_mark.index :]
    return _inserted(text, config, f"{name}: {_flow(value)}")


def _with_config(text: str, block: yaml.MappingNode, config: yaml.Node | None, line: str) -> str:
    """With the first setting of a model: where `config:` is missing, or stands there with nothing behind it."""
    if config is None:
        return _inserted(text, block, line)
    empty = " " if config.start_mark.index == config.end_mark.index else ""
    return text[: config.start_mark.index] + empty + line.removeprefix(f"{CONFIG}: ") + text[config.end_mark.index :]


def _inserted(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """``entry`` behind the last one of a mapping in braces; in one of lines before the first."""
    if mapping.flow_style and not mapping.value:
        return text[: mapping.start_mark.index] + "{" + entry + "}" + text[mapping.end_mark.index :]
    if mapping.flow_style:
        end = mapping.value[-1][1].end_mark.index
        return f"{text[:end]}, {entry}{text[end:]}"
    first = mapping.value[0][0].start_mark
    return f"{text[: first.index]}{entry}\n{' ' * first.column}{text[first.index :]}"


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """What stands behind ``key`` of a mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _is_alias(mapping: yaml.Node | None, key: str) -> bool:
    """Whether what stands behind ``key`` stands in full at another place, before it."""
    pairs = mapping.value if isinstance(mapping, yaml.MappingNode) else []
    return any(name.value == key and value.start_mark.index < name.start_mark.index for name, value in pairs)


def _flow(value: Any) -> str:
    """On one line, as one writes it by hand."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return dumped.removesuffix("...\n").strip()
