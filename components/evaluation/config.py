"""How a model is scored."""

from typing import TYPE_CHECKING

from pydantic import Field

from components.params import Strict

if TYPE_CHECKING:
    from components.models.capabilities import SamplerSettings


class EvaluationConfig(Strict):
    """How a model is scored. Steps and sample counts, never seconds."""

    num_samples: int = Field(0, ge=0)
    """Samples drawn for distribution metrics; 0 takes as many as the test split has, at most 10,000."""
    sampling_steps: int | None = Field(None, ge=1)
    """Steps of the sampler; null takes the model's own."""
    sampler: str | None = None
    """Method of the sampler, where the model knows several; null takes the model's own."""
    guidance: float | None = Field(None, ge=0)
    """Scale of classifier-free guidance; null takes the model's own."""
    seed: int = 0

    @property
    def settings(self) -> "SamplerSettings":
        from components.models.capabilities import SamplerSettings  # with torch, which the command line does without

        return SamplerSettings(self.sampling_steps, self.sampler, self.guidance)
