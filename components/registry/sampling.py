"""Pictures or text from a registered model, for a person to look at."""

import contextlib
import io
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.evaluation.pictures import animation_gif, grid_png
from components.models.family import find_family
from components.models.prompting import answers as answers_prompts
from components.params import Strict
from components.project import Project
from components.registry import prompts, wire
from components.registry.continuing import OnText
from components.registry.loading import LoadedModel, load_package, package_folder
from components.registry.prompts import MASK
from components.registry.references import resolve
from components.registry.registration import CHAMPION
from components.tracking import Tracker

PICTURES, TEXTS, WORDS, CLASSES = 16, 1, 5, 5
"""How many are drawn, or named, where nobody says."""
TEMPERATURE = 0.8
"""Of text, where nobody says."""
TAKE_PICTURES = {
    wire.EDITS_IMAGES, wire.RECONSTRUCTS, wire.MATCHES_IMAGES_AND_TEXT, wire.JUDGES_PAIRS, wire.CAPTIONS_IMAGES, wire.DRAWS_FROM_TEXT,
}  # fmt: skip
"""Abilities of a model that is given a picture."""
MOST_PIXELS = 50_000_000
"""Of a picture that is given."""


class Drawn(Strict):
    """What was drawn: a grid of pictures, an animation or a text."""

    png: bytes | None = None
    gif: bytes | None = None
    text: str | None = None
    description: str
    captions: tuple[str, ...] = ()
    """What a captioner says of each picture."""
    notes: tuple[str, ...] = ()
    """What the person who asked should know."""


class SampleRequest(Strict):
    """What to draw; None leaves the choice to the model."""

    num: int | None = None
    """How many; None is `PICTURES`, `TEXTS`, or the best `WORDS` or `CLASSES`."""
    prompt: str | None = None
    label: str | None = None
    image: Path | None = None
    """A picture to draw anew, of any size and mode: the middle square is brought to the model's form."""
    strength: float | None = None
    """How far an edit may go from ``image``, in (0, 1]."""
    seed: int = 0
    temperature: float | None = None
    """None is `TEMPERATURE`, or 0 where a model that maps text gives a single answer."""
    top_k: int | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    """A text ends before the first of these."""
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    clip: str | None = None
    """A registered model that compares images with texts; it steers what is drawn from text."""
    clip_guidance: float | None = None
    """How strongly it steers; None is 1."""
    captioner: str | None = None
    """Who says what came out; None takes one that was trained on the same dataset, if there is any."""
    animated: bool = False
    """Of a scene: a GIF instead of a grid."""

    def wanted(self, default: int) -> int:
        return default if self.num is None else self.num

    def parameters(self) -> dict[str, Any]:
        """The parameters of the wire format that were given, and the temperature."""
        return {"temperature": TEMPERATURE, **self.model_dump(include=set(wire.Parameters.model_fields) - {"seed"}, exclude_none=True)}


def sample_registered(project: Project, tracker: Tracker, ref: str, request: SampleRequest, on_text: OnText | None = None) -> Drawn:
    """Draw pictures or texts from the version that ``ref`` means; the same request draws the same.

    Of a scene they are views round its orbit; ``animated`` makes a GIF of them. ``on_text`` gets a single text, its prompt first, while it grows.

    Raises:
        UserError: ``ref`` means nothing, the model draws nothing, or it does not take what the request gives.
    """
    version = resolve(tracker, ref)
    with load_package(package_folder(project, tracker, version)) as model:
        if wire.RENDERS_VIEWS in model.spec.abilities:
            return _orbit(model, version.ref, request)
        if wire.DRAWS_FROM_TEXT in model.spec.abilities and not request.animated:
            return draw_from_text(project, tracker, model, version.ref, request)
        if request.animated:
            raise UserError(f"{version.ref} renders no views, so there is nothing to animate: give --out a name that ends in .png or .txt.")
        return _draw(model, version.ref, request, on_text)


def _draw(model: LoadedModel, name: str, request: SampleRequest, on_text: OnText | None) -> Drawn:
    abilities = set(model.spec.abilities)
    in_words = {
        wire.FILLS_MASKS: _fill, wire.RELATES_WORDS: _relate, wire.JUDGES_PAIRS: _look, wire.MATCHES_IMAGES_AND_TEXT: _match,
        wire.CAPTIONS_IMAGES: _caption, wire.MAPS_TEXT: _map,
    }  # fmt: skip
    for ability, answer in in_words.items():
        if ability in abilities:
            return answer(model, name, request)
    if not abilities & {wire.SAMPLES_IMAGES, wire.CONTINUES_TEXT}:
        raise UserError(f"{name} draws neither pictures nor text: it answers requests with {', '.join(sorted(abilities)) or 'nothing'}.")
    row = {column: value for column, value in (("prompt", request.prompt), ("label", request.label)) if value is not None}
    if request.image is not None:
        return _draw_anew(model, name, row, request)
    if wire.CONTINUES_TEXT in abilities:
        return _write(model, name, row, request, on_text)
    answers = _ask(model, row, request, request.wanted(PICTURES))
    return Drawn(png=_grid([answer["image"] for answer in answers]), description=f"{len(answers)} pictures of {name}, seed {request.seed}")


def _fill(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """The likeliest words for each gap of the prompt."""
    _refuse_all_but({"prompt"}, request, f"{name} fills the gaps of a prompt")
    answers = model.predict([{"prompt": request.prompt or "", "n": request.wanted(WORDS)}])
    return Drawn(text=_gaps_filled(str(request.prompt), answers), description=f"the best {request.wanted(WORDS)} words for each gap by {name}")


def _gaps_filled(prompt: str, answers: wire.Rows) -> str:
    """A prompt and below it the words for each of its gaps."""
    masks = max(answer["mask"] for answer in answers)
    lines = [prompt]
    for mask in range(1, masks + 1):
        lines += [f"mask {mask}:"] if masks > 1 else []
        lines += [f"{answer['probability']:8.4f}  {answer['word']}" for answer in answers if answer["mask"] == mask]
    return "\n".join(lines)


def _map(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Answers to the prompt, or the prompt with its gaps filled; a single one is the likeliest unless a temperature is given."""
    _refuse_all_but({"prompt", "top_k", "top_p", "max_new_tokens", "stop"}, request, f"{name} answers a prompt with text")
    num, prompt = request.wanted(TEXTS), request.prompt or ""
    if num == 1 and request.temperature is None:
        request = request.model_copy(update={"temperature": 0.0})
    answers = _ask(model, {"prompt": prompt}, request, num)
    text = "\n\n".join(answer["text"] for answer in answers)
    return Drawn(text=text, description=f"{num} answers of {name}, seed {request.seed}", notes=_on_the_source(model, prompt))


def _on_the_source(model: LoadedModel, prompt: str) -> tuple[str, ...]:
    from tokenizers import Tokenizer

    length, most = len(Tokenizer.from_str(model.data_spec.tokenizer).encode(prompt).ids), model.spec.config["source_length"]
    if model.data_spec.modality == "text" or length <= most:
        return ()
    return (f"The prompt has {length:,} tokens with its marks, of which the model reads the first {most:,}.",)


def _relate(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """The words nearest to the prompt."""
    _refuse_all_but({"prompt"}, request, f"{name} names the words nearest to a prompt")
    answers = model.predict([{"prompt": request.prompt or "", "n": request.wanted(WORDS)}])
    lines = [str(request.prompt), *(f"{answer['cosine']:8.4f}  {answer['word']}" for answer in answers)]
    return Drawn(text="\n".join(lines), description=f"the {request.wanted(WORDS)} nearest words by {name}")


def _refuse_all_but(heeded: set[str], request: SampleRequest, does: str) -> None:
    """Name the first option that such a model does not heed; what always has a value is not asked for."""
    given = request.model_dump(exclude={"num", "seed", "temperature", "animated", *heeded}, exclude_none=True)
    for option in given:
        raise UserError(f"{does}: leave --{'from' if option == 'image' else option.replace('_', '-')} out.")


def _write(model: LoadedModel, name: str, row: dict[str, Any], request: SampleRequest, on_text: OnText | None) -> Drawn:
    """Texts, each behind its prompt, or answers to it; a single one is told to ``on_text`` from its prompt to its end."""
    num, opening = request.wanted(TEXTS), "" if answers_prompts(model.data_spec) else row.get("prompt", "")
    streamed = on_text if num == 1 else None
    if streamed is not None:
        streamed(opening)
    answers = _ask(model, row, request, num, streamed)
    text = "\n\n".join(f"{opening}{answer['text']}" for answer in answers)
    return Drawn(text=text, description=f"{num} texts of {name}, seed {request.seed}", notes=_on_the_prompt(model, row.get("prompt", "")))


def _on_the_prompt(model: LoadedModel, prompt: str) -> tuple[str, ...]:
    from tokenizers import Tokenizer

    length = len(Tokenizer.from_str(model.data_spec.tokenizer).encode(prompt, add_special_tokens=False).ids)
    settings: Any = find_family(model.spec.family).config.model_validate(model.spec.config)
    end, heeded = ("first", settings.prompt_length) if answers_prompts(model.data_spec) else ("last", settings.context_length)
    return (f"The prompt has {length:,} tokens, of which the model heeds the {end} {heeded:,}.",) if length > heeded else ()


def _draw_anew(model: LoadedModel, name: str, row: dict[str, Any], request: SampleRequest) -> Drawn:
    """The picture that is given, and behind it what the model makes of it."""
    assert request.image is not None
    source = _given_image(request.image, model, name)
    row = {**row, "image": source}
    if wire.EDITS_IMAGES in model.spec.abilities:
        answers = _ask(model, row, request, request.wanted(PICTURES))
        made = f"{len(answers)} pictures drawn anew"
    else:
        answers, made = model.predict([row], request.parameters()), "its reconstruction"
    return Drawn(png=_grid([source, *(answer["image"] for answer in answers)]), description=f"the picture given and {made} by {name}, seed {request.seed}")


def _ask(model: LoadedModel, row: dict[str, Any], request: SampleRequest, num: int, on_text: OnText | None = None, steer: Any = None) -> wire.Rows:
    """As many answers as are wanted; more than a request may ask for take several."""
    answers: wire.Rows = []
    while len(answers) < num:
        count = min(num - len(answers), wire.MAX_DRAWS)
        answers += model.predict([{**row, "n": count}], {**request.parameters(), "seed": request.seed + len(answers)}, on_text, steer)
    return answers


def _given_image(path: Path, model: LoadedModel, name: str) -> str:
    """The picture in ``path`` in the model's size and mode, as base64 PNG."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    from components.data.pixels import squared

    if not TAKE_PICTURES & set(model.spec.abilities):
        raise UserError(f"{name} takes no picture: leave --from out, or choose a model that draws pictures anew (diffusion) or reconstructs them (vae).")
    if not path.is_file():
        raise UserError(f"There is no picture {path}: give --from a file that exists.")
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise UserError(f"{path} has {opened.width}x{opened.height} pixels, allowed are {MOST_PIXELS:,}: scale it down first.")
            picture = ImageOps.exif_transpose(opened).convert("L" if model.data_spec.channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is no picture that can be read ({type(error).__name__}): give --from a PNG or JPEG.") from None
    return wire.encode_png(squared(picture, model.data_spec.image_size))


def _match(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """How well a picture fits a text, or which classes it is likely to be of."""
    _refuse_all_but({"prompt", "image"}, request, f"{name} compares pictures with texts")
    if request.image is None:
        raise UserError(f"{name} compares pictures with texts: give a picture with --from, and a text with --prompt or none to be told its class.")
    row: dict[str, Any] = {"image": _given_image(request.image, model, name)}
    if request.prompt is not None:
        if not request.prompt.strip():
            raise UserError("--prompt is empty: write what the picture may show, or leave it out.")
        (answer,) = model.predict([{**row, "prompt": request.prompt}])
        return Drawn(text=f"{answer['similarity']:.3f}  {request.prompt}", description=f"the similarity of a picture and a text by {name}, from -1 to 1")
    answers = model.predict([{**row, "n": request.wanted(CLASSES)}])
    if answers[0]["label"] is None:
        raise UserError(f"{name} knows no classes: say with --prompt what the picture may show.")
    lines = [f"{100 * answer['probability']:5.1f} %  {answer['label']}" for answer in answers]
    return Drawn(text="\n".join(lines), description=f"the likeliest classes of a picture by {name}")


def _caption(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """What a picture shows: the likeliest caption, and below it others that are drawn."""
    _refuse_all_but({"image", "max_new_tokens"}, request, f"{name} says what a picture shows")
    if request.image is None:
        raise UserError(f"{name} says what a picture shows: give one with --from.")
    num = request.wanted(TEXTS)
    answers = _ask(model, {"image": _given_image(request.image, model, name)}, request, num)
    captions = "a caption" if num == 1 else f"{num} captions, the first the likeliest,"
    return Drawn(text="\n".join(answer["text"] for answer in answers), description=f"{captions} of {request.image} by {name}, seed {request.seed}")


def _look(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Whether a picture and a text belong together, what answers a question about the picture, or what fills the gaps of its caption."""
    _refuse_all_but({"prompt", "image"}, request, f"{name} looks at a picture and a text")
    if request.image is None:
        raise UserError(f"{name} looks at a picture and a text: give a picture with --from, and with --prompt a text, a question, or a text with [MASK].")
    if request.prompt is not None and not request.prompt.strip():
        raise UserError("--prompt is empty: write what the picture may show, or ask something, or leave it out.")
    row, questions = {"image": _given_image(request.image, model, name)}, [question.text for question in model.data_spec.questions]
    if request.prompt is None:
        return _all_answers(model, name, row, questions)
    if request.prompt.rstrip().endswith("?") or request.prompt in questions:
        answers = model.predict([{**row, "question": request.prompt, "n": request.wanted(CLASSES)}])
        lines = [f"{100 * answer['probability']:5.1f} %  {answer['answer']}" for answer in answers]
        return Drawn(text="\n".join(lines), description=f"the likeliest answers by {name}")
    if MASK in request.prompt:
        filled = model.predict([{**row, "prompt": request.prompt, "n": request.wanted(WORDS)}])
        return Drawn(
            text=_gaps_filled(request.prompt, filled), description=f"the best {request.wanted(WORDS)} words for each gap by {name}, the picture in view"
        )
    (found,) = model.predict([{**row, "prompt": request.prompt}])
    return Drawn(text=f"{100 * found['probability']:5.1f} %  {request.prompt}", description=f"how likely a picture and a text belong together by {name}")


def _all_answers(model: LoadedModel, name: str, row: dict[str, Any], questions: list[str]) -> Drawn:
    """The best answer to each question that the model knows."""
    if not questions:
        raise UserError(f"{name} was trained without questions: say with --prompt what the picture may show.")
    answers = model.predict([{**row, "question": question} for question in questions])
    lines = [f"{100 * answer['probability']:5.1f} %  {answer['question']} {answer['answer']}" for answer in answers]
    return Drawn(text="\n".join(lines), description=f"the likeliest answer to each question by {name}")


def draw_from_text(project: Project, tracker: Tracker, model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Pictures as the prompt says, from noise or from a picture, and what a captioner says of them."""
    _refuse_all_but({"prompt", "image", "strength", "steps", "sampler", "guidance", "clip", "clip_guidance", "captioner"}, request, f"{name} draws from text")
    row: dict[str, Any] = {"prompt": request.prompt or ""}
    if request.image is not None:
        row["image"] = _given_image(request.image, model, name)
    with contextlib.ExitStack() as opened:
        steer = _steer(project, tracker, model, request, opened)
        answers = _ask(model, row, request, request.wanted(PICTURES), steer=steer)
    images = [answer["image"] for answer in answers]
    shown = [*([row["image"]] if "image" in row else []), *images]
    given = "the picture given and " if "image" in row else ""
    steered = f", steered by {request.clip}" if request.clip else ""
    captions, notes = _captions_of(project, tracker, model, request, images)
    described = f"{given}{len(images)} pictures of {request.prompt!r} by {name}{steered}, seed {request.seed}"
    return Drawn(png=_grid(shown), description=described, captions=captions, notes=notes)


def _steer(project: Project, tracker: Tracker, model: LoadedModel, request: SampleRequest, opened: contextlib.ExitStack) -> Any:
    """What moves the pictures towards the prompt while they are drawn; None where nobody asked."""
    if request.clip is None:
        if request.clip_guidance is not None:
            raise UserError("--clip-guidance says how strongly a model steers: name it with --clip.")
        return None
    judge = opened.enter_context(load_package(package_folder(project, tracker, resolve(tracker, request.clip))))
    if wire.MATCHES_IMAGES_AND_TEXT not in judge.spec.abilities:
        raise UserError(f"{request.clip} does not compare pictures with texts: give --clip a model of the family clip.")
    if judge.model is None:
        raise UserError(f"{request.clip} was packaged by another version of Genmill, and such a model cannot steer: train it again.")
    ours, theirs = model.data_spec, judge.data_spec
    if (ours.channels, ours.image_size) != (theirs.channels, theirs.image_size):
        raise UserError(
            f"{request.clip} looks at pictures of {theirs.image_size} pixels and {theirs.channels} channels, and {model.spec.model} draws "
            f"{ours.image_size} and {ours.channels}: train both at one image_size."
        )
    from components.models.layers.steering import steer_towards

    tokens = prompts.caption_tokens(theirs, request.prompt or "", judge.model.caption_length)
    return steer_towards(judge.model, tokens, 1.0 if request.clip_guidance is None else request.clip_guidance)


def _captions_of(project: Project, tracker: Tracker, model: LoadedModel, request: SampleRequest, images: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a captioner says of ``images``, and what is to be said where there is none."""
    ref = request.captioner or _captioner_of(tracker, model.spec.dataset)
    if ref is None:
        return (), (f"No captioner of {model.spec.dataset} is registered, so nobody says what came out: `genmill run captioner-{model.spec.dataset}`.",)
    with load_package(package_folder(project, tracker, resolve(tracker, ref))) as captioner:
        if wire.CAPTIONS_IMAGES not in captioner.spec.abilities:
            raise UserError(f"{ref} says of no picture what it shows: give --captioner a model of the family captioner.")
        ours, theirs = model.data_spec, captioner.data_spec
        if (ours.channels, ours.image_size) != (theirs.channels, theirs.image_size):
            return (), (f"{ref} looks at pictures of another form, so it says nothing of what came out.",)
        rows = [{"image": image} for image in images]
        answers = [answer for start in range(0, len(rows), wire.MAX_ROWS) for answer in captioner.predict(rows[start : start + wire.MAX_ROWS])]
    return tuple(answer["text"] for answer in answers), ()


def _captioner_of(tracker: Tracker, dataset: str) -> str | None:
    """A registered model that captions what ``dataset`` holds; a champion before others."""
    known = [resolve(tracker, name) for name in tracker.model_names()]
    fitting = [version for version in known if version.tag("dataset") == dataset and wire.CAPTIONS_IMAGES in version.tag("abilities").split()]
    return min(fitting, key=lambda version: (CHAMPION not in version.aliases, version.name)).ref if fitting else None


def _orbit(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Views evenly round the scene, as a grid or as an animation."""
    _refuse_all_but(set(), request, f"{name} renders views of its scene")
    num = request.wanted(PICTURES)
    rows = [{"azimuth": 360 * index / num} for index in range(num)]
    answers = [answer for start in range(0, num, wire.MAX_ROWS) for answer in model.predict(rows[start : start + wire.MAX_ROWS])]
    images = [answer["image"] for answer in answers]
    described = f"{num} views of {name}, once round its scene"
    return Drawn(gif=animation_gif(_pixels(images)), description=described) if request.animated else Drawn(png=_grid(images), description=described)


def _grid(images: list[str]) -> bytes:
    return grid_png(_pixels(images), max(1, round(len(images) ** 0.5)))


def _pixels(images: list[str]) -> Any:
    """PNGs in base64 as one tensor [N, C, H, W] in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    def pixels(image: str) -> Any:
        array = np.asarray(Image.open(io.BytesIO(wire.decode_png(image))), dtype=np.float32) / 255
        return array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)

    return torch.from_numpy(np.stack([pixels(image) for image in images]))
