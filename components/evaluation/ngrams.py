"""How much what is said has in common with what people wrote, by runs of words.

BLEU: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation". ROUGE: Lin 2004, "ROUGE: A Package for
Automatic Evaluation of Summaries". CIDEr: Vedantam et al. 2015, "CIDEr:
Consensus-based Image Description Evaluation"; like the authors' own tool ten times the cosine, of words that are not stemmed.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST = 4
Words = tuple[str, ...]
References = Sequence[Sequence[str]]
"""Of each image the captions that people wrote."""
Vector = dict[Words, float]


def words_of(text: str) -> Words:
    """Letters and digits in runs, hyphens and apostrophes within them, whatever their case."""
    return tuple(re.findall(r"\w+(?:['’-]\w+)*", text.casefold()))


def bleu(said: Sequence[str], references: References, weights: NDArray | None = None) -> NDArray[np.float64]:
    """BLEU-4 of the whole corpus in [0, 1], unsmoothed; one value [K] per row of ``weights`` [K, N], how often each image counts (default: once, [1])."""
    counted = np.array([_bleu_counts(words_of(one), [words_of(text) for text in texts]) for one, texts in zip(said, references, strict=True)])
    sums = (np.ones((1, len(counted))) if weights is None else weights) @ counted
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
    nearest = min((len(reference) for reference in references), key=lambda length: (abs(length - len(words)), length))
    return [*right, *wanted, len(words), nearest]


def _rarity(words: Words, size: int, seen: Counter[Words], num: int) -> Vector:
    """How often each run stands in ``words``, weighed by how few of the ``num`` images it is written of."""
    return {run: count * math.log(num / max(1, seen[run])) for run, count in _runs(words, size).items()}


def _cosine(first: Vector, second: Vector) -> float:
    product = sum(weight * second.get(run, 0.0) for run, weight in first.items())
    lengths = math.sqrt(sum(weight**2 for weight in first.values()) * sum(weight**2 for weight in second.values()))
    return product / lengths if lengths else 0.0
