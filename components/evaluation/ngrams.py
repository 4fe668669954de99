"""How much what is said has in common with what people wrote, by runs of words.

BLEU: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation". ROUGE: Lin 2004, "ROUGE: A Package for
Automatic Evaluation of Summaries". CIDEr: Vedantam et al. 2015, "CIDEr:
Consensus-based Image Description Evaluation"; like the authors' own tool ten times the cosine, of words that are not stemmed.

And how varied it is: distinct-n of Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", self-BLEU of Zhu et
al. 2018, "Texygen", and seq-rep-n of Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training".
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

LONGEST = 4
Words = tuple[str, ...]
References = Sequence[Sequence[str]]
"""Of each image the captions that people wrote."""
Vector = dict[Words, float]
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def words_of(text: str) -> Words:
    """Letters and digits in runs, hyphens and apostrophes within them, whatever their case."""
    return tuple(_WORD.findall(text.casefold()))


def first_words(text: str, num: int) -> str:
    """``text`` up to the end of its word number ``num``."""
    found = next(islice(_WORD.finditer(text), num - 1, None), None)
    return text[: found.end()] if found else text


def distinct(texts: Sequence[Words], size: int) -> float:
    """How many different runs of ``size`` words stand in ``texts``, over how many runs there are; 0 where there is none. Falls as texts get longer."""
    runs = Counter(run for words in texts for run in _runs(words, size).elements())
    return len(runs) / runs.total() if runs else 0.0


def self_bleu(texts: Sequence[Words]) -> float:
    """Mean BLEU-4 in [0, 1], unsmoothed, of each of ``texts`` with all others as its references: 1 where all say the same. Rises with their number."""
    if len(texts) < 2:
        return 0.0
    counts = np.zeros((len(texts), 2 * LONGEST + 2))
    for size in range(1, LONGEST + 1):
        runs = [_runs(words, size) for words in texts]
        most = _two_most(runs)
        for row, own in enumerate(runs):
            # Where a text says a run most often of all, the others say it as often as the second.
            counts[row, size - 1] = sum(min(count, most[run][count < most[run][1]]) for run, count in own.items())
            counts[row, LONGEST + size - 1] = own.total()
    lengths = [len(words) for words in texts]
    for row, length in enumerate(lengths):
        counts[row, -2:] = length, _nearest(length, lengths[:row] + lengths[row + 1 :])
    return float(_bleu_of(counts).mean())


def repeated_share(tokens: Sequence[int], size: int = LONGEST) -> float:
    """The share of the runs of ``size`` tokens that have stood in ``tokens`` before; 0 where there is none."""
    runs = list(zip(*(tokens[offset:] for offset in range(size)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def bleu(said: Sequence[str], references: References, weights: NDArray | None = None) -> NDArray[np.float64]:
    """BLEU-4 of the whole corpus in [0, 1], unsmoothed; one value [K] per row of ``weights`` [K, N], how often each image counts (default: once, [1])."""
    counted = np.array([_bleu_counts(words_of(one), [words_of(text) for text in texts]) for one, texts in zip(said, references, strict=True)])
    sums = (np.ones((1, len(counted))) if weights is None else weights) @ counted
    return _bleu_of(sums)


def _bleu_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU [K] by rows [K, 10] of `_bleu_counts`."""
    right, wanted, length, reference = sums[:, :LONGEST], sums[:, LONGEST : 2 * LONGEST], sums[:, -2], sums[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(right / wanted).mean(axis=1))
        brevity = np.exp(np.minimum(0.0, 1 - reference / length))
    found: NDArray[np.float64] = np.nan_to_num(precision * brevity)
    return found


def cider(said: Sequence[str], references: References) -> NDArray[np.float64]:
    """CIDEr of each image [N] in [0, 10]; how rare a run of words is, the references of all images tell."""
    told = [words_of(text) for text in said]
    written = [[words_of(text) for text in texts] for texts in references]
    scores = np.zeros((len(said), LONGEST))
    for size in range(1, LONGEST + 1):
        seen = Counter(run for texts in written for run in set().union(*(_runs(words, size) for words in texts)))
        for index, (words, texts) in enumerate(zip(told, written, strict=True)):
            vector = _rarity(words, size, seen, len(said))
            scores[index, size - 1] = np.mean([_cosine(vector, _rarity(text, size, seen, len(said))) for text in texts])
    found: NDArray[np.float64] = 10 * scores.mean(axis=1)
    return found


def rouge(said: str, written: str) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L in [0, 1]: the F measures of shared words, of shared pairs of words, and of the longest common subsequence."""
    ours, theirs = words_of(said), words_of(written)
    pairs = [(_runs(ours, size), _runs(theirs, size)) for size in (1, 2)]
    one, two = (_f_measure((mine & other).total(), mine.total(), other.total()) for mine, other in pairs)
    return one, two, _f_measure(_common_subsequence(ours, theirs), len(ours), len(theirs))


def _f_measure(shared: int, said: int, written: int) -> float:
    return 2 * shared / (said + written) if said + written else 0.0


def _common_subsequence(ours: Words, theirs: Words) -> int:
    """Length of the longest one."""
    best = [0] * (len(theirs) + 1)
    for word in ours:
        before, best = best, [0]
        for place, other in enumerate(theirs):
            best.append(before[place] + 1 if word == other else max(best[-1], before[place + 1]))
    return best[-1]


def _runs(words: Words, size: int) -> Counter[Words]:
    return Counter(words[start : start + size] for start in range(len(words) - size + 1))


def _bleu_counts(words: Words, references: Sequence[Words]) -> list[int]:
    """Of each size the runs that a reference has too and all runs; then the length, and that of the reference of nearest length."""
    right, wanted = [], []
    for size in range(1, LONGEST + 1):
        most: Counter[Words] = Counter()
        for reference in references:
            most |= _runs(reference, size)
        runs = _runs(words, size)
        right.append((runs & most).total())
        wanted.append(runs.total())
    return [*right, *wanted, len(words), _nearest(len(words), [len(reference) for reference in references])]


def _nearest(length: int, others: Sequence[int]) -> int:
    """The one of ``others`` nearest to ``length``, the shorter of two."""
    return min(others, key=lambda other: (abs(other - length), other))


def _two_most(runs: Sequence[Counter[Words]]) -> dict[Words, tuple[int, int]]:
    """How often a text says each run, of the two texts that say it most often: less, and more."""
    found: dict[Words, tuple[int, int]] = {}
    for counts in runs:
        for run, count in counts.items():
            less, more = found.get(run, (0, 0))
            found[run] = (max(less, min(count, more)), max(count, more))
    return found


def _rarity(words: Words, size: int, seen: Counter[Words], num: int) -> Vector:
    """How often each run stands in ``words``, weighed by how few of the ``num`` images it is written of."""
    return {run: count * math.log(num / max(1, seen[run])) for run, count in _runs(words, size).items()}


def _cosine(first: Vector, second: Vector) -> float:
    product = sum(weight * second.get(run, 0.0) for run, weight in first.items())
    lengths = math.sqrt(sum(weight**2 for weight in first.values()) * sum(weight**2 for weight in second.values()))
    return product / lengths if lengths else 0.0
