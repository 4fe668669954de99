"""Pictures or text from a registered model, for a person to look at."""

from typing import Any

from components.errors import UserError
from components.evaluation.pictures import animation_gif
from components.models.family import find_family
from components.models.prompting import answers as answers_prompts
from components.project import Project
from components.registry import wire
from components.registry.asking import CLASSES, PICTURES, TEXTS, WORDS, Drawn, SampleRequest, ask, given_image, grid, pixels, refuse, refuse_all_but
from components.registry.continuing import OnText
from components.registry.loading import LoadedModel, load_package, package_folder
from components.registry.prompts import MASK
from components.registry.references import resolve
from components.registry.text_drawing import draw_from_text
from components.tracking import Tracker


def sample_registered(project: Project, tracker: Tracker, ref: str, request: SampleRequest, on_text: OnText | None = None) -> Drawn:
    """Draw pictures or texts from the version that ``ref`` means; the same request draws the same.

    Of a scene they are views round its orbit; ``animated`` makes a GIF of them. ``on_text`` gets a single text, its prompt first, while it grows.

    Raises:
        UserError: ``ref`` means nothing, the model draws nothing, or it does not take what the request gives.
    """
    version = resolve(tracker, ref)
    with load_package(package_folder(project, tracker, version)) as model:
        return sample_loaded(project, tracker, model, version.ref, request, on_text)


def sample_loaded(project: Project, tracker: Tracker, model: LoadedModel, name: str, request: SampleRequest, on_text: OnText | None = None) -> Drawn:
    """The same of a version that is open; ``name`` is what sentences call it."""
    if wire.DRAWS_FROM_TEXT in model.spec.abilities and not request.animated:
        return draw_from_text(project, tracker, model, name, request)
    refuse({"clip", "clip_guidance", "captioner"}, request, f"{name} draws no pictures from text")
    if wire.RENDERS_VIEWS in model.spec.abilities:
        return _orbit(model, name, request)
    if request.animated:
        raise UserError(f"{name} renders no views, so there is nothing to animate: give --out a name that ends in .png or .txt.")
    return _draw(model, name, request, on_text)


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
    answers = ask(model, row, request, request.wanted(PICTURES))
    return Drawn(png=grid([answer["image"] for answer in answers]), description=f"{len(answers)} pictures of {name}, seed {request.seed}")


def _fill(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """The likeliest words for each gap of the prompt."""
    refuse_all_but({"prompt"}, request, f"{name} fills the gaps of a prompt")
    answers = model.predict([{"prompt": request.prompt or "", "n": request.wanted(WORDS)}])
    return Drawn(text=gaps_filled(str(request.prompt), answers), description=f"the best {request.wanted(WORDS)} words for each gap by {name}")


def gaps_filled(prompt: str, answers: wire.Rows) -> str:
    """A prompt and below it the words for each of its gaps.

    Raises:
        UserError: there is none for any of them.
    """
    if not answers:
        raise UserError(f"The model knows no word for a gap of {prompt!r}: give another text round it.")
    masks = max(answer["mask"] for answer in answers)
    lines = [prompt]
    for mask in range(1, masks + 1):
        lines += [f"mask {mask}:"] if masks > 1 else []
        lines += [f"{answer['probability']:8.4f}  {answer['word']}" for answer in answers if answer["mask"] == mask]
    return "\n".join(lines)


def _map(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Answers to the prompt, or the prompt with its gaps filled; a single one is the likeliest unless a temperature is given."""
    refuse_all_but({"prompt", "top_k", "top_p", "max_new_tokens", "stop"}, request, f"{name} answers a prompt with text")
    num, prompt = request.wanted(TEXTS), request.prompt or ""
    if num == 1 and request.temperature is None:
        request = request.model_copy(update={"temperature": 0.0})
    answers = ask(model, {"prompt": prompt}, request, num)
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
    refuse_all_but({"prompt"}, request, f"{name} names the words nearest to a prompt")
    answers = model.predict([{"prompt": request.prompt or "", "n": request.wanted(WORDS)}])
    lines = [str(request.prompt), *(f"{answer['cosine']:8.4f}  {answer['word']}" for answer in answers)]
    return Drawn(text="\n".join(lines), description=f"the {request.wanted(WORDS)} nearest words by {name}")


def _write(model: LoadedModel, name: str, row: dict[str, Any], request: SampleRequest, on_text: OnText | None) -> Drawn:
    """Texts, each behind its prompt, or answers to it; a single one is told to ``on_text`` from its prompt to its end."""
    num, opening = request.wanted(TEXTS), "" if answers_prompts(model.data_spec) else row.get("prompt", "")
    streamed = on_text if num == 1 else None
    if streamed is not None:
        streamed(opening)
    answers = ask(model, row, request, num, streamed)
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
    source = given_image(request.image, model, name)
    row = {**row, "image": source}
    if wire.EDITS_IMAGES in model.spec.abilities:
        answers = ask(model, row, request, request.wanted(PICTURES))
        made = f"{len(answers)} pictures drawn anew"
    else:
        answers, made = model.predict([row], request.parameters()), "its reconstruction"
    return Drawn(png=grid([source, *(answer["image"] for answer in answers)]), description=f"the picture given and {made} by {name}, seed {request.seed}")


def _match(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """How well a picture fits a text, or which classes it is likely to be of."""
    refuse_all_but({"prompt", "image"}, request, f"{name} compares pictures with texts")
    if request.image is None:
        raise UserError(f"{name} compares pictures with texts: give a picture with --from, and a text with --prompt or none to be told its class.")
    row: dict[str, Any] = {"image": given_image(request.image, model, name)}
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
    refuse_all_but({"image", "max_new_tokens"}, request, f"{name} says what a picture shows")
    if request.image is None:
        raise UserError(f"{name} says what a picture shows: give one with --from.")
    num = request.wanted(TEXTS)
    answers = ask(model, {"image": given_image(request.image, model, name)}, request, num)
    captions = "a caption" if num == 1 else f"{num} captions, the first the likeliest,"
    return Drawn(text="\n".join(answer["text"] for answer in answers), description=f"{captions} of {request.image} by {name}, seed {request.seed}")


def _look(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Whether a picture and a text belong together, what answers a question about the picture, or what fills the gaps of its caption."""
    refuse_all_but({"prompt", "image"}, request, f"{name} looks at a picture and a text")
    if request.image is None:
        raise UserError(f"{name} looks at a picture and a text: give a picture with --from, and with --prompt a text, a question, or a text with [MASK].")
    if request.prompt is not None and not request.prompt.strip():
        raise UserError("--prompt is empty: write what the picture may show, or ask something, or leave it out.")
    row, questions = {"image": given_image(request.image, model, name)}, [question.text for question in model.data_spec.questions]
    if request.prompt is None:
        return _all_answers(model, name, row, questions)
    if request.prompt.rstrip().endswith("?") or request.prompt in questions:
        answers = model.predict([{**row, "question": request.prompt, "n": request.wanted(CLASSES)}])
        lines = [f"{100 * answer['probability']:5.1f} %  {answer['answer']}" for answer in answers]
        return Drawn(text="\n".join(lines), description=f"the likeliest answers by {name}")
    if MASK in request.prompt:
        filled = model.predict([{**row, "prompt": request.prompt, "n": request.wanted(WORDS)}])
        return Drawn(
            text=gaps_filled(request.prompt, filled), description=f"the best {request.wanted(WORDS)} words for each gap by {name}, the picture in view"
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


def _orbit(model: LoadedModel, name: str, request: SampleRequest) -> Drawn:
    """Views evenly round the scene, as a grid or as an animation."""
    refuse_all_but(set(), request, f"{name} renders views of its scene")
    num = request.wanted(PICTURES)
    rows = [{"azimuth": 360 * index / num} for index in range(num)]
    answers = [answer for start in range(0, num, wire.MAX_ROWS) for answer in model.predict(rows[start : start + wire.MAX_ROWS])]
    images = [answer["image"] for answer in answers]
    described = f"{num} views of {name}, once round its scene"
    return Drawn(gif=animation_gif(pixels(images)), description=described) if request.animated else Drawn(png=grid(images), description=described)
