"""Settings put into a model's block of params.yaml; every other byte of the file stays, comments and layout among them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError, writing
from components.params_text import flow, value_node, with_first

CONFIG = "config"


def settings_line(config: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The line of a model's block that says ``settings`` beside the ``config`` that stands there."""
    return f"{CONFIG}: {flow({**config, **settings})}"


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
    assert yaml.safe_load(after)["models"][model][CONFIG].items() >= yaml.safe_load(flow(settings)).items(), "the settings stand there now"
    with writing(path), path.open("w", encoding="utf-8", newline="") as file:
        file.write(after)


def _with_setting(text: str, model: str, name: str, value: Any, path: Path) -> str:
    whole = yaml.compose(text, Loader=yaml.SafeLoader)
    block = value_node(value_node(whole, "models"), model)
    if not isinstance(block, yaml.MappingNode):
        raise UserError(f"{model} has no block of its own in {path.name}: add one under `models:` with the line above.")
    config = value_node(block, CONFIG)
    if _is_alias(value_node(whole, "models"), model) or _is_alias(block, CONFIG):
        raise UserError(f"The settings of {model} in {path.name} are an alias (`*`) that others may use: give the model its own, with the line above.")
    if not isinstance(config, yaml.MappingNode):
        return _with_config(text, block, config, f"{CONFIG}: {flow({name: value})}")
    known = value_node(config, name)
    if known is not None:
        return text[: known.start_mark.index] + flow(value) + text[known.end_mark.index :]
    return with_first(text, config, f"{name}: {flow(value)}")


def _with_config(text: str, block: yaml.MappingNode, config: yaml.Node | None, line: str) -> str:
    """With the first setting of a model: where `config:` is missing, or stands there with nothing behind it."""
    if config is None:
        return with_first(text, block, line)
    empty = " " if config.start_mark.index == config.end_mark.index else ""
    return text[: config.start_mark.index] + empty + line.removeprefix(f"{CONFIG}: ") + text[config.end_mark.index :]


def _is_alias(mapping: yaml.Node | None, key: str) -> bool:
    """Whether what stands behind ``key`` stands in full at another place, before it."""
    pairs = mapping.value if isinstance(mapping, yaml.MappingNode) else []
    return any(name.value == key and value.start_mark.index < name.start_mark.index for name, value in pairs)
