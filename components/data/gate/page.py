"""The gate's result as one self-contained HTML page."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.cleaning.examples import EXAMPLES
from components.data.dataset import Manifest, ShardInfo, is_added, stage_folder
from components.data.modalities import Additions, Modality, spread
from components.data.result import ValidationResult
from components.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN_SHARDS, _SHOWN_ROWS = 8, 48
"""Training shards that a picture of the data is made from, and rows of each, at most."""
_TEMPLATE = Path(__file__).parent.parent / "templates" / "validation.html"


def render_page(project: Project, manifest: Manifest, result: ValidationResult, modality: Modality, additions: Additions) -> str:
    """The same result is always the same page, byte for byte."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    rules = sorted(result.rules, key=lambda rule: (rule.success, rule.severity != "critical"))
    originals = _sample(project, [shard for shard in manifest.shards if not is_added(shard)])
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        result=result,
        manifest=manifest,
        rules=rules,
        sample=_shown(modality.preview(_sample(project, manifest.shards))),
        altered=_shown(modality.before_after(originals, additions, manifest.class_names)),
        examples=_examples(project, manifest.name),
    )


def _shown(content: bytes | str | None) -> dict[str, str] | None:
    """A picture as a data address, or a text."""
    if content is None:
        return None
    return {"picture": _data_address(content)} if isinstance(content, bytes) else {"text": content}


def _sample(project: Project, all_shards: Sequence[ShardInfo]) -> "pa.Table":
    """Training rows spread over the split, of which some shards are read, one at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = [shard for shard in all_shards if shard.split == "train"]
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
