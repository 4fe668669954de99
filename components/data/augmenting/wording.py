"""Altered captions: what was said of a picture, in the words of a template."""

import re
from collections.abc import Mapping, Sequence

from pydantic import field_validator

from components.data.augmenting.pictures import PictureChanges

PARTS = ("caption", "label")
_PART = re.compile(r"\{(\w*)\}")


class CaptionedChanges(PictureChanges):
    """Pictures and their captions are altered together."""

    templates: tuple[str, ...] = ()
    """What captions become, one of these at random: `{caption}` stands for the old one, `{label}` for the name of the picture's class."""

    @field_validator("templates")
    @classmethod
    def _known_parts(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            found = _PART.findall(template)
            if not found or not set(found) <= set(PARTS):
                raise ValueError(f"{template!r} has no place for what it says of a picture: write {{caption}} or {{label}} there, and no other name in braces")
        return templates


def filled(template: str, caption: str, label: int | None, class_names: Sequence[str]) -> str:
    """``template`` with what is known of a picture."""
    values: Mapping[str, str] = {"caption": caption, "label": "" if label is None else class_names[label]}
    return _PART.sub(lambda found: values[found[1]], template)


def needs_labels(config: CaptionedChanges) -> bool:
    return any("{label}" in template for template in config.templates)
