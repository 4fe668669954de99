"""What a model can do. Evaluation, sampling and serving ask for these, never for a family's name.

Images are float tensors [N, C, H, W] in [0, 1]; tokens are int64 [N, T]. Every draw is repeatable from its seed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from components.cameras import Camera, Lens, Orbit


@dataclass(frozen=True)
class SceneSpec:
    """What a renderer must know of its scene, in the units of the cameras' positions."""

    centre: tuple[float, float, float]
    radius: float
    """From the centre to the faces of the cube that is modelled at full resolution."""
    near: float
    far: float
    """Distances from a camera between which there is matter."""
    background: tuple[float, float, float]
    """RGB in [0, 1] of what nothing stands in front of."""
    unbounded: bool
    """Whether there is matter outside the cube, as in photos whose background was not cut away."""
    lens: Lens
    """That of the first training photo."""
    orbit: Orbit
    """A walk round the scene, as far away as the photos were taken."""

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "SceneSpec":
        centre, background = tuple(value["centre"]), tuple(value["background"])
        orbit = {**value["orbit"], "centre": tuple(value["orbit"]["centre"]), "up": tuple(value["orbit"]["up"])}
        return cls(**{**value, "centre": centre, "background": background, "lens": Lens(**value["lens"]), "orbit": Orbit(**orbit)})


@dataclass(frozen=True)
class Question:
    """What may be asked of an image."""

    text: str
    source: str
    """What answers it: `label`, or a regular expression with one group that is searched in the caption."""
    answers: tuple[str, ...]
    """All there are, the most frequent one of the training split first."""


@dataclass(frozen=True)
class DataSpec:
    """What a network must know of its data; travels with the packaged model as JSON."""

    modality: str
    channels: int = 0
    image_size: int = 0
    """Height and width in pixels."""
    class_names: tuple[str, ...] = ()
    """Empty where there are no labels."""
    vocab_size: int = 0
    tokenizer: str = ""
    """The tokenizer as the JSON text of `tokenizers.Tokenizer.to_str`."""
    token_counts: tuple[int, ...] = ()
    """How often each entry of the vocabulary stands in the training split; empty where the family does not ask for it."""
    example_captions: tuple[str, ...] = ()
    """Some captions of the validation split, to draw for."""
    example_texts: tuple[str, ...] = ()
    """Short passages of the validation split, of pairs the sources: what samples go on with, fill or answer where no document is at hand."""
    characters: str = ""
    """Each that stands in a caption of the training split, once; empty where there are no captions."""
    scene: SceneSpec | None = None
    """Of posed photos."""
    questions: tuple[Question, ...] = ()
    """Empty where the family asks none, or the data answers none."""

    def has_images_like(self, other: "DataSpec") -> bool:
        """Whether images of one are images for the other: as wide, and of as many channels."""
        return (self.channels, self.image_size) == (other.channels, other.image_size)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "DataSpec":
        scene = SceneSpec.from_dict(value["scene"]) if value.get("scene") else None
        counts = tuple(value.get("token_counts", ()))
        questions = tuple(Question(question["text"], question["source"], tuple(question["answers"])) for question in value.get("questions", ()))
        examples = {name: tuple(value.get(name, ())) for name in ("example_captions", "example_texts")}
        plain = {**value, "class_names": tuple(value["class_names"]), "token_counts": counts}
        return cls(**{**plain, **examples, "scene": scene, "questions": questions})


@dataclass(frozen=True)
class SamplerSettings:
    """How to draw, where the model draws in steps; None takes the model's own setting."""

    steps: int | None = None
    method: str | None = None
    """One of the model's `samplers`."""
    guidance: float | None = None
    """Scale of classifier-free guidance; 1 is the plain conditional model."""


OWN_SETTINGS = SamplerSettings()


@runtime_checkable
class SamplesImages(Protocol):
    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """``num`` images [num, C, H, W] in [0, 1]; ``labels`` [num] where the model is conditional, else ignored.

        ``settings`` counts only where the model `SamplesInSteps`.
        """
        ...


@runtime_checkable
class SamplesInSteps(Protocol):
    samplers: tuple[str, ...]
    """Names of the methods that its `sample_images` knows."""

    def settled(self, settings: SamplerSettings) -> SamplerSettings:
        """``settings`` with the model's own in place of None."""
        ...


@runtime_checkable
class EditsImages(Protocol):
    def edit_images(self, images: Tensor, *, strength: float, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """``images`` [N, C, H, W] in [0, 1] drawn anew: ``strength`` in (0, 1] goes from nearly the same to nearly free."""
        ...


Steer = Callable[[Tensor, Tensor], Tensor]
"""Takes images as they are predicted [N, C, S, S] in [0, 1], and their time in [0, 1] (a scalar); gives what is to be added to them."""


@runtime_checkable
class DrawsFromText(Protocol):
    caption_length: int
    """Tokens of a text, with its marks."""

    def draw_from_text(self, tokens: Tensor, *, seed: int, settings: SamplerSettings = OWN_SETTINGS, steer: Steer | None = None) -> Tensor:
        """An image [N, C, H, W] in [0, 1] for each text of ``tokens`` [N, T]; ``steer`` moves the images while they are drawn."""
        ...

    def edit_from_text(
        self, images: Tensor, tokens: Tensor, *, strength: float, seed: int, settings: SamplerSettings = OWN_SETTINGS, steer: Steer | None = None
    ) -> Tensor:
        """``images`` [N, C, H, W] drawn anew as ``tokens`` [N, T] say: ``strength`` in (0, 1] goes from nearly the same to nearly free."""
        ...

    def text_strip(self, tokens: Tensor, *, frames: int, seed: int) -> Tensor:
        """Draws of ``tokens`` [N, T] on their way from noise, [N, frames, C, H, W]; the last frame is the image."""
        ...


@runtime_checkable
class ShowsDiffusion(Protocol):
    def forward_strip(self, images: Tensor, *, frames: int, seed: int) -> Tensor:
        """``images`` [N, C, H, W] on their way to noise, [N, frames, C, H, W]; the first frame is the image, the last one noise."""
        ...

    def reverse_strip(self, num: int, *, frames: int, seed: int, labels: Tensor | None = None) -> Tensor:
        """``num`` draws on their way from noise, [num, frames, C, H, W]; the last frame is the sample."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    def reconstruct(self, images: Tensor) -> Tensor:
        """The model's reconstruction of ``images``, same shape."""
        ...


@runtime_checkable
class ScoresImages(Protocol):
    levels: int
    """Grey levels per channel that are counted; 256 for whole bytes."""
    likelihood: str
    """What is bounded and how; figures compare only where it is the same."""

    def bits_per_dim(self, images: Tensor, *, seed: int) -> Tensor:
        """An upper bound on the negative log likelihood per pixel and channel in bits, [N]."""
        ...


@runtime_checkable
class HasImageLosses(Protocol):
    """Trained by a loss that says of each image how well the model knows it, where it has no likelihood."""

    def image_losses(self, images: Tensor, *, seed: int, labels: Tensor | None = None) -> Tensor:
        """The loss [N] of ``images`` [N, C, H, W] in [0, 1], under the same draws of ``seed`` for each; ``labels`` [N] where the model is conditional."""
        ...


@runtime_checkable
class HasCaptionLosses(Protocol):
    """The same of a model that is told captions."""

    def caption_losses(self, images: Tensor, tokens: Tensor, *, seed: int) -> Tensor:
        """The loss [N] of ``images`` [N, C, H, W] in [0, 1] with their captions ``tokens`` [N, T], under the same draws of ``seed`` for each."""
        ...


@runtime_checkable
class Embeds(Protocol):
    def embed(self, images: Tensor) -> Tensor:
        """A vector [N, D] per image."""
        ...


Ends = Callable[[int, Sequence[int]], bool]
"""Takes the number of a prompt and its new tokens so far; true ends that continuation."""


def never_ends(prompt: int, tokens: Sequence[int]) -> bool:
    return False


@runtime_checkable
class ContinuesText(Protocol):
    def continue_tokens(
        self,
        prompts: list[list[int]],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        ends: Ends = never_ends,
    ) -> list[list[int]]:
        """The new tokens after each prompt (the prompt itself left out); ``ends`` is asked after each of them."""
        ...


@runtime_checkable
class IsPretrained(Protocol):
    """Has weights in the format of transformers, to begin with and to take along."""

    def pretrained(self) -> nn.Module:
        """The part of the network that a folder of that format holds; a UserError where the config chose another one."""
        ...

    def export_pretrained(self, folder: Path) -> None:
        """Write that part, and the tokenizer, as `from_pretrained` reads them."""
        ...


@runtime_checkable
class ScoresText(Protocol):
    context_length: int

    def token_nll(self, tokens: Tensor) -> Tensor:
        """Negative log likelihood in nats of tokens[:, 1:] given what stands before, [N, T-1]."""
        ...


@runtime_checkable
class HeedsControl(Protocol):
    control: str
    """Column of the dataset whose value is told before each text, one of `DataSpec.class_names`; empty where none is."""


@runtime_checkable
class FillsMasks(Protocol):
    context_length: int
    """Tokens that it reads at once, the marks at both ends included."""
    mask_token: int
    """Stands in ``tokens`` where one is hidden."""

    def fill_masks(self, tokens: Tensor) -> Tensor:
        """Log probabilities [M, V] of what stands at each of the M masks of ``tokens`` [N, T], row by row; padding is token 0, behind the text."""
        ...


@runtime_checkable
class MapsText(Protocol):
    """Says what belongs to a source: both are rows of tokens with their marks, see `components.models.token_rows`."""

    source_length: int
    """Tokens of a source that it reads, the marks included."""
    target_length: int
    """Tokens of the targets that it was trained on, at most, the marks included."""
    sentinels: tuple[int, ...]
    """Tokens that stand in a source for its gaps, in order, and in a target before what fills each; empty of a model that fills none."""

    def map_text(
        self,
        source: Tensor,
        *,
        max_new_tokens: int,
        seed: int = 0,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        ends: Ends = never_ends,
    ) -> list[list[int]]:
        """The target of each row of ``source`` [N, S] without the marks at its ends; ``ends`` as in `ContinuesText`. Temperature 0 takes the likeliest."""
        ...

    def target_nll(self, source: Tensor, target: Tensor) -> Tensor:
        """Negative log likelihood in nats of target[:, 1:] given ``source`` and what stands before, [N, T-1]; 0 for padding."""
        ...


@runtime_checkable
class EmbedsText(Protocol):
    context_length: int

    def embed_text(self, tokens: Tensor) -> Tensor:
        """A vector [N, D] per text of ``tokens`` [N, T], the mean over what is no mark; padding is token 0, behind the text."""
        ...


@runtime_checkable
class HasTokenVectors(Protocol):
    def token_vectors(self) -> Tensor:
        """The vector [V, D] of each entry of the vocabulary, whatever surrounds it."""
        ...


@runtime_checkable
class RelatesWords(Protocol):
    """Knows words whole, so that a person may name one and be told others."""

    def token_vectors(self) -> Tensor:
        """As in `HasTokenVectors`."""
        ...

    def related_words(self, plus: Sequence[int], minus: Sequence[int], num: int) -> list[tuple[int, float]]:
        """The ``num`` words nearest to the sum of ``plus`` less ``minus``, those themselves left out, each with its cosine."""
        ...


@runtime_checkable
class PredictsContext(Protocol):
    def context_log_probabilities(self, words: Tensor) -> Tensor:
        """Log probability [N, V] of each entry of the vocabulary to stand near each of ``words`` [N]."""
        ...


@runtime_checkable
class Finishes(Protocol):
    def finish(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """What is fitted once after training, under the averaged weights and in eval mode, and kept in buffers.

        ``batches`` are the training split's original rows (no augmented ones), each once, in order.
        """
        ...


@runtime_checkable
class HeedsLabels(Protocol):
    conditional: bool
    """Whether ``labels`` change what `sample_images` draws."""


@runtime_checkable
class HasLatentUnits(Protocol):
    latent_dim: int

    def active_units(self, images: Tensor) -> int:
        """How many of the latent units carry information about ``images``."""
        ...


@runtime_checkable
class HasLatentSpace(Protocol):
    """An image for every point of a space, and a point for every image: what can be walked in, and mapped."""

    latent_dim: int

    def embed(self, images: Tensor) -> Tensor:
        """The latent [N, latent_dim] of each image."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """The image [N, C, H, W] in [0, 1] of each latent [N, latent_dim]."""
        ...


@runtime_checkable
class HasFittedPrior(Protocol):
    """Draws latents from a distribution that was fitted after training, no longer from the one it was trained with."""

    def sample_before_prior(self, num: int, *, seed: int) -> Tensor:
        """``num`` images [num, C, H, W] in [0, 1], made as `sample_images` does, from the prior of training."""
        ...


class Rendering(NamedTuple):
    """What a camera sees."""

    rgb: Tensor
    """[H, W, 3] in [0, 1]."""
    depth: Tensor
    """[H, W] in the units of the cameras' positions, along each ray; `SceneSpec.far` where nothing is met."""
    opacity: Tensor
    """[H, W] in [0, 1]."""


@runtime_checkable
class RendersViews(Protocol):
    def render(self, camera: Camera) -> Rendering:
        """The picture of ``camera``, the same each time, in chunks so that memory does not grow with its size."""
        ...


@runtime_checkable
class MatchesImagesAndText(Protocol):
    """Vectors of length 1, in one space: the more alike an image and a text are, the greater is their product."""

    caption_length: int
    """Tokens of a text, with its marks."""

    def embed_images(self, images: Tensor) -> Tensor:
        """[N, D] of ``images`` [N, C, H, W] in [0, 1]."""
        ...

    def embed_captions(self, tokens: Tensor) -> Tensor:
        """[N, D] of texts as rows of tokens [N, T]."""
        ...


@runtime_checkable
class NamesClasses(Protocol):
    def class_probabilities(self, images: Tensor) -> Tensor:
        """How likely each of ``images`` [N, C, H, W] in [0, 1] belongs to each class of the data, [N, K]."""
        ...


@runtime_checkable
class CaptionsImages(Protocol):
    """Says in words what an image shows."""

    caption_length: int
    """Tokens of a caption, with its marks."""

    def caption_images(self, images: Tensor, *, seed: int, temperature: float = 0.0, max_new_tokens: int | None = None) -> list[list[int]]:
        """The tokens of a caption of each of ``images`` [N, C, H, W] in [0, 1], without marks; temperature 0 takes the likeliest token each time."""
        ...

    def caption_nll(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Negative log likelihood in nats of tokens[:, 1:] of captions [N, T] given their images, [N, T-1]; 0 behind the end mark."""
        ...


class Judged(NamedTuple):
    """What a model makes of M pairs of an image and a text."""

    probability: Tensor
    """[M], that they belong together and are no wrong pair that is much alike."""
    fit: Tensor
    """[M], to rank by: the greater, the better they fit."""


@runtime_checkable
class JudgesPairs(Protocol):
    """Looks at image and text together."""

    caption_length: int
    """Tokens of a text, with its marks."""

    def judge_pairs(self, images: Tensor, tokens: Tensor, pairs: Tensor) -> Judged:
        """Of each of ``pairs`` [M, 2], which are places in ``images`` and in ``tokens``."""
        ...


@runtime_checkable
class AnswersQuestions(Protocol):
    """Answers those of `DataSpec.questions`."""

    def answer_question(self, images: Tensor, question: int) -> Tensor:
        """How likely each answer is of that question for each of ``images``, [N, K]."""
        ...


@runtime_checkable
class FillsCaptions(Protocol):
    """Fills masked words of a text with an image in view."""

    caption_length: int
    mask_token: int
    """Stands in ``tokens`` where one is hidden."""

    def fill_captions(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Log probabilities [M, V] of what stands at each of the M masks of ``tokens`` [N, T], row by row, given ``images`` [N, C, H, W]."""
        ...
