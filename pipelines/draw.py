"""Flow: image and text in, image and caption out."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from components.params import Strict
from components.project import Project
from components.registry.asking import Drawn, SampleRequest
from components.registry.sampling import sample_registered
from components.tracking import Tracker
from pipelines.tasks import a_retry_can_help


class DrawnFiles(Strict):
    """What the flow left."""

    picture: Path
    captions: tuple[str, ...]
    """What a captioner says of each picture; empty where none is registered."""
    description: str


@task(name="draw and caption", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def draw_and_caption(project: str, ref: str, request: SampleRequest) -> Drawn:
    where = Project(Path(project))
    return sample_registered(where, Tracker.of(where), ref, request)


@flow(name="draw", flow_run_name="draw-{ref}")
def draw(
    project: str, ref: str, prompt: str, out: str, image: str | None = None, strength: float | None = None, num: int = 4, seed: int = 0, clip: str | None = None
) -> DrawnFiles:
    """Draw ``num`` pictures as ``prompt`` says, from noise or from ``image``, into the file ``out``, with a caption of each beside it (.txt).

    ``ref`` is a registered model that draws from text; the captioner is one of the same dataset, ``clip`` steers.
    """
    request = SampleRequest(prompt=prompt, image=Path(image) if image else None, strength=strength, num=num, seed=seed, clip=clip)
    drawn = draw_and_caption(project, ref, request)
    picture = Path(out)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(drawn.png or b"")
    picture.with_suffix(".txt").write_text("".join(f"{caption}\n" for caption in drawn.captions), encoding="utf-8")
    shown = "\n".join(f"1. {caption}" for caption in drawn.captions) or "; ".join(drawn.notes)
    create_markdown_artifact(key="drawn", markdown=f"{drawn.description}\n\n{shown}\n\n`{picture}`", description="What came out, in the captioner's words")
    return DrawnFiles(picture=picture, captions=drawn.captions, description=drawn.description)
