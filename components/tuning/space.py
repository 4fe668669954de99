"""What a search may choose from: a range or choices for each field of a family's config, checked before anything runs."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError, model_validator

from components.errors import nearest
from components.models.family import Family, TrainingConfig
from components.params import Block, Strict

ALWAYS = ("learning_rate", "batch_size")
"""What decides most in every family, so that no search leaves it out."""
WIDTH = 5.0
"""The learning rate is sought between this part and this multiple of the present one where a family says nothing."""


class Range(Strict):
    """All numbers from ``low`` to ``high``, both included; whole ones where the config wants whole ones."""

    low: float
    high: float
    log: bool = False
    """Whether factors count rather than differences."""

    @model_validator(mode="after")
    def _holds_something(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"the range from {self.low:g} to {self.high:g} is empty: give a `low` below its `high`")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range cannot begin at {self.low:g}: give a `low` above 0, or leave `log` out")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def holding(self, value: Any) -> "Range":
        """Widened so far that ``value`` is in it."""
        if not isinstance(value, (int, float)) or self.low <= value <= self.high:
            return self
        return Range(low=min(self.low, value), high=max(self.high, value), log=self.log and value > 0)


class Choices(Strict):
    """Some values."""

    choices: tuple[Any, ...]

    @model_validator(mode="after")
    def _holds_something(self) -> "Choices":
        if not self.choices:
            raise ValueError("there is nothing to choose from: list the values, e.g. `choices: [32, 64]`")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.choices

    def holding(self, value: Any) -> "Choices":
        """With ``value`` among them; numbers stay in their order."""
        if _as_json_has_it(value) in [_as_json_has_it(one) for one in self.choices]:
            return self
        more = (*self.choices, value)
        return Choices(choices=tuple(sorted(more)) if all(isinstance(one, (int, float)) for one in more) else more)


Space = Mapping[str, Range | Choices]


def load_space(family: Family, config: TrainingConfig, block: Block) -> dict[str, Range | Choices]:
    """The search space of a model: that of its family under that of its block `tune:`, where `false` takes a field out.

    The value that the model has now always belongs to it, since every trial is held against that. What its config refuses of the family's own space
    is left out: that was written for the defaults.

    Raises:
        UserError: names the line of an empty range, an unknown field, or a value that the config refuses.
    """
    family_own = {name: _parsed(value) for name, value in {**_always(config), **family.search_space}.items()}
    space = {name: part for name, part in family_own.items() if not any(refusal(config, {name: end}) for end in part.ends)}
    for name, value in block.value.items():
        if name not in family.config.model_fields:
            raise block.error(f"{name!r} is no setting of this family; {nearest(name, family.config.model_fields)}", name)
        if value is False:
            if name in ALWAYS:
                raise block.error(f"{name} is always sought: give it a range or choices instead of false.", name)
            space.pop(name, None)
        else:
            space[name] = _of_block(config, block, name)
    return {name: part.holding(getattr(config, name)) for name, part in space.items()}


def changed(config: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
    """``config`` with other values; pydantic refuses what does not fit together."""
    return type(config).model_validate({**config.model_dump(), **values})


def refusal(config: TrainingConfig, values: Mapping[str, Any]) -> str:
    """Why the config refuses ``values``; empty where it takes them."""
    try:
        changed(config, values)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return ""


def is_whole(config: TrainingConfig, name: str) -> bool:
    """Whether the field takes whole numbers only."""
    annotation = type(config).model_fields[name].annotation
    types = get_args(annotation) or (annotation,)
    return int in types and float not in types


def _always(config: TrainingConfig) -> dict[str, Any]:
    """Round the present values, for a family that does not say."""
    rate, rows = config.learning_rate, config.batch_size
    return {"learning_rate": {"low": rate / WIDTH, "high": rate * WIDTH, "log": True}, "batch_size": {"choices": sorted({max(1, rows // 2), rows, 2 * rows})}}


def _parsed(value: Mapping[str, Any]) -> Range | Choices:
    return (Choices if "choices" in value else Range).model_validate(value)


def _of_block(config: TrainingConfig, block: Block, name: str) -> Range | Choices:
    child = block.child(name)
    part: Range | Choices = child.validate(Choices) if "choices" in child.value else child.validate(Range)
    for end in part.ends:
        why = refusal(config, {name: end})
        if why:
            raise child.error(f"{'.'.join(map(str, child.location))} holds {end!r}, which the config refuses ({why}): leave it out or mend it.")
    return part


def _as_json_has_it(value: Any) -> Any:
    """A tuple of the config is a list in params.yaml."""
    return list(value) if isinstance(value, tuple) else value
