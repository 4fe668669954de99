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


def prompt_tokens(model: Prompted, tokenizer: "Tokenizer", prompt: str) -> list[int]:
    """The tokens behind which ``model`` writes; the first one is the mark before every text, and an answer has it before and behind itself."""
    tokens: list[int] = tokenizer.encode(prompt).ids
    return [*tokens[: 1 + model.prompt_length], tokens[0]] if answers(model.data) else tokens


def answers(data: "DataSpec") -> bool:
    """Whether a model of this data answers its prompts."""
    return data.modality == RESPONSES
