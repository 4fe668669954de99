"""The one wire format of every served model: rows of plain values in, rows of plain values out.

What a model takes follows from its abilities, never from its family:

| ability | request columns | response columns |
|---|---|---|
| `samples-images` | `label` (class name or index), `n` | `row`, `seed`, `label`, `image` |
| `edits-images` | `image`, `label`, `n` | `row`, `seed`, `label`, `image` |
| `reconstructs` | `image` | `row`, `image` |
| `continues-text` | `prompt`, `label` (a topic that the model knows), `n` | `row`, `seed`, `prompt`, `text` |
| `maps-text` | `prompt`, `n` | `row`, `seed`, `prompt`, `text` |
| `matches-images-and-text` | `image`, `prompt`, `n` | `row`, `label`, `probability`, `similarity`, `vector` |
| `draws-from-text` | `prompt`, `image`, `n` | `row`, `seed`, `prompt`, `image` |
| `captions-images` | `image`, `n` | `row`, `seed`, `text` |
| `judges-pairs` | `image`, `prompt` | `row`, `probability`, `similarity` |
| `answers-questions` | `image`, `question`, `n` | `row`, `question`, `answer`, `probability` |
| `fills-captions` | `image`, `prompt` (with [MASK]), `n` | `row`, `prompt`, `mask` (1, 2, …), `word`, `probability` |
| `fills-masks` | `prompt` (with [MASK]), `n` | `row`, `prompt`, `mask` (1, 2, …), `word`, `probability` |
| `relates-words` | `prompt` (a word, or `king - man + woman`), `n` | `row`, `prompt`, `word`, `cosine` |
| `embeds-text` | `text` | `row`, `vector` |
| `renders-views` | `azimuth`, `elevation` (degrees), `n`, `pose` | `row`, `image`, `depth`, `azimuth`, `elevation` |

Every column may be left out. Images are PNG in base64; `row` is the request row that an answer belongs to. The
parameters (`Parameters`) hold for the whole request. A row draws from ``seed`` plus the number of answers before it, so the same
request gives the same answer. Of a scene, ``n`` views stand evenly round its orbit from ``azimuth`` on; ``pose`` (16 numbers, camera-to-world, row
by row) says the place of one camera instead. A depth is a grey PNG of 16 bits: 0 is the scene's nearest distance, 65,535 its farthest.
Of the ``n`` captions of an image the first is the likeliest, token by token, and the others are drawn.
Of an image or a text alone ``vector`` is its embedding, and an image has its ``n`` likeliest classes besides, one answer each; of
both ``similarity``, in [-1, 1], says how well they fit, and ``probability``, where the model looks at both together, whether they
belong together. A ``question`` is one of those that the model was trained with. A model that maps text answers its prompt; one that fills gaps
of any length gives the prompt with each [MASK] filled.
"""

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from components.errors import UserError, nearest
from components.params import Strict

SAMPLES_IMAGES = "samples-images"
SAMPLES_IN_STEPS = "samples-in-steps"
"""Adds no column: the parameters `steps`, `sampler` and `guidance` count."""
EDITS_IMAGES = "edits-images"
RECONSTRUCTS = "reconstructs"
CONTINUES_TEXT = "continues-text"
MAPS_TEXT = "maps-text"
FILLS_MASKS = "fills-masks"
RELATES_WORDS = "relates-words"
EMBEDS_TEXT = "embeds-text"
RENDERS_VIEWS = "renders-views"
MATCHES_IMAGES_AND_TEXT = "matches-images-and-text"
CAPTIONS_IMAGES = "captions-images"
JUDGES_PAIRS = "judges-pairs"
ANSWERS_QUESTIONS = "answers-questions"
FILLS_CAPTIONS = "fills-captions"
DRAWS_FROM_TEXT = "draws-from-text"

MAX_ROWS = 256
MAX_DRAWS = 1024
MAX_IMAGE_SIDE = 4096

Rows = list[dict[str, Any]]


class BadRequestError(UserError):
    """A request that the model cannot answer; the message is the whole answer."""


class Column(NamedTuple):
    name: str
    type: str
    """`string`, `long` or `any`."""


class Parameters(Strict):
    """Parameters of a request; 0 stands for "not set" where that is the default."""

    seed: int = Field(0, ge=0, lt=2**31)
    steps: int = Field(0, ge=0, le=10_000)
    """Steps of the sampler; 0 takes the model's own."""
    sampler: str = ""
    """Method of the sampler; empty takes the model's own."""
    guidance: float = Field(0.0, ge=0, le=100)
    """Scale of classifier-free guidance; 0 takes the model's own, 1 is none."""
    strength: float = Field(0.6, gt=0, le=1)
    """How far an edited image may go from the one that is sent."""
    temperature: float = Field(1.0, ge=0, le=10)
    """0 takes the likeliest token."""
    top_k: int = Field(0, ge=0)
    """Only the k most likely tokens; 0 takes all."""
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(128, ge=1, le=4096)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), max_length=16)
    """A text ends before the first of these strings."""


class View(NamedTuple):
    """Where to look at a scene from."""

    azimuth: float = 0.0
    """Degrees."""
    elevation: float | None = None
    """Degrees; None takes the orbit's own."""
    pose: tuple[float, ...] | None = None
    """Camera-to-world, 16 numbers row by row; stands in place of the two."""


class Row(NamedTuple):
    """One checked request row."""

    prompt: str
    label: int | None
    image: bytes | None
    """PNG bytes."""
    n: int
    view: View = View()
    text: str | None = None
    """A text to embed."""
    question: str | None = None
    """What is asked of the image."""


MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Of a picture by its channels."""
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
_COLUMNS = {
    SAMPLES_IMAGES: (Column("label", "any"), Column("n", "any")),
    SAMPLES_IN_STEPS: (),
    EDITS_IMAGES: (Column("image", "string"), Column("label", "any"), Column("n", "any")),
    RECONSTRUCTS: (Column("image", "string"),),
    CONTINUES_TEXT: (Column("prompt", "string"), Column("label", "any"), Column("n", "any")),
    MAPS_TEXT: (Column("prompt", "string"), Column("n", "any")),
    FILLS_MASKS: (Column("prompt", "string"), Column("n", "any")),
    RELATES_WORDS: (Column("prompt", "string"), Column("n", "any")),
    EMBEDS_TEXT: (Column("text", "string"),),
    RENDERS_VIEWS: (Column("azimuth", "any"), Column("elevation", "any"), Column("n", "any"), Column("pose", "any")),
    MATCHES_IMAGES_AND_TEXT: (Column("image", "string"), Column("prompt", "string"), Column("n", "any")),
    CAPTIONS_IMAGES: (Column("image", "string"), Column("n", "any")),
    JUDGES_PAIRS: (Column("image", "string"), Column("prompt", "string")),
    ANSWERS_QUESTIONS: (Column("image", "string"), Column("question", "string"), Column("n", "any")),
    FILLS_CAPTIONS: (Column("image", "string"), Column("prompt", "string"), Column("n", "any")),
    DRAWS_FROM_TEXT: (Column("prompt", "string"), Column("image", "string"), Column("n", "any")),
}
_ANSWERS = {
    SAMPLES_IMAGES: (Column("row", "long"), Column("seed", "long"), Column("label", "string"), Column("image", "string")),
    SAMPLES_IN_STEPS: (),
    EDITS_IMAGES: (Column("row", "long"), Column("seed", "long"), Column("label", "string"), Column("image", "string")),
    RECONSTRUCTS: (Column("row", "long"), Column("image", "string")),
    CONTINUES_TEXT: (Column("row", "long"), Column("seed", "long"), Column("prompt", "string"), Column("text", "string")),
    MAPS_TEXT: (Column("row", "long"), Column("seed", "long"), Column("prompt", "string"), Column("text", "string")),
    FILLS_MASKS: (Column("row", "long"), Column("prompt", "string"), Column("mask", "long"), Column("word", "string"), Column("probability", "any")),
    RELATES_WORDS: (Column("row", "long"), Column("prompt", "string"), Column("word", "string"), Column("cosine", "any")),
    EMBEDS_TEXT: (Column("row", "long"), Column("vector", "any")),
    RENDERS_VIEWS: (Column("row", "long"), Column("image", "string"), Column("depth", "string"), Column("azimuth", "any"), Column("elevation", "any")),
    MATCHES_IMAGES_AND_TEXT: (
        Column("row", "long"), Column("label", "string"), Column("probability", "any"), Column("similarity", "any"), Column("vector", "any"),
    ),
    CAPTIONS_IMAGES: (Column("row", "long"), Column("seed", "long"), Column("text", "string")),
    JUDGES_PAIRS: (Column("row", "long"), Column("probability", "any"), Column("similarity", "any")),
    ANSWERS_QUESTIONS: (Column("row", "long"), Column("question", "string"), Column("answer", "string"), Column("probability", "any")),
    FILLS_CAPTIONS: (Column("row", "long"), Column("prompt", "string"), Column("mask", "long"), Column("word", "string"), Column("probability", "any")),
    DRAWS_FROM_TEXT: (Column("row", "long"), Column("seed", "long"), Column("prompt", "string"), Column("image", "string")),
}  # fmt: skip


def request_columns(abilities: Sequence[str]) -> list[Column]:
    return _union(_COLUMNS, abilities)


def response_columns(abilities: Sequence[str]) -> list[Column]:
    return _union(_ANSWERS, abilities)


def example(abilities: Sequence[str], class_names: Sequence[str], *, word: str = "the", picture: str = "", caption: str = "a picture") -> dict[str, Any]:
    """A small request (`rows`, `params`) that a model of these abilities answers.

    ``word`` is one that it knows, ``picture`` a PNG in base64 of its form, ``caption`` one of its data.
    """
    asked: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        CONTINUES_TEXT: ({"prompt": "The", "n": 1}, {"max_new_tokens": 16}),
        MAPS_TEXT: ({"prompt": "a [MASK] object", "n": 1}, {"max_new_tokens": 16, "temperature": 0.0}),
        JUDGES_PAIRS: ({"image": picture, "prompt": caption}, {}),
        MATCHES_IMAGES_AND_TEXT: ({"prompt": caption}, {}),
        FILLS_MASKS: ({"prompt": "a [MASK] object", "n": 5}, {}),
        RELATES_WORDS: ({"prompt": word, "n": 5}, {}),
        CAPTIONS_IMAGES: ({"image": picture, "n": 1}, {}),
        DRAWS_FROM_TEXT: ({"prompt": caption, "n": 1}, {}),
    }
    by_class: tuple[dict[str, Any], dict[str, Any]] = ({"label": class_names[0], "n": 1} if class_names else {"n": 1}, {})
    row, parameters = next((request for ability, request in asked.items() if ability in abilities), by_class)
    return {"rows": [row], "params": {"seed": 0, **parameters}}


def parse_request(
    rows: Sequence[Mapping[str, Any]], params: Mapping[str, Any] | None, *, abilities: Sequence[str], class_names: Sequence[str]
) -> tuple[list[Row], Parameters]:
    """The request, checked.

    Raises:
        BadRequestError: an unknown column, label or parameter, or a value out of range.
    """
    if not rows:
        raise BadRequestError("The request has no rows: send at least one, e.g. [{}].")
    if len(rows) > MAX_ROWS:
        raise BadRequestError(f"The request has {len(rows)} rows: send at most {MAX_ROWS}.")
    known = [column.name for column in request_columns(abilities)]
    parsed = [_row(row, known, class_names) for row in rows]
    draws = sum(row.n for row in parsed)
    if draws > MAX_DRAWS:
        raise BadRequestError(f"The request asks for {draws} draws: ask for at most {MAX_DRAWS} at once.")
    return parsed, _checked(_parameters(params or {}), abilities)


def blank_png(channels: int, size: int) -> str:
    """A black picture as base64 PNG, ``size`` pixels square."""
    from PIL import Image

    return encode_png(Image.new(MODES[channels], (size, size)))


def encode_png(picture: Any) -> str:
    """A PIL image as base64 PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def decode_png(text: str) -> bytes:
    """The PNG bytes in ``text``.

    Raises:
        BadRequestError: it is no base64 or no PNG.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequestError("The column image must hold a PNG in base64.") from None
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise BadRequestError("The column image must hold a PNG in base64: these bytes are no PNG.")
    return data


def open_png(data: bytes, mode: str, size: int) -> Any:
    """The PIL image in ``data`` in ``mode``; it must be ``size`` pixels square, and grey where the model is and in colour where the model is."""
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG"])
        if max(picture.size) <= MAX_IMAGE_SIDE:
            picture.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise BadRequestError(f"The column image holds a PNG that cannot be read ({error}).") from None
    if picture.size != (size, size):
        raise BadRequestError(f"The image is {picture.width}x{picture.height} pixels: send {size}x{size}.")
    if (picture.mode in _GREY_MODES) != (mode in _GREY_MODES):
        has, wants = ("grey", "colour (RGB)") if picture.mode in _GREY_MODES else ("in colour", "grey (mode L)")
        raise BadRequestError(f"The image is {has}, this model was trained on {wants} ones: convert it first.")
    return picture.convert(mode)


def _row(row: Mapping[str, Any], known: Sequence[str], class_names: Sequence[str]) -> Row:
    given = {name: value for name, value in row.items() if not _is_missing(value)}
    for name in given:
        if name not in known:
            raise BadRequestError(f"There is no request column {name!r}; {nearest(str(name), known)}")
    image, prompt, text, question = given.get("image"), given.get("prompt", ""), given.get("text"), given.get("question")
    if image is not None and not isinstance(image, str):
        raise BadRequestError("The column image must hold a PNG in base64.")
    if not isinstance(prompt, str):
        raise BadRequestError(f"The column prompt must be text, not {prompt!r}.")
    _require_utf8(prompt, "prompt")
    for name, value in (("text", text), ("question", question)):
        if value is not None and not isinstance(value, str):
            raise BadRequestError(f"The column {name} must be text, not {value!r}.")
        _require_utf8(value or "", name)
    count = _whole(given.get("n", 1), "n")
    if count < 1:
        raise BadRequestError(f"The column n must be at least 1, not {count}.")
    return Row(prompt, _label(given.get("label"), class_names), decode_png(image) if image is not None else None, count, _view(given, count), text, question)


def _require_utf8(value: str, name: str) -> None:
    """Bytes of a command line that are no UTF-8 arrive as lone surrogates, which no tokenizer takes."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRequestError(f"The column {name} holds what is no UTF-8 at character {error.start + 1:,}: send it as UTF-8.") from None


def _view(given: Mapping[str, Any], count: int) -> View:
    if "pose" in given:
        if count > 1 or given.keys() & {"azimuth", "elevation"}:
            raise BadRequestError("The column pose says where the one camera stands: leave azimuth, elevation and n out.")
        return View(pose=_pose(given["pose"]))
    azimuth, elevation = (None if name not in given else _degrees(given[name], name) for name in ("azimuth", "elevation"))
    if elevation is not None and not -90 <= elevation <= 90:
        raise BadRequestError(f"The column elevation must be between -90 and 90 degrees, not {elevation:g}.")
    return View(azimuth or 0.0, elevation)


def _degrees(value: Any, name: str) -> float:
    try:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise BadRequestError(f"The column {name} must be a number of degrees, not {value!r}.") from None
    return number


def _pose(value: Any) -> tuple[float, ...]:
    from components.cameras import pose_problem

    try:
        pose = tuple(float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        raise BadRequestError("The column pose must hold 16 numbers, camera-to-world row by row.") from None
    problem = pose_problem(pose)
    if problem:
        raise BadRequestError(f"The column pose must hold 16 numbers, camera-to-world row by row: {problem.replace('transform_matrix', 'matrix')}.")
    return pose


def _label(value: Any, class_names: Sequence[str]) -> int | None:
    """The index of a class named by its name or index; a name wins over an index that reads the same."""
    if value is None:
        return None
    if not class_names:
        raise BadRequestError("This model knows no labels: leave the column label out.")
    if str(value) in class_names:
        return list(class_names).index(str(value))
    if not isinstance(value, str):
        index = _whole(value, "label")
        if 0 <= index < len(class_names):
            return index
    raise BadRequestError(f"There is no class {value!r}; {nearest(str(value), class_names)}")


def _parameters(params: Mapping[str, Any]) -> Parameters:
    given = {name: value for name, value in params.items() if not _is_missing(value)}
    try:
        return Parameters.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        raise BadRequestError(f"There is no parameter {name!r}; {nearest(name, Parameters.model_fields)}")
    raise BadRequestError(f"The parameter {name} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.")


def _checked(parameters: Parameters, abilities: Sequence[str]) -> Parameters:
    """Refuse what the model would silently leave aside."""
    if SAMPLES_IN_STEPS not in abilities:
        for name in ("steps", "sampler", "guidance"):
            if getattr(parameters, name):
                raise BadRequestError(f"This model does not draw in steps: leave the parameter {name} out.")
    if not {CONTINUES_TEXT, MAPS_TEXT} & set(abilities):
        for name in ("top_k", "stop"):
            if getattr(parameters, name):
                raise BadRequestError(f"This model continues no text: leave the parameter {name} out.")
    return parameters


def _whole(value: Any, name: str) -> int:
    """A whole number; pandas turns columns with gaps into floats, so 2.0 counts."""
    try:
        number = float(value)
        if isinstance(value, bool) or not number.is_integer():
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise BadRequestError(f"The column {name} must be a whole number, not {value!r}.") from None
    return int(number)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _union(table: Mapping[str, Sequence[Column]], abilities: Sequence[str]) -> list[Column]:
    return list(dict.fromkeys(column for ability in abilities for column in table[ability]))
