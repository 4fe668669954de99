"""What an evaluation hands over: figures, pictures and texts, all plain values."""

from dataclasses import dataclass, field

from components.evaluation.protocol import Figure


@dataclass(frozen=True)
class Evidence:
    figures: tuple[Figure, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)
    """PNG bytes by name, e.g. `samples`, `reconstructions`."""
    texts: dict[str, str] = field(default_factory=dict)
    """Plain text by name, e.g. `samples`."""
    notes: tuple[str, ...] = ()
    """What was left out and why, one sentence each."""
    animations: dict[str, bytes] = field(default_factory=dict)
    """GIF bytes by name, e.g. `orbit`."""

    def plus(self, other: "Evidence") -> "Evidence":
        return Evidence(
            self.figures + other.figures,
            {**self.pictures, **other.pictures},
            {**self.texts, **other.texts},
            self.notes + other.notes,
            {**self.animations, **other.animations},
        )
