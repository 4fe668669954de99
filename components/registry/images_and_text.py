"""Answers about images and texts: their vectors, whether they belong together, what is asked of an image, and gaps in a caption."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.registry import wire
from components.registry.prompts import MASK, caption_tokens, checked

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor


def answer(model: Any, abilities: Sequence[str], row: wire.Row, image: "Tensor | None") -> wire.Rows:
    """What a request row asks; ``image`` [1, C, S, S] in [0, 1] is that of the row, where it has one.

    Raises:
        BadRequestError: it asks nothing, or what this model cannot answer.
    """
    if row.question is not None:
        return ask(model, _needed(image, "question"), row.question, row.n)
    text = row.prompt if row.prompt.strip() else None
    if text and MASK in text and wire.FILLS_CAPTIONS in abilities:
        from components.models.token_rows import plain_reader

        return fill(model, plain_reader(model.data.tokenizer), _needed(image, "prompt with a gap"), text, row.n)
    if image is None and text is None:
        raise wire.BadRequestError("The request has neither an image nor a text: fill the column image, the column prompt, or both.")
    if wire.MATCHES_IMAGES_AND_TEXT not in abilities and (image is None or text is None):
        raise wire.BadRequestError("This model judges an image and a text together: fill the column image, and prompt or question.")
    if text is None:
        return _seen(model, image, row.n)
    tokens = caption_tokens(model.data, text, model.caption_length)
    if image is None:
        return [_matched(vector=model.embed_captions(tokens)[0].tolist())]
    return [_matched(similarity=_similarity(model, abilities, image, tokens), probability=_probability(model, abilities, image, tokens))]


def ask(model: Any, image: "Tensor", question: str, num: int) -> wire.Rows:
    """The ``num`` likeliest answers to ``question`` about ``image``."""
    known = model.data.questions
    found = question_number([asked.text for asked in known], question)
    best = model.answer_question(image, found)[0].topk(min(num, len(known[found].answers)))
    chosen = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [{"question": known[found].text, "answer": known[found].answers[place], "probability": share} for share, place in chosen]


def question_number(known: Sequence[str], question: str) -> int:
    """The place in ``known`` of what is the same question but for capitals, blanks and its mark.

    Raises:
        BadRequestError: there is none; names those there are.
    """
    if not question.strip():
        raise wire.BadRequestError("The question is empty: write what you want to know of the image.")
    if not known:
        raise wire.BadRequestError("This model was trained without questions: name some in its config, and what answers them.")
    plain = [_plain(text) for text in known]
    if _plain(question) not in plain:
        raise wire.BadRequestError(f"The model does not know the question {question!r}: ask one of {', '.join(repr(text) for text in known)}.")
    return plain.index(_plain(question))


def fill(model: Any, tokenizer: "Tokenizer", image: "Tensor", prompt: str, num: int) -> wire.Rows:
    """The ``num`` likeliest words for each [MASK] of ``prompt`` by itself, ``image`` in view; masks are counted from 1.

    A gap behind a blank takes the beginning of a word (see `word_beginnings`); any other gap takes whatever token fits.
    """
    import torch

    from components.models.layers.masking import readable, word_beginnings

    tokens = checked(_gap_tokens(tokenizer, prompt, model.mask_token), model.caption_length)
    logs = model.fill_captions(image, torch.tensor([tokens]))
    words = word_beginnings(tokenizer, logs.shape[1])
    for gap, before in enumerate(prompt.split(MASK)[:-1]):
        logs[gap, ~words] = -torch.inf if before[-1:].isspace() else logs[gap, ~words]
    best = logs.exp().topk(min(num, logs.shape[1]), dim=1)
    return [
        {"prompt": prompt, "mask": number, "word": readable(tokenizer, token), "probability": share}
        for number, (shares, found) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True), start=1)
        for share, token in zip(shares, found, strict=True)
        if share > 0
    ]


def _gap_tokens(tokenizer: "Tokenizer", prompt: str, mask: int) -> list[int]:
    """``prompt`` as a row of tokens; a blank before a gap belongs to the word that is missing."""
    from components.models.token_rows import BEGIN, END

    *before, last = prompt.split(MASK)
    tokens = [BEGIN]
    for part in before:
        tokens += [*_ids(tokenizer, part.rstrip()), mask]
    return [*tokens, *_ids(tokenizer, last), END]


def _ids(tokenizer: "Tokenizer", text: str) -> list[int]:
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return tokens


def _seen(model: Any, image: Any, num: int) -> wire.Rows:
    """The vector of ``image``, and its ``num`` likeliest classes where the model names them."""
    from components.models.capabilities import NamesClasses

    vector, names = model.embed_images(image)[0].tolist(), model.data.class_names
    if not names or not isinstance(model, NamesClasses):
        return [_matched(vector=vector)]
    best = model.class_probabilities(image)[0].topk(min(num, len(names)))
    chosen = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [_matched(label=names[place], probability=share, vector=vector) for share, place in chosen]


def _similarity(model: Any, abilities: Sequence[str], image: Any, tokens: Any) -> float | None:
    return float(model.embed_images(image)[0] @ model.embed_captions(tokens)[0]) if wire.MATCHES_IMAGES_AND_TEXT in abilities else None


def _probability(model: Any, abilities: Sequence[str], image: Any, tokens: Any) -> float | None:
    import torch

    return float(model.judge_pairs(image, tokens, torch.zeros(1, 2, dtype=torch.int64)).probability[0]) if wire.JUDGES_PAIRS in abilities else None


def _needed(image: Any, what: str) -> Any:
    if image is None:
        raise wire.BadRequestError(f"A {what} is about an image: fill the column image as well.")
    return image


def _plain(question: str) -> str:
    return " ".join(question.casefold().replace("?", " ").split())


def _matched(**found: Any) -> dict[str, Any]:
    """An answer about an image and a text; what was not asked for is null."""
    return {"label": None, "probability": None, "similarity": None, "vector": None, **found}
