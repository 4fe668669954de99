"""Where the weights of a run begin when they are not fresh: what `init_from` and `lora` of a model's block resolve to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from components.params import Strict

if TYPE_CHECKING:
    from components.models.capabilities import DataSpec


WEIGHTS, TOKENIZER, DESCRIPTION = "model.safetensors", "tokenizer.json", "config.json"
"""Files of a folder in the format of transformers; a package has the first one too."""


class Lora(Strict):
    """Adapters that are trained while the weights that a run begins with stand still."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    """The adapters' update is scaled by ``alpha / rank``."""
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()
    """Ends of the names of the linear layers that get one, e.g. `inputs`; none given: all but those that share their weights, as with the token vectors."""


class Start(Strict):
    """Where a run's weights come from, resolved to bytes that do not change."""

    ref: str
    """The version of a registered model, e.g. `gpt-pydocs/3`, or a local folder as the user wrote it."""
    sha256: str
    """Of the package, or of the folder's weights, config and tokenizer."""
    folder: Path
    """The package's artifacts, or the folder."""
    kind: Literal["package", "transformers"] = "package"
    """Whose format the files have."""
    lora: Lora | None = None

    def identity(self) -> dict[str, object]:
        """What the run's result depends on: the bytes, not where they lie."""
        return {"sha256": self.sha256, "lora": self.lora.model_dump() if self.lora else None}

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    def data_spec(self) -> "DataSpec":
        from components.models.capabilities import DataSpec  # with torch, which the command line does without

        if self.kind == "package":
            return DataSpec.from_dict(json.loads((self.folder / "spec.json").read_bytes())["data_spec"])
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / TOKENIZER))
        return DataSpec("text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())
