"""Verbs on registered models: models, compare, sample, export."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import UserError, writing
from genmill.options import JsonOption, ProjectOption, complete_model, open_project

if TYPE_CHECKING:
    from components.registry.asking import Drawn

RefArgument = Annotated[str, typer.Argument(help="MODEL, MODEL@champion, MODEL/3 or a run id.", autocompletion=complete_model)]


def add_to(app: typer.Typer) -> None:
    for verb in (models, compare, sample, export):
        app.command()(verb)


def models(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Every model with its champion and candidate, figures and data version.

    Example: [bold]genmill models[/]
    """
    where = open_project(project)
    from components.registry.lineage import overview
    from components.tracking import Tracker
    from genmill.console import print_json, print_table

    found = overview(Tracker.of(where))
    if as_json:
        print_json(found)
        return
    rows = [(o.model, o.champion, o.candidate, o.figures, o.data_version, o.run_id) for o in found]
    print_table("Models", ("model", "champion", "candidate", "candidate's figures", "data", "run"), rows)


def compare(
    refs: Annotated[list[str], typer.Argument(help="Two or more of MODEL, MODEL@champion, MODEL/3 or run ids.", autocompletion=complete_model)],
    out_file: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Where the page goes (default: the project's reports).")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Figures, samples, curves, cost, params, data and code of any number of models side by side; writes an HTML page.

    Example: [bold]genmill compare vae-digits/1 vae-digits/2 gan-digits --out digits.html[/]
    """
    where = open_project(project)
    if out_file is not None:
        with writing(out_file):  # before the work, not after it
            out_file.parent.mkdir(parents=True, exist_ok=True)
    from components.report.compare import compare as compare_refs
    from components.tracking import Tracker
    from genmill.console import out, print_json, print_table
    from pipelines.servers import find_server

    server = find_server(where, "mlflow")
    result = compare_refs(where, Tracker.of(where), refs, server=server.url if server else None, out=out_file)
    if as_json:
        print_json(result)
        return
    print_table("Figures", ("figure", *result.refs, "beside it", "difference"), result.figure_rows)
    print_table("What differs", ("what", *result.refs), result.difference_rows)
    for note in result.notes:
        out.print(note, soft_wrap=True)
    out.print(f"Page       {result.page}", soft_wrap=True)


def sample(
    ref: RefArgument,
    num: Annotated[int | None, typer.Option("-n", help="How many: 16 pictures, one text, or the 5 best words, unless said.", min=1, max=10000)] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Text to continue, answer, draw or compare, text with a [MASK], or a word whose neighbours are wanted.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="A class, or a topic of texts, where the model is conditional.")] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="A picture to draw anew, to reconstruct, to describe or to ask about, as the family does.")
    ] = None,
    strength: Annotated[float | None, typer.Option("--strength", help="With --from: how far to go from the picture.", min=0.01, max=1.0)] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same samples.")] = 0,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of the sampler, where the model draws in steps.", min=1, max=10000)] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="euler, heun, ddim or ddpm, where the model draws in steps.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="How strongly the class or the prompt is heeded; 1 is plain.", min=0.01, max=100.0)
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="Of text: below 1 is more careful, above 1 bolder; 0.8, or 0 for a single answer.", min=0.0, max=10.0),
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Of text: draw from the k likeliest tokens.", min=1)] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Of text: draw from the likeliest tokens of this share.", min=0.01, max=1.0)] = None,
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", help="Of text: longest continuation.", min=1, max=4096)] = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help=r"Of text: ends before this string (\\n is a line's end); may be repeated.")] = None,
    clip: Annotated[
        str | None, typer.Option("--clip", help="Of text-to-image: a model such as clip-glyphs that steers towards the prompt.", autocompletion=complete_model)
    ] = None,
    clip_guidance: Annotated[float | None, typer.Option("--clip-guidance", help="With --clip: how strongly; 1 unless said.", min=0.0, max=100.0)] = None,
    captioner: Annotated[
        str | None, typer.Option("--captioner", help="Who says what came out (default: one of the same dataset).", autocompletion=complete_model)
    ] = None,
    out_file: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Where the picture or text goes.")] = None,
    project: ProjectOption = None,
) -> None:
    """Pictures or text from a registered model; of a scene a walk round it, moving where --out ends in .gif.

    Example: [bold]genmill sample vae-digits@champion -n 64 --seed 7 --out digits.png[/]

    From a picture: [bold]genmill sample diffusion-digits --from image.png --strength 0.6[/]

    From words: [bold]genmill sample text-to-image-glyphs --prompt "greek capital letter omega, stix bold"[/]

    Code: [bold]genmill sample gpt-stdlib --prompt "def area(" --temperature 0.7 --top-k 50 --max-new-tokens 200[/]
    """
    where = open_project(project)
    if strength is not None and from_file is None:
        raise UserError("--strength says how far to go from a picture: give one with --from.")
    from components.registry.asking import SampleRequest
    from components.registry.sampling import sample_registered
    from components.tracking import Tracker

    request = SampleRequest(
        num=num, prompt=prompt, label=label, image=from_file, strength=strength, seed=seed, temperature=temperature, top_k=top_k, top_p=top_p,
        max_new_tokens=max_new_tokens, stop=tuple(map(_with_line_ends, stop)) if stop else None, steps=steps, sampler=sampler, guidance=guidance,
        clip=clip, clip_guidance=clip_guidance, captioner=captioner, animated=out_file is not None and out_file.suffix.lower() == ".gif",
    )  # fmt: skip
    if out_file is not None:
        with writing(out_file):  # before the work, not after it
            out_file.parent.mkdir(parents=True, exist_ok=True)
    streams = out_file is None and sys.stdout.isatty()
    told: list[str] = []
    drawn = sample_registered(where, Tracker.of(where), ref, request, on_text=lambda piece: _put(piece, told) if streams else None)
    for note in drawn.notes:
        print(note, file=sys.stderr)
    if drawn.text is not None and out_file is None:
        print(drawn.text.removeprefix("".join(told)))
        return
    _write(drawn, out_file or Path(f"{ref.replace('/', '-').replace('@', '-')}-seed{seed}.{'png' if drawn.png is not None else 'txt'}"))


def export(
    ref: RefArgument,
    to: Annotated[Path, typer.Option("--to", help="A new folder.")],
    project: ProjectOption = None,
) -> None:
    """A registered model as a folder that transformers reads (AutoModelForCausalLM, AutoTokenizer); `init_from` takes it too.

    Example: [bold]genmill export gpt-stdlib@champion --to exported[/]
    """
    where = open_project(project)
    from components.registry.export import export_registered
    from components.tracking import Tracker
    from genmill.console import out

    version = export_registered(where, Tracker.of(where), ref, to)
    out.print(f"Wrote {to} ({version} as transformers reads it)", soft_wrap=True)


def _write(drawn: "Drawn", target: Path) -> None:
    """What was drawn as a file; what a captioner says of it on the terminal."""
    from genmill.console import out

    with writing(target):
        target.write_bytes(drawn.png or drawn.gif or (drawn.text or "").encode())
    out.print(f"Wrote {target} ({drawn.description})", soft_wrap=True)
    for caption in drawn.captions:
        print(caption)


def _put(piece: str, told: list[str]) -> None:
    print(piece, end="", flush=True)
    told.append(piece)


def _with_line_ends(text: str) -> str:
    r"""``text`` as it was meant on a command line, where a line's end is hard to type: `\n`, `\t` and `\\`."""
    return re.sub(r"\\([nt\\])", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), text)
