"""The gate's result as one self-contained HTML page."""

import base64
from pathlib import Path

from components.data.dataset import Dataset, Manifest
from components.data.modalities import Modality
from components.data.result import ValidationResult
from components.project import Project

_TEMPLATE = Path(__file__).parent / "templates" / "validation.html"


def render_page(project: Project, manifest: Manifest, result: ValidationResult, modality: Modality) -> str:
    """The same result is always the same page, byte for byte."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    preview = modality.preview(Dataset(project, manifest).table("train"))
    picture = f"data:image/png;base64,{base64.b64encode(preview).decode()}" if isinstance(preview, bytes) else ""
    rules = sorted(result.rules, key=lambda rule: (rule.success, rule.severity != "critical"))
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        result=result, manifest=manifest, rules=rules, picture=picture, text="" if isinstance(preview, bytes) else preview
    )
