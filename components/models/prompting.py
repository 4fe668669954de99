"""What a causal model is given: the beginning of a text that it goes on with; or a prompt between two marks, behind which it answers."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from components.models.capabilities import DataSpec

RESPONSES = "responses"
"""The kind of batches of a model that answers its prompt instead of going on with it, as `DataSpec.modality` has it."""


class Prompted(Protocol):
    data: "DataSpec"
    prompt_length: int
    """Tokens of a prompt that it answers, without marks; what stands behind them is cut off."""


END_OF_TEXT = 0
"""Token that stands before every text, and behind every response."""
WITHHELD = 1
"""Token that stands for the value that a text is controlled by where that is not told; those of the values follow it, in the order of the class names."""


def prompt_tokens(model: Prompted, tokenizer: "Tokenizer", prompt: str, label: int | None = None) -> list[int]:
    """The tokens behind which ``model`` writes.

    The first one is the mark before every text, and behind it the value ``label`` that the text is to have; an answer has the mark before and behind itself.
    """
    tokenizer.encode_special_tokens = True  # what reads like a mark in a prompt is text
    tokens: list[int] = tokenizer.encode(prompt).ids
    if answers(model.data):
        return [*tokens[: 1 + model.prompt_length], tokens[0]]
    return [tokens[0], control_token(label), *tokens[1:]] if model.data.class_names else tokens


def control_token(label: int | None) -> int:
    """Of one of the class names, or of none of them."""
    return WITHHELD if label is None else WITHHELD + 1 + label


def answers(data: "DataSpec") -> bool:
    """Whether a model of this data answers its prompts."""
    return data.modality == RESPONSES
