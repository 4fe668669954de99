"""The page on which a person tries the registered models: champion and candidate side by side, drawn from the same seed.

Everything that it shows comes from this machine: Gradio's analytics, its fonts from elsewhere and its history of runs are off, and the
browser is told to load nothing from anywhere else.
"""

import base64
import html
import os
import re
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.errors import UserError
from components.registry.asking import Drawn, SampleRequest
from components.registry.playing import Contender, Fields, Playground

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_NUMBER = 64
SIDES = 2
ONLY_FROM_HERE = "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"
OPTIONS = {"--from": "Picture", "--prompt": "Prompt", "--label": "Class", "--strength": "Strength", "--steps": "Steps", "--guidance": "Guidance"}
"""What the command line's options are called here."""
CSS = """
footer {display: none !important}
.drawn img {max-width: 100%; image-rendering: pixelated}
.drawn pre {white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.95em}
.drawn .refused {color: #b3261e}
"""


class Form(NamedTuple):
    """The values of the fields, in the order of the page; what is hidden does not count."""

    model: str
    prompt: str
    label: str | None
    image: str | None
    num: float
    seed: float
    strength: float
    steps: float
    guidance: float
    temperature: float
    max_new_tokens: float


class Shown(NamedTuple):
    """One side of the page."""

    title: str
    content: str
    """HTML."""
    about: str


def playground_app(playground: Playground, scratch: Path) -> "FastAPI":
    """The page as a web application; pictures that people give lie in ``scratch`` meanwhile."""
    # Gradio reads both when it is imported, and would call home otherwise.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(scratch)}
    import gradio
    from fastapi import FastAPI, Request, Response

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/ping")
    async def ping() -> Response:
        return Response("\n")

    @app.middleware("http")
    async def load_nothing_from_elsewhere(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = ONLY_FROM_HERE
        return response

    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return gradio.mount_gradio_app(
        app, _page(playground), path="/", theme=theme, css=CSS, footer_links=[], run_history=False, ssr_mode=False, max_file_size="50mb", mcp_server=False,
    )  # fmt: skip


def shown_side(playground: Playground, contender: Contender, form: Form) -> Shown:
    """What ``contender`` makes of what was filled in, or in a sentence why nothing."""
    try:
        content = _content(playground.draw(contender.ref, request_of(form, playground.fields(contender.ref))))
    except UserError as error:
        content = _refused(str(error))
    except Exception as error:  # noqa: BLE001 - what one version's code raises must not take the other's side
        traceback.print_exc()
        content = _refused(f"{contender.ref} failed ({type(error).__name__}: {error}): the terminal of `genmill playground` says where.")
    # Where the picture that was given lies here is nobody's business.
    return _named(contender, content.replace(html.escape(form.image), html.escape(Path(form.image).name)) if form.image else content)


def request_of(form: Form, fields: Fields) -> SampleRequest:
    """What is asked of a model that takes ``fields``."""
    return SampleRequest(
        num=min(int(form.num), MOST_NUMBER) if fields.num is not None else None,
        prompt=form.prompt if fields.prompt and form.prompt else None,
        label=form.label or None if fields.labels else None,
        image=Path(form.image) if fields.image and form.image else None,
        seed=int(form.seed or 0),
        strength=form.strength if fields.strength and form.image else None,
        steps=int(form.steps) or None if fields.steps else None,
        guidance=form.guidance or None if fields.steps else None,
        temperature=form.temperature if fields.temperature else None,
        max_new_tokens=int(form.max_new_tokens) if fields.temperature else None,
    )


def in_words_of_the_page(sentence: str) -> str:
    """``sentence`` with the fields' names in place of the command line's options."""
    return re.sub(r"--[a-z-]+", lambda found: f"“{OPTIONS[found[0]]}”" if found[0] in OPTIONS else found[0], sentence)


def _refused(sentence: str) -> str:
    return f'<p class="refused">{html.escape(in_words_of_the_page(sentence))}</p>'


def _named(contender: Contender, content: str = "") -> Shown:
    return Shown(f"### {contender.title}", content, " · ".join(filter(None, (f"data {contender.data}", contender.figures))))


def _both_sides(sides: list[Shown]) -> list[str]:
    """Their parts one after the other; a side that is missing is empty."""
    return [part for side in [*sides, *[Shown("", "", "")] * (SIDES - len(sides))] for part in side]


def _content(drawn: Drawn) -> str:
    """As HTML; whatever a model or a person wrote is text in it."""
    parts = []
    picture = drawn.png or drawn.gif
    if picture is not None:
        kind = "png" if drawn.png is not None else "gif"
        encoded = base64.b64encode(picture).decode("ascii")
        parts.append(f'<img src="data:image/{kind};base64,{encoded}" alt="{html.escape(drawn.description)}">')
    if drawn.text is not None:
        parts.append(f"<pre>{html.escape(drawn.text)}</pre>")
    parts += [f"<p>{html.escape(line)}</p>" for line in (drawn.description, *drawn.captions, *drawn.notes)]
    return "".join(parts)


def _page(playground: Playground) -> Any:
    import gradio

    names = playground.models()
    with gradio.Blocks(title="Genmill playground", analytics_enabled=False) as page:
        gradio.Markdown("## Genmill playground")
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                fields, button = _fields(names)
            with gradio.Column(scale=3), gradio.Row():
                sides = [side for number in range(SIDES) for side in _side(number)]
        look = {"fn": lambda model: _looks(playground, model), "inputs": fields[0], "outputs": [*fields[1:], *sides], "api_visibility": "private"}
        page.load(**look)
        fields[0].change(**look)
        button.click(lambda *values: _drawn(playground, Form(*values)), fields, sides, concurrency_limit=1, api_visibility="private")
    return page


def _fields(names: list[str]) -> tuple[list[Any], Any]:
    """The fields in the order of `Form`, and the button."""
    import gradio

    fields = [
        gradio.Dropdown(names, value=names[0] if names else None, label="Model", filterable=True),
        gradio.Textbox(label="Prompt", lines=3, visible=False),
        gradio.Dropdown([], label="Class", visible=False),
        # Not its `Image`, which decodes what it is given, however large that is.
        gradio.File(label="Picture", type="filepath", file_types=["image"], height=130, visible=False),
        gradio.Slider(1, MOST_NUMBER, value=16, step=1, label="How many", visible=False),
        gradio.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1),
        gradio.Slider(0.05, 1, value=0.6, step=0.05, label="Strength", info="Of a picture that is drawn anew: how far to go from it.", visible=False),
        gradio.Slider(0, 100, value=0, step=1, label="Steps", info="0 takes the model's own.", visible=False),
        gradio.Slider(0, 10, value=0, step=0.5, label="Guidance", info="0 takes the model's own, 1 is none.", visible=False),
        gradio.Slider(0, 2, value=0.8, step=0.05, label="Temperature", info="0 takes the likeliest word each time.", visible=False),
        gradio.Slider(1, 512, value=128, step=1, label="Most tokens", visible=False),
    ]
    return fields, gradio.Button("Draw", variant="primary")


def _side(number: int) -> tuple[Any, Any, Any]:
    import gradio

    with gradio.Column(min_width=240, elem_id=f"side-{number}"):
        return gradio.Markdown(), gradio.HTML(elem_classes="drawn"), gradio.Markdown()


def _looks(playground: Playground, model: str | None) -> list[Any]:
    """Each field shown or hidden, and the sides named, for ``model``."""
    if model is None:
        none = Shown("### No model is registered yet", "<p>Train and register some with <code>genmill run</code>, then load this page again.</p>", "")
        return [*_field_looks(Fields()), *_both_sides([none])]
    contenders = playground.contenders(model)
    try:
        fields = playground.fields(contenders[0].ref)
    except UserError as error:
        return [*_field_looks(Fields()), *_both_sides([_named(contenders[0], _refused(str(error)))])]
    return [*_field_looks(fields), *_both_sides([_named(contender) for contender in contenders])]


def _field_looks(fields: Fields) -> list[Any]:
    """An update of each field but the first, in the order of `Form`."""
    import gradio

    shows = gradio.update
    return [
        shows(visible=fields.prompt, value=fields.example),
        shows(visible=bool(fields.labels), choices=[("any", ""), *((name, name) for name in fields.labels)], value=""),
        shows(visible=fields.image, value=None),
        shows(visible=fields.num is not None, value=fields.num or 1),
        gradio.skip(),
        shows(visible=fields.strength),
        shows(visible=fields.steps, value=0),
        shows(visible=fields.steps, value=0),
        shows(visible=fields.temperature),
        shows(visible=fields.temperature),
    ]


def _drawn(playground: Playground, form: Form) -> list[str]:
    return _both_sides([shown_side(playground, contender, form) for contender in playground.contenders(form.model)])
