"""What the vectors of a vocabulary look like: the tokens of a sentence, neighbours of common words, analogies, and a map.

They are for the eye, not figures: which words are shown hangs on the training text.
"""

import io
import itertools
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize

from components.data.dataset import Dataset
from components.data.fonts import font_file
from components.evaluation.documents import texts_of, token_frequencies
from components.evaluation.evidence import Evidence
from components.evaluation.telling import Teller
from components.models.capabilities import DataSpec, HasTokenVectors
from components.models.layers.masking import BLANK
from components.models.layers.vectors import combine, nearest

SHOWN_WORDS = 16
NEIGHBOURS = 6
ANALOGIES = 12
GUESSES = 3
MAPPED_WORDS = 80
LEAST_LETTERS = 4
"""Shorter words are mostly articles and prepositions, and parts of words."""


class Word(NamedTuple):
    """An entry of the vocabulary that is a word."""

    token: int
    text: str


def show_embeddings(model: HasTokenVectors, dataset: Dataset, data_spec: DataSpec, *, seed: int, tell: Teller) -> Evidence:
    """Texts `tokens`, `neighbours`, `analogies` and picture `token_map`; notes say what the vocabulary is too small for."""
    tell.say("mapping the vectors of the vocabulary")
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    vectors = model.token_vectors().float().cpu()
    words = common_words(tokenizer, token_frequencies(tokenizer, texts_of(dataset, "train")))
    shown = {"tokens": tokens_text(tokenizer, data_spec.example_texts[0])} if data_spec.example_texts else {}
    if len(words) <= NEIGHBOURS:
        return Evidence(texts=shown, notes=(f"The vocabulary has {len(words)} whole words, too few to show their neighbours.",))
    texts = {**shown, "neighbours": _neighbours(vectors, words)}
    analogies = analogies_text(vectors, words)
    notes: tuple[str, ...] = () if analogies else ("No two words of the vocabulary have their plural in it too, so there is no table of analogies.",)
    drawable = drawable_words(words)
    pictures = {"token_map": map_png(vectors, drawable, seed)} if len(drawable) > NEIGHBOURS else {}
    notes += () if pictures else ("The words of the vocabulary are in a script that the font of the map does not have, so there is no map.",)
    return Evidence(texts={**texts, **({"analogies": analogies} if analogies else {})}, pictures=pictures, notes=notes)


def neighbours_text(vectors: Tensor, data_spec: DataSpec) -> str:
    """The neighbours of common words, where the data says how often each word stands in it."""
    tokenizer = Tokenizer.from_str(data_spec.tokenizer)
    return _neighbours(vectors.float().cpu(), common_words(tokenizer, np.array(data_spec.token_counts, dtype=np.int64)))


def common_words(tokenizer: Tokenizer, frequencies: NDArray[np.int64]) -> list[Word]:
    """The words of at least four letters among the tokens, the most frequent first; of a byte-pair vocabulary those that begin with a blank."""
    begins = " " if tokenizer.token_to_id(BLANK) is not None else ""
    found: dict[str, Word] = {}
    for token in np.argsort(-frequencies, kind="stable").tolist():
        # A byte-level token is written in stand-ins for its bytes, so only what it decodes to has letters.
        decoded = tokenizer.decode([token]) if frequencies[token] else ""
        text = decoded.removeprefix(begins)
        if decoded == begins + text and len(text) >= LEAST_LETTERS and _is_word(text):
            found.setdefault(text.lower(), Word(token, text))
    return list(found.values())


def _is_word(text: str) -> bool:
    """Whether ``text`` is of letters alone, whatever the script; many have signs that belong to a letter."""
    return all(unicodedata.category(letter)[0] in "LM" for letter in text)


def tokens_text(tokenizer: Tokenizer, sentence: str) -> str:
    """``sentence``, and the tokens that it is to the model."""
    encoding = tokenizer.encode(sentence)
    pairs = [f"{token} ({number})" for token, number in zip(encoding.tokens, encoding.ids, strict=True)]
    return f"{sentence}\n\n{len(pairs)} tokens: {'  '.join(pairs)}"


def _neighbours(vectors: Tensor, words: Sequence[Word]) -> str:
    """A line for each of the most frequent words: those nearest to it, with their cosines."""
    own = vectors[[word.token for word in words]]
    lines = []
    for index, word in enumerate(words[:SHOWN_WORDS]):
        near = ", ".join(f"{words[other].text} {cosine:.2f}" for other, cosine in nearest(own, own[index], NEIGHBOURS, [index]))
        lines.append(f"{word.text:<14} {near}")
    return "\n".join(lines)


def analogies_text(vectors: Tensor, words: Sequence[Word]) -> str:
    """Rows `objects - object + class` with the words nearest to that, and how often the plural comes first; empty where no two words have one."""
    own, place = vectors[[word.token for word in words]], {word.text.lower(): index for index, word in enumerate(words)}
    pairs = [(index, place[f"{name}s"]) for name, index in place.items() if f"{name}s" in place]
    rows, right = [], 0
    for (one, many), (other, expected) in itertools.pairwise(pairs):
        found = nearest(own, combine(own, [many, other], [one]), GUESSES, [one, many, other])
        hit = bool(found) and found[0][0] == expected
        right += hit
        guessed = ", ".join(words[index].text for index, _ in found)
        sign = "+" if hit else " "
        rows.append(f"{sign} {words[many].text} - {words[one].text} + {words[other].text} = {guessed} ({words[expected].text})")
    return "\n".join([*rows[:ANALOGIES], "", f"The plural comes first in {right} of {len(rows)} such rows."]) if rows else ""


def drawable_words(words: Sequence[Word]) -> list[Word]:
    """Those of ``words`` whose letters are all in the font of the map."""
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(font_file("DejaVuSans")))
    return [word for word in words if all(font.get_char_index(ord(letter)) for letter in word.text)]


def map_png(vectors: Tensor, words: Sequence[Word], seed: int) -> bytes:
    """The most frequent words where t-SNE puts them: words that point the same way stand together (van der Maaten and Hinton 2008)."""
    from matplotlib.figure import Figure as Canvas

    shown = words[:MAPPED_WORDS]
    points = _projected(vectors[[word.token for word in shown]], seed)
    canvas = Canvas(figsize=(10, 7.5), dpi=100, layout="constrained")
    axes = canvas.add_subplot()
    axes.scatter(points[:, 0], points[:, 1], s=5, color="tab:blue", linewidths=0)
    for (x, y), word in zip(points, shown, strict=True):
        axes.annotate(word.text, (x, y), xytext=(2, 2), textcoords="offset points", fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"The {len(shown)} most frequent words, by the cosine of their vectors (t-SNE)")
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _projected(vectors: Tensor, seed: int) -> NDArray[np.float32]:
    """Two coordinates for each of ``vectors`` [N, D]."""
    from sklearn.manifold import TSNE

    units = normalize(vectors, dim=-1).numpy()
    perplexity = min(12.0, (len(units) - 1) / 3)
    points: NDArray[np.float32] = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=seed, n_jobs=1).fit_transform(units)
    return points
