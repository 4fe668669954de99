"""Pictures that a registered model draws as words say, steered by another, and what a third one says of them."""

import contextlib
from typing import Any

from components.errors import UserError
from components.project import Project
from components.registry import prompts, wire
from components.registry.asking import PICTURES, Drawn, SampleRequest, ask, given_image, grid, refuse_all_but
from components.registry.loading import LoadedModel, load_package, package_folder
from components.registry.references import resolve
from components.registry.registration import CHAMPION
from components.tracking import Tracker


def draw_from_text(project: Project, tracker: Tracker, model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Pictures as the prompt says, from noise or from a picture, and what a captioner says of them."""
    refuse_all_but({"prompt", "image", "strength", "steps", "sampler", "guidance", "clip", "clip_guidance", "captioner"}, request, f"{name} draws from text")
    row: dict[str, Any] = {"prompt": request.prompt or ""}
    if request.image is not None:
        row["image"] = given_image(request.image, model, name)
    with contextlib.ExitStack() as opened:
        steer = _steer(project, tracker, model, request, opened)
        answers = ask(model, row, request, request.wanted(PICTURES), steer=steer)
    images = [answer["image"] for answer in answers]
    shown = [*([row["image"]] if "image" in row else []), *images]
    given = "the picture given and " if "image" in row else ""
    steered = f", steered by {request.clip}" if request.clip else ""
    captions, notes = _captions_of(project, tracker, model, request, images)
    described = f"{given}{len(images)} pictures of {request.prompt!r} by {name}{steered}, seed {request.seed}"
    return Drawn(png=grid(shown), description=described, captions=captions, notes=notes)


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
    if not ours.has_images_like(theirs):
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
        if not model.data_spec.has_images_like(captioner.data_spec):
            return (), (f"{ref} looks at pictures of another form, so it says nothing of what came out.",)
        rows = [{"image": image} for image in images]
        answers = [answer for start in range(0, len(rows), wire.MAX_ROWS) for answer in captioner.predict(rows[start : start + wire.MAX_ROWS])]
    return tuple(answer["text"] for answer in answers), ()


def _captioner_of(tracker: Tracker, dataset: str) -> str | None:
    """A registered model that captions what ``dataset`` holds; a champion before others."""
    known = [resolve(tracker, name) for name in tracker.model_names()]
    fitting = [version for version in known if version.tag("dataset") == dataset and wire.CAPTIONS_IMAGES in version.tag("abilities").split()]
    return min(fitting, key=lambda version: (CHAMPION not in version.aliases, version.name)).ref if fitting else None
