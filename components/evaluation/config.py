"""How a model is scored."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from components.params import Strict

if TYPE_CHECKING:
    from components.models.capabilities import SamplerSettings


class ExtractorConfig(Strict):
    """What looks at images besides the dataset's own extractor."""

    kind: Literal["own", "inception", "dinov2"] = "own"
    """`own` alone, or with it Inception (a TorchScript file) or DINOv2 (a folder in the format of transformers)."""
    path: str = ""
    """The file or the folder, relative to the project."""
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    """Of the file (`sha256sum FILE`), without which no TorchScript is loaded; of a folder it is found where it is not given."""

    @model_validator(mode="after")
    def _names_its_files(self) -> "ExtractorConfig":
        if self.kind == "own" and (self.path or self.sha256):
            raise ValueError("the own extractor has no path and no sha256: leave them out, or set kind to inception or dinov2")
        if self.kind != "own" and not self.path:
            raise ValueError(f"{self.kind} needs its path: add `path: …`, relative to the project")
        if self.kind == "inception" and not self.sha256:
            raise ValueError("a TorchScript file is only loaded when its sha256 is known: add `sha256: …`, as `sha256sum FILE` prints it")
        return self


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
    extractor: ExtractorConfig = ExtractorConfig()
    """Figures of the dataset's own extractor are measured in any case: gates name them."""
    buffer_mib: float = Field(1024, gt=0)
    """Memory for the rows of a split that figures are measured on; of a larger split as many are looked at as fit, evenly spread."""
    utility: bool = False
    """Whether classifiers are trained on the samples (`accuracy_tstr`, `accuracy_augmented`), where the data has labels and the model heeds them."""

    @property
    def settings(self) -> "SamplerSettings":
        from components.models.capabilities import SamplerSettings  # with torch, which the command line does without

        return SamplerSettings(self.sampling_steps, self.sampler, self.guidance)

    def identity(self) -> dict[str, Any]:
        """What the figures depend on: of an extractor its bytes, not where they lie, and nothing of the own one, which hangs on data and code."""
        dumped = self.model_dump(mode="json", exclude={"extractor"} if self.utility else {"extractor", "utility"})
        named = {} if self.extractor.kind == "own" else {"extractor": self.extractor.model_dump(exclude={"path"})}
        return {**dumped, **named}
