"""Texts that are rows of their own, as tokens in a compact form."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from components.models.capabilities import DataSpec
from components.models.token_rows import token_rows


def encoded(data_spec: DataSpec, texts: Sequence[str], length: int, what: str, setting: str) -> tuple[Tensor, Mapping[str, int]]:
    """``texts`` as int32 [N, length] (half the memory), and what is to be told of those that are cut, for which ``setting`` is to be raised."""
    rows = token_rows(data_spec.tokenizer, texts, length)
    return rows.tokens.int(), told_of_cut(rows.num_cut, what, length, setting)


def told_of_cut(num: int, what: str, length: int, setting: str) -> Mapping[str, int]:
    """As in `Columns.told`; nothing of none."""
    return {f"{what} have more than {length} tokens and are cut: raise {setting} to keep them whole.": num} if num else {}
