"""params.yaml as text: entries put into its mappings while every other byte stays, comments and layout among them."""

from collections.abc import Mapping
from typing import Any

import yaml


def value_node(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """What stands behind ``key`` of a mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def with_first(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """``entry`` behind the last one of a mapping in braces; in one of lines before the first."""
    if mapping.flow_style and not mapping.value:
        return text[: mapping.start_mark.index] + "{" + entry + "}" + text[mapping.end_mark.index :]
    if mapping.flow_style:
        end = mapping.value[-1][1].end_mark.index
        return f"{text[:end]}, {entry}{text[end:]}"
    first = mapping.value[0][0].start_mark
    return f"{text[: first.index]}{entry}\n{' ' * first.column}{text[first.index :]}"


def with_block(text: str, key: str, name: str, block: Mapping[str, Any]) -> str:
    """``text`` with ``block`` as the last entry ``name`` of the mapping ``key`` at the top, a line for each of the block's keys.

    A mapping that is missing or empty is begun; one in braces gets the entry in braces.
    """
    whole = yaml.compose(text, Loader=yaml.SafeLoader)
    mapping = value_node(whole, key)
    if isinstance(mapping, yaml.MappingNode) and mapping.value:
        if mapping.flow_style:
            return with_first(text, mapping, f"{name}: {flow(block)}")
        column = mapping.value[0][0].start_mark.column
        at = _line_after(text, _last_index(mapping))
        ended = "" if at == 0 or text[at - 1] == "\n" else "\n"
        return text[:at] + ended + _lines(name, block, column) + text[at:]
    if mapping is None:
        ended = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{ended}{key}:\n{_lines(name, block, 2)}"
    # `datasets:` with nothing behind it, or `datasets: {}`
    empty = text[: mapping.start_mark.index].rstrip(" ") + text[mapping.end_mark.index :]
    at = _line_after(empty, len(text[: mapping.start_mark.index].rstrip(" ")))
    ended = "" if empty[at - 1 : at] == "\n" else "\n"
    return empty[:at] + ended + _lines(name, block, 2) + empty[at:]


def flow(value: Any) -> str:
    """On one line, as one writes it by hand."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return dumped.removesuffix("...\n").strip()


def _lines(name: str, block: Mapping[str, Any], column: int) -> str:
    inner = "".join(f"{' ' * (column + 2)}{key}: {flow(value)}\n" for key, value in block.items())
    return f"{' ' * column}{name}:\n{inner}"


def _last_index(node: yaml.Node) -> int:
    """Where the last sign of ``node`` stands: a mapping in lines ends only where the next thing begins, comments between them included."""
    if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_index(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _line_after(text: str, index: int) -> int:
    """The beginning of the line after the one in which ``index`` lies."""
    if index > 0 and text[index - 1] == "\n":
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1
