"""The evaluation on the validation split, for choices that must not look at the test split.

A search that picks the best of many trials by their test figures has used the test split up: the winner's figure there is the best of many draws and no
longer tells what unseen data will say. So trials are scored on validation rows, and the test split is left to the model that is trained with what was chosen.
"""

from pathlib import Path
from typing import Any

from components.data.dataset import Dataset
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate, require_enough
from components.evaluation.evidence import Evidence
from components.evaluation.protocol import Figure
from components.evaluation.telling import Teller
from components.models.capabilities import DataSpec


def evaluate_on_validation(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, cache: Path, tell: Teller) -> Evidence:
    """All evidence about ``model`` as `evaluate` has it, on the validation split of ``dataset``; its figures say so and compare with no test figure."""
    evidence = evaluate(model, validation_for_test(dataset), data_spec, config=config, cache=cache, tell=tell)
    return Evidence(tuple(_relabelled(figure, dataset) for figure in evidence.figures), evidence.pictures, evidence.texts, evidence.notes, evidence.animations)


def require_validation(dataset: Dataset) -> None:
    """Refuse, before anything is trained, a dataset whose validation split is too small to be scored on.

    Raises:
        UserError: naming the least number of rows.
    """
    if not dataset.manifest.rows("validation"):
        raise UserError(f"{dataset.name!r} has no validation split, on which a search scores: give validation a part in datasets.{dataset.name}.split.")
    try:
        require_enough(validation_for_test(dataset))
    except UserError as error:
        raise UserError(f"A search scores on the validation split as if it were the test split, and that is too small: {error}") from None


def validation_for_test(dataset: Dataset) -> Dataset:
    """``dataset`` with its validation rows as the test split, and without its test rows.

    It has another digest, so that nothing that is kept of the one is taken for the other.
    """
    shards = dataset.manifest.shards
    kept = tuple(shard.model_copy(update={"split": "test"}) if shard.split == "validation" else shard for shard in shards if shard.split != "test")
    return Dataset(dataset.project, dataset.manifest.model_copy(update={"shards": kept}))


def _relabelled(figure: Figure, dataset: Dataset) -> Figure:
    split = figure.identity.split.replace("test", "validation")  # it may say how much of the split was looked at
    identity = figure.identity.model_copy(update={"split": split, "reference_sha256": dataset.manifest.sha256})
    return figure.model_copy(update={"identity": identity})
