"""Answers to prompts: what belongs to a text, gaps that are filled, words that are like others, texts that become vectors.

Every mistake in a prompt is one sentence.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from components.registry import wire
from components.registry.continuing import GrowingText

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MASK = "[MASK]"
MOST_TOKENS = 64
"""Of one word."""


def fill(model: Any, tokenizer: "Tokenizer", prompt: str, num: int) -> wire.Rows:
    """The ``num`` likeliest words for each [MASK] of ``prompt`` by itself, with their probabilities; masks are counted from 1."""
    from components.models.layers.masking import best_fills, gap_tokens

    if not prompt.strip():
        raise wire.BadRequestError(f'The prompt is empty: give a text with {MASK} where a word is missing, e.g. "a {MASK} object".')
    marks = [mark for mark in _marks(tokenizer) if mark != MASK and mark in prompt]
    if marks:
        raise wire.BadRequestError(f"The prompt has {marks[0]}, which is a mark of the model's own: leave it out.")
    tokens = checked(gap_tokens(tokenizer, prompt), model.context_length)
    if model.mask_token not in tokens:
        raise wire.BadRequestError(f'The prompt has no {MASK}: write one where a word is missing, e.g. "a {MASK} object".')
    found = best_fills(model, tokenizer, prompt, num)
    return [
        {"prompt": prompt, "mask": number, "word": word, "probability": probability}
        for number, best in enumerate(found, start=1)
        for word, probability in best
    ]  # fmt: skip


def map_text(model: Any, tokenizer: "Tokenizer", prompt: str, num: int, parameters: wire.Parameters, seed: int) -> wire.Rows:
    """``num`` answers to ``prompt``, cut at its end to what the model reads; or ``prompt`` with its gaps filled, of a model that has learnt that."""
    from components.models.layers.spans import filled, spans_of

    if model.sentinels and parameters.stop:
        raise wire.BadRequestError("This model fills gaps, of which it knows the ends: leave the parameter stop out.")
    rows = _gap_rows(model, tokenizer, prompt) if model.sentinels else _source_rows(model, tokenizer, prompt)
    texts = [GrowingText(tokenizer, parameters.stop) for _ in range(num)]
    answers = model.map_text(
        rows.expand(num, -1),
        max_new_tokens=parameters.max_new_tokens,
        seed=seed,
        temperature=parameters.temperature,
        top_k=parameters.top_k or None,
        top_p=parameters.top_p if parameters.top_p < 1 else None,
        **({"ends": lambda index, tokens: texts[index].ends(tokens)} if parameters.stop else {}),
    )
    if model.sentinels:
        found = [filled(tokenizer, prompt, spans_of(answer, model.sentinels)) for answer in answers]
    else:
        found = [text.finished(answer) for text, answer in zip(texts, answers, strict=True)]
    return [{"seed": seed, "prompt": prompt, "text": text} for text in found]


def _source_rows(model: Any, tokenizer: "Tokenizer", prompt: str) -> Any:
    """[1, S]"""
    from components.models.token_rows import token_rows

    if not prompt.strip():
        raise wire.BadRequestError("The prompt is empty: give the text that the model shall answer.")
    return token_rows(tokenizer.to_str(), [prompt], model.source_length).tokens


def _gap_rows(model: Any, tokenizer: "Tokenizer", prompt: str) -> Any:
    """[1, S]"""
    from components.models.layers.spans import gap_row, padded

    gaps, most = prompt.count(MASK), len(model.sentinels)
    if not prompt.strip():
        raise wire.BadRequestError(f'The prompt is empty: give a text with {MASK} where words are missing, e.g. "a {MASK} object".')
    if not gaps:
        raise wire.BadRequestError(f'The prompt has no {MASK}, and this model fills gaps only: write one where words are missing, e.g. "a {MASK} object".')
    if gaps > most:
        raise wire.BadRequestError(f"The prompt has {gaps} times {MASK}, and the model fills at most {most} gaps at once: give fewer.")
    return padded([checked(gap_row(tokenizer, prompt, model.sentinels), model.source_length)])


def _marks(tokenizer: "Tokenizer") -> list[str]:
    """Names of the tokens that stand for no text."""
    return [added.content for added in tokenizer.get_added_tokens_decoder().values()]


def relate(model: Any, tokenizer: "Tokenizer", prompt: str, num: int) -> wire.Rows:
    """The ``num`` words nearest to ``prompt``, a word or a sum like `king - man + woman`, with their cosines."""
    plus, minus = terms(tokenizer, prompt)
    return [{"prompt": prompt, "word": tokenizer.id_to_token(token), "cosine": cosine} for token, cosine in model.related_words(plus, minus, num)]


def terms(tokenizer: "Tokenizer", prompt: str) -> tuple[list[int], list[int]]:
    """The words that ``prompt`` adds, and those that it takes away; words without a sign between them are added.

    Raises:
        BadRequestError: there is no word, or the model does not know one.
    """
    found: dict[str, list[int]] = {"+": [], "-": []}
    sign = "+"
    for part in prompt.split():
        if part in found:
            sign = part
        else:
            found[sign].append(_word(tokenizer, part))
            sign = "+"
    if not found["+"] and not found["-"]:
        raise wire.BadRequestError('The prompt names no word: give one, or a sum with blanks round its signs, e.g. "lists - list + class".')
    return found["+"], found["-"]


def _word(tokenizer: "Tokenizer", part: str) -> int:
    """The token of one word of a prompt."""
    unknown = tokenizer.model.unk_token
    tokens = checked(tokenizer.encode(part, add_special_tokens=False).ids, MOST_TOKENS)
    if len(tokens) != 1:
        raise wire.BadRequestError(f"{part!r} is not one word: write words of letters, digits and underscores with blanks between them.")
    if tokenizer.id_to_token(tokens[0]) == unknown:
        raise wire.BadRequestError(f"The model does not know the word {part!r}; {nearest_word(part.lower(), tokenizer.get_vocab())}")
    return tokens[0]


def nearest_word(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or what to do: a whole vocabulary is too long to be listed."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "choose one that the training text has."


def caption_tokens(data: Any, prompt: str, most: int) -> Any:
    """``prompt`` as a row of tokens [1, most] of the captions of ``data`` (its `DataSpec`).

    Raises:
        BadRequestError: it is empty, longer than the model reads, or has what no training caption has.
    """
    from components.models.token_rows import row_length, token_rows

    like = f", like {data.example_captions[0]!r}" if data.example_captions else ""
    if not prompt.strip():
        raise wire.BadRequestError(f"The prompt is empty: say what the picture shows{like}.")
    prompt = in_known_characters(data, prompt)
    length = row_length(data.tokenizer, prompt)
    if length > most:
        raise wire.BadRequestError(f"The prompt has {length} tokens with its marks, and the model reads {most} at once: shorten it.")
    return token_rows(data.tokenizer, [prompt], most).tokens


def in_known_characters(data: Any, prompt: str) -> str:
    """``prompt`` with single blanks, as captions have them, and in lower case where no training caption has another.

    Raises:
        BadRequestError: it has a character that stands in none of them.
    """
    prompt, known = " ".join(prompt.split()), {*data.characters, " "}
    for written in (prompt, prompt.lower()):
        if not data.characters or set(written) <= known:
            return written
    strange = next(word for word in prompt.split() if set(word.lower()) - known)
    like = f", like {data.example_captions[0]!r}" if data.example_captions else ""
    raise wire.BadRequestError(f"The prompt has {strange!r}, which is written in characters that no training caption has: use words of the captions{like}.")


def embed(model: Any, tokenizer: "Tokenizer", text: str) -> wire.Rows:
    """The vector of ``text``."""
    import torch

    if not text.strip():
        raise wire.BadRequestError("The column text is empty: give the text to embed.")
    tokens = checked(tokenizer.encode(text).ids, model.context_length)
    return [{"vector": model.embed_text(torch.tensor([tokens])).squeeze(0).tolist()}]


def causal_prompt(model: Any, tokenizer: "Tokenizer", row: wire.Row) -> list[int]:
    """What ``model`` goes on with, or answers."""
    from components.models.prompting import answers, prompt_tokens

    if answers(model.data) and not row.prompt.strip():
        raise wire.BadRequestError("The prompt is empty: this model answers prompts, so give one.")
    return prompt_tokens(model, tokenizer, row.prompt, row.label)


def checked(tokens: list[int], most: int) -> list[int]:
    """The tokens of a prompt.

    Raises:
        BadRequestError: that is more than ``most`` tokens.
    """
    if len(tokens) > most:
        raise wire.BadRequestError(f"The prompt has {len(tokens)} tokens with its marks, and the model reads {most} at once: shorten it.")
    return tokens
