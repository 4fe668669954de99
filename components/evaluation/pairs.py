"""How well a model that looks at image and text together tells true pairs from wrong ones, and fills words with the image in view.

Li et al. 2021 (ALBEF), section 3.2: matching, and masked words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from components.code import code_digest
from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.documents import over_documents, resampled_ratios, spread_of, text_identity, token_frequencies
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.retrieval import device_of, judge, read_pairs, same_text
from components.evaluation.scoring import standard_error
from components.evaluation.telling import Teller, counted
from components.models.capabilities import DataSpec, FillsCaptions, JudgesPairs
from components.models.token_rows import FIRST_OF_TEXT, mask_of, token_rows

MASK_RATE = 0.15
"""Share of the tokens that are hidden: that of Devlin et al. 2019, whatever a model was trained with."""
SEED = 0
SHOWN = 12
_CHUNK = 256


def score_matching(model: JudgesPairs, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figures `matching_accuracy`, the wrong caption of each image being the one most like its own, and `matching_accuracy_easy`, any other one."""
    images, _, captions = read_pairs(dataset, data_spec, config.seed)
    own = torch.arange(len(images))
    wrong = {"matching_accuracy": likest_captions(captions), "matching_accuracy_easy": other_captions(captions)}
    known = own[torch.stack(list(wrong.values())).amin(dim=0) >= 0]
    pairs = torch.cat([torch.stack([known, places[known]], dim=1) for places in (own, *wrong.values())])
    judged = judge(model, data_spec, images, captions, pairs, tell).probability.view(3, len(known)) > 0.5
    how = {"matching_accuracy": "the wrong one shares the most words with the right one", "matching_accuracy_easy": "the wrong one is any other"}
    figures = []
    for name, taken in zip(wrong, judged[1:], strict=True):
        hits = (judged[0].double() + (~taken).double()) / 2
        protocol = f"each image with its own caption and a wrong one of the {len(captions):,} test pairs, {how[name]}"
        trusted = f"{float(judged[0].double().mean()):.1%} of the true pairs and {float(taken.double().mean()):.1%} of the wrong ones are taken for true"
        figure = Figure(
            name=name, value=float(hits.mean()), goal="max", unit="share", identity=text_identity(dataset, name, len(known), protocol),
            recorded=Recorded(seed=config.seed, code=code_digest(__name__)), floor=0.5, floor_name="always the same answer",
            spread=standard_error(hits), spread_over="test pairs (standard error)", note=trusted,
        )  # fmt: skip
        figures.append(figure)
    return Evidence(tuple(figures))


def likest_captions(captions: Sequence[str]) -> Tensor:
    """For each caption the place of the one that shares the largest part of its words and reads otherwise, int64 [N]; -1 where all read the same."""
    words = [set(caption.replace(",", " ").split()) for caption in captions]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(word for found in words for word in found))}
    has = torch.zeros(len(captions), len(numbers))
    for row, found in enumerate(words):
        has[row, [numbers[word] for word in found]] = 1
    shared = has @ has.T
    either = has.sum(dim=1)[:, None] + has.sum(dim=1)[None] - shared
    likeness = (shared / either.clamp(min=1)).masked_fill(same_text(captions), -1)
    best = likeness.max(dim=1)
    return best.indices.masked_fill(best.values < 0, -1)


def other_captions(captions: Sequence[str]) -> Tensor:
    """For each caption the place of the next one that reads otherwise, int64 [N]; -1 where all read the same. The order of a pool is a random one."""
    other = ~same_text(captions)
    places = torch.arange(len(captions))
    distance = ((places[None] - places[:, None]) % len(captions)).masked_fill(~other, len(captions))
    return distance.argmin(dim=1).masked_fill(~other.any(dim=1), -1)


class _Gaps(NamedTuple):
    """Captions with hidden words."""

    true: Tensor
    """Tokens [N, T]."""
    hidden: Tensor
    """Which of them are hidden, bool [N, T]."""


def score_filled_captions(model: FillsCaptions, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figure `masked_word_accuracy` beside that of always saying the commonest token; text `masked_words`."""
    images, _, captions = read_pairs(dataset, data_spec, config.seed)
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    gaps = hidden_words(token_rows(data_spec.tokenizer, captions, model.caption_length).tokens)
    guesses = _guesses(model, images, gaps, tell)
    with_others = _guesses(model, images.roll(1, 0), gaps, tell)
    truth, per_caption = gaps.true[gaps.hidden], gaps.hidden.sum(dim=1)
    hits = [part.sum().item() for part in (guesses == truth).double().split(per_caption.tolist())]
    train = [str(caption) for caption in dataset.table("train", columns=["caption"], augmented=False)["caption"].to_pylist()]
    commonest = int(token_frequencies(tokenizer, train).argmax())
    how = f"{MASK_RATE:.0%} of the tokens masked, seed {SEED}, captions of at most {model.caption_length} tokens, the image in view"
    figure = Figure(
        name="masked_word_accuracy", value=float((guesses == truth).double().mean()), goal="max", unit="share",
        identity=text_identity(dataset, "masked_word_accuracy", len(captions), how, data_spec), recorded=Recorded(seed=SEED, code=code_digest(__name__)),
        spread=spread_of(resampled_ratios(hits, per_caption.tolist()), len(hits)), spread_over=over_documents(len(hits), "captions"),
        floor=float((truth == commonest).double().mean()), floor_name="always the commonest token of the training captions",
        note=f"of {len(truth):,} masked tokens; with another caption's image in view {float((with_others == truth).double().mean()):.1%}",
    )  # fmt: skip
    return Evidence((figure,), texts={"masked_words": _filled(tokenizer, gaps, guesses)})


def hidden_words(tokens: Tensor) -> _Gaps:
    """Which of ``tokens`` [N, T] are hidden, at least one of each caption that says anything; the same for every model of the same tokenizer."""
    draws = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(SEED)).masked_fill(tokens < FIRST_OF_TEXT, 2.0)
    least = draws.amin(dim=1, keepdim=True)
    return _Gaps(tokens, (draws < MASK_RATE) | ((draws == least) & (least < 2.0)))


def _guesses(model: FillsCaptions, images: Tensor, gaps: _Gaps, tell: Teller) -> Tensor:
    """The likeliest token of each gap, [M]."""
    device, longest = device_of(model), int(mask_of(gaps.true).any(dim=0).sum())
    visible = gaps.true.masked_fill(gaps.hidden, model.mask_token)[:, :longest]
    chunks = list(zip(images.split(_CHUNK), visible.split(_CHUNK), strict=True))
    found = [model.fill_captions(seen.to(device), tokens.to(device)).argmax(dim=1).cpu() for seen, tokens in counted(chunks, "filling masked words", tell)]
    return torch.cat(found)


def _filled(tokenizer: Tokenizer, gaps: _Gaps, guesses: Tensor) -> str:
    """Captions, each gap as [what stood there] or, where the model guessed otherwise, [what stood there | its guess]."""
    found, lines = iter(guesses.tolist()), []
    for tokens, hidden in zip(gaps.true[:SHOWN].tolist(), gaps.hidden[:SHOWN].tolist(), strict=True):
        parts = []
        for token, gone in zip(tokens, hidden, strict=True):
            text = tokenizer.decode([token])
            blank, word = text[: len(text) - len(text.lstrip())], text.lstrip()
            guess = next(found) if gone else token
            wrong = "" if guess == token else f" | {tokenizer.decode([guess]).strip()}"
            parts.append(f"{blank}[{word}{wrong}]" if gone else text)
        lines.append("".join(parts))
    return "\n".join(lines) + "\n"
