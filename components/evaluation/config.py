"""How a model is scored."""

from components.params import Strict


class EvaluationConfig(Strict):
    """How a model is scored. Steps and sample counts, never seconds."""

    num_samples: int = 0
    """Samples drawn for distribution metrics; 0 takes as many as the test split has, at most 10,000."""
    sampling_steps: int | None = None
    seed: int = 0
