"""How many tokens are hidden in a text, and in how many spans; without torch, for configs are checked by it."""

RATE, SPAN_LENGTH = 0.15, 3.0
"""Share of the tokens that are hidden, and how many a span has on average: those of the paper, by which models are compared whatever they learnt from."""


def num_hidden(length: int, rate: float, mean_length: float) -> tuple[int, int]:
    """How many of ``length`` tokens are hidden, and in how many spans; a token stands before, between and behind them."""
    assert length >= 3, "too short to hide anything in"
    hidden = min(max(1, round(length * rate)), length - 2)
    spans = min(max(1, round(hidden / mean_length)), hidden, length - hidden - 1)
    return hidden, spans
