"""The gate's result as one self-contained HTML page."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.cleaning.examples import EXAMPLES
from components.data.dataset import Manifest, stage_folder
from components.data.modalities import Modality, spread
from components.data.result import ValidationResult
from components.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN_SHARDS, _SHOWN_ROWS = 8, 48
"""Training shards that a picture of the data is made from, and rows of each, at most."""
_TEMPLATE = Path(__file__).parent.parent / "templates" / "validation.html"


def render_page(project: Project, manifest: Manifest, result: ValidationResult, modality: Modality) -> str:
    """The same result is always the same page, byte for byte."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    preview = modality.preview(_sample(project, manifest))
    picture = _data_address(preview) if isinstance(preview, bytes) else ""
    examples = _examples(project, manifest.name)
    rules = sorted(result.rules, key=lambda rule: (rule.success, rule.severity != "critical"))
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        result=result, manifest=manifest, rules=rules, picture=picture, text="" if isinstance(preview, bytes) else preview, examples=examples
    )


def _sample(project: Project, manifest: Manifest) -> "pa.Table":
    """Training rows spread over the split, of which some shards are read, one at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = [shard for shard in manifest.shards if shard.split == "train"]
    chosen = shards[:: max(1, -(-len(shards) // _SHOWN_SHARDS))]
    return pa.concat_tables([spread(pq.read_table(project.root / shard.path), _SHOWN_ROWS) for shard in chosen])


def _examples(project: Project, name: str) -> dict[str, list[dict[str, Any]]]:
    """A few dropped rows by reason, their pictures as data addresses."""
    import pyarrow.parquet as pq

    found: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(stage_folder(project, name, "clean") / EXAMPLES).to_pylist():
        shown = {key: _data_address(value) if isinstance(value, bytes) else value for key, value in row.items()}
        found.setdefault(row["reason"], []).append(shown)
    return found


def _data_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
