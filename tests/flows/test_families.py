"""Each family goes the whole way by the real command line: trained, evaluated, registered, sampled, audited."""

import io
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.errors import UserError
from components.evaluation.views import ORBIT_FRAMES
from components.project import Project
from components.registry.asking import Drawn, SampleRequest
from components.registry.lineage import ModelOverview, audit, overview
from components.registry.references import resolve
from components.registry.sampling import sample_registered
from components.registry.stored import stored_figures
from components.tracking import Tracker
from tests.workshop import Workshop, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # the fixture trains eleven models, one after the other


@pytest.fixture(scope="module")
def trained(built: tuple[Workshop, object]) -> Workshop:
    """The small project after families of images, of a scene, of captioned images and of words have been trained in it."""
    shop = built[0]
    of_captions = ("clip-captions", "fusion-captions", "captioner-captions", "text-to-image-captions")
    of_words = ("bert-pydocs", "word2vec-pydocs", "t5-pydocs", "t5-docstrings")
    done = shop.run("run", "gan-digits", "diffusion-digits", "nerf-scene", *of_captions, *of_words, timeout=1400)
    assert "ALARM: mode collapse at step 15" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "warning" not in (done.stderr + done.stdout).lower()
    return shop


def sampled(trained: Workshop, ref: str, **request: Any) -> Drawn:
    """What `genmill sample` prints or writes, without the seconds that a new process takes to start."""
    project = Project(trained.root)
    return sample_registered(project, Tracker.of(project), ref, SampleRequest(**request))


def overviewed(trained: Workshop, model: str) -> ModelOverview:
    """What `genmill models` says of ``model``."""
    return next(found for found in overview(Tracker.of(Project(trained.root))) if found.model == model)


def holds(trained: Workshop, ref: str) -> bool:
    """Whether an audit of ``ref`` finds every link."""
    project = Project(trained.root)
    return audit(project, Tracker.of(project), ref).ok


def lines(drawn: Drawn) -> list[str]:
    assert drawn.text is not None
    return drawn.text.splitlines()


def figures(trained: Workshop, model: str) -> set[str]:
    """Names of the figures of the newest version of ``model``."""
    tracker = Tracker.of(Project(trained.root))
    return {figure.name for figure in stored_figures(tracker, resolve(tracker, model).run_id)}


@pytest.mark.parametrize(
    ("model", "pictures"),
    [
        ("gan-digits", {"samples", "nearest"}),
        ("diffusion-digits", {"samples", "nearest", "forward_diffusion", "reverse_diffusion", "image_to_image", "image_to_image_curve"}),
    ],
)
def test_a_family_is_registered_with_its_figures_and_pictures(trained: Workshop, model: str, pictures: set[str]) -> None:
    found = overviewed(trained, model)
    assert found.candidate == 1
    assert "fid_own" in found.figures
    page = (trained.root / "reports" / "run.html").read_text()
    assert all(name in page for name in pictures | {"neighbour_ratio", "recall_own"})
    assert holds(trained, model)


def test_an_alarm_of_mode_collapse_stays_with_the_run_the_card_and_the_report(trained: Workshop) -> None:
    tracker = Tracker.of(Project(trained.root))
    run = tracker.latest_run("digits", "gan-digits")
    assert run is not None
    assert run.tag("alarm").startswith("mode collapse at step 15: samples cover")
    assert "Alarm while training: mode collapse at step 15" in (trained.root / "reports" / "run.html").read_text()


def test_a_scene_is_registered_with_its_figures_and_a_walk_round_it(trained: Workshop) -> None:
    found = overviewed(trained, "nerf-scene")
    assert found.candidate == 1
    assert "psnr" in found.figures
    page = (trained.root / "reports" / "run.html").read_text()
    assert "data:image/gif;base64," in page
    tracker = Tracker.of(Project(trained.root))
    run = tracker.latest_run("scene", "nerf-scene")
    assert run is not None
    assert {figure.name for figure in stored_figures(tracker, run.run_id)} == {"psnr", "ssim"}
    gif = tracker.read_artifact(run.run_id, "evaluation/animations/orbit.gif")
    assert gif is not None
    with Image.open(io.BytesIO(gif)) as orbit:
        assert (orbit.n_frames, orbit.info["loop"]) == (ORBIT_FRAMES, 0)
    assert {"evaluation/pictures/views.png", "evaluation/pictures/depth.png"} <= set(tracker.list_artifacts(run.run_id, "evaluation/pictures"))
    assert holds(trained, "nerf-scene")


@pytest.mark.parametrize(("model", "figure"), [("bert-pydocs", "masked_perplexity"), ("word2vec-pydocs", "context_perplexity")])
def test_a_model_of_words_is_registered_with_its_figures_and_the_report_on_its_vocabulary(trained: Workshop, model: str, figure: str) -> None:
    found = overviewed(trained, model)
    assert found.candidate == 1
    assert figure in found.figures
    tracker = Tracker.of(Project(trained.root))
    run = tracker.latest_run("pydocs", model)
    assert run is not None
    assert "evaluation/pictures/token_map.png" in tracker.list_artifacts(run.run_id, "evaluation/pictures")
    texts = {f"evaluation/texts/{name}.txt" for name in ("tokens", "neighbours", "analogies")}
    assert texts <= set(tracker.list_artifacts(run.run_id, "evaluation/texts"))
    page = (trained.root / "reports" / "run.html").read_text()
    assert all(name in page for name in ("<h4>analogies</h4>", "token map", figure))
    assert holds(trained, model)


@pytest.mark.parametrize(("model", "named", "text"), [("t5-pydocs", {"exact_spans"}, "samples"), ("t5-docstrings", {"rouge_l", "bleu"}, "answers")])
def test_text_is_mapped_to_text_by_models_of_gaps_and_of_pairs(trained: Workshop, model: str, named: set[str], text: str) -> None:
    assert named | {"target_perplexity"} <= figures(trained, model)
    assert f"<h4>{text}</h4>" in (trained.root / "reports" / "run.html").read_text()
    assert holds(trained, model)


def test_a_model_begins_with_one_of_the_same_build(trained: Workshop) -> None:
    run = Tracker.of(Project(trained.root)).latest_run("docstrings", "t5-docstrings")
    assert run is not None
    assert run.tag("init_from") == "t5-pydocs/1"
    assert ("t5-docstrings", "reuse") in {(row["what"], row["action"]) for row in trained.json("plan", "t5-docstrings", "t5-pydocs")}


def test_gaps_are_filled_and_neighbours_named(trained: Workshop) -> None:
    filled = trained.run("sample", "bert-pydocs", "--prompt", "a [MASK] object").stdout.splitlines()
    assert filled[0] == "a [MASK] object"
    assert len(filled) == 6
    assert lines(sampled(trained, "t5-pydocs", prompt="a [MASK] object", max_new_tokens=300))[0].startswith("a")
    assert sampled(trained, "t5-docstrings", prompt="def area(width): return width", num=2, temperature=1.0).text
    assert len(lines(sampled(trained, "word2vec-pydocs", prompt="objects - object + class", num=3))) == 4


def test_a_scene_is_sampled_as_an_animation(trained: Workshop, tmp_path: Path) -> None:
    done = trained.run("sample", "nerf-scene", "-n", "4", "--out", str(tmp_path / "orbit.gif"))
    assert "4 views of nerf-scene/1, once round its scene" in done.stdout
    with Image.open(tmp_path / "orbit.gif") as orbit:
        assert (orbit.format, orbit.n_frames, orbit.info["loop"]) == ("GIF", 4, 0)


def test_samples_repeat_and_heed_label_steps_and_sampler(trained: Workshop, tmp_path: Path) -> None:
    settings = {"num": 4, "label": "3", "sampler": "ddim", "guidance": 2.0}
    options = ("-n", "4", "--label", "3", "--steps", "3", "--sampler", "ddim", "--guidance", "2")
    trained.run("sample", "diffusion-digits", *options, "--out", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes() == sampled(trained, "diffusion-digits", steps=3, **settings).png
    assert (tmp_path / "a.png").read_bytes() != sampled(trained, "diffusion-digits", steps=4, **settings).png


def test_a_picture_is_drawn_anew(trained: Workshop, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "image.png")
    drawn = sampled(trained, "diffusion-digits", image=tmp_path / "image.png", strength=0.6, num=3)
    assert "the picture given and 3 pictures drawn anew by diffusion-digits/1" in drawn.description
    assert drawn.png is not None
    with Image.open(io.BytesIO(drawn.png)) as grid:
        assert grid.size == (2 * 52 + 4, 2 * 52 + 4)


@pytest.mark.parametrize(
    ("model", "request_", "sentence"),
    [
        ("captioner-captions", {}, "says what a picture shows: give one with --from."),
        ("gan-digits", {"steps": 5}, "does not draw in steps"),
        ("nerf-scene", {"label": "3"}, "renders views of its scene: leave --label out"),
        ("gan-digits", {"animated": True}, "renders no views, so there is nothing to animate"),
        ("bert-pydocs", {"prompt": "no gap"}, r"The prompt has no \[MASK\]"),
        ("t5-pydocs", {"prompt": "no gap"}, "and this model fills gaps only: write one"),
        ("t5-docstrings", {"prompt": " "}, "The prompt is empty: give the text that the model shall answer."),
        ("word2vec-pydocs", {"prompt": "exeption"}, "does not know the word 'exeption'; did you mean 'exception'"),
        ("diffusion-digits", {"sampler": "oiler"}, "did you mean 'euler'"),
        ("text-to-image-captions", {}, "The prompt is empty: say what the picture shows, like 'a handwritten digit"),
        ("clip-captions", {}, "give a picture with --from"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(trained: Workshop, model: str, request_: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        sampled(trained, model, **request_)


def test_on_the_command_line_that_sentence_is_all_and_the_exit_code_is_2(trained: Workshop) -> None:
    done = trained.run("sample", "gan-digits", "--strength", "0.5", code=2)
    assert done.stderr.strip().endswith("give one with --from.")
    assert "Traceback" not in done.stdout + done.stderr


def test_a_captioner_says_what_a_picture_shows(trained: Workshop, tmp_path: Path) -> None:
    found = overviewed(trained, "captioner-captions")
    assert found.candidate == 1
    assert all(name in found.figures for name in ("caption_perplexity", "cider"))
    assert "captions of captioner-captions" in (trained.root / "reports" / "run.html").read_text()
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 30), (200, 30, 30)).save(picture)
    one, three = (lines(sampled(trained, "captioner-captions", image=picture, **more)) for more in ({}, {"num": 3}))
    assert (len(one), len(three)) == (1, 3)
    assert one[0] == three[0]
    assert holds(trained, "captioner-captions")


def test_images_and_captions_are_compared_from_the_registry(trained: Workshop, tmp_path: Path) -> None:
    found = overviewed(trained, "clip-captions")
    assert found.candidate == 1
    assert all(name in found.figures for name in ("recall_at_1", "zero_shot_accuracy"))
    assert "retrieval of clip-captions" in (trained.root / "reports" / "run.html").read_text()
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 30), (200, 30, 30)).save(picture)
    likeliest = lines(sampled(trained, "clip-captions", image=picture, num=3))
    assert len(likeliest) == 3
    assert all(line.strip()[-1] in "0123456789" and "%" in line for line in likeliest)
    (similarity,) = lines(sampled(trained, "clip-captions", image=picture, prompt="a handwritten digit three"))
    assert -1 <= float(similarity.split()[0]) <= 1
    assert holds(trained, "clip-captions")


def test_image_and_text_are_looked_at_together_from_the_registry(trained: Workshop, tmp_path: Path) -> None:
    assert {"recall_at_1", "matching_accuracy", "masked_word_accuracy", "answer_accuracy"} <= figures(trained, "fusion-captions")
    page = (trained.root / "reports" / "run.html").read_text()
    assert "questions of fusion-captions" in page
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 30), (200, 30, 30)).save(picture)
    likeliest = lines(sampled(trained, "fusion-captions", image=picture, prompt="which digit is it?", num=3))
    assert len(likeliest) == 3
    assert all(line.strip()[-1] in "0123456789" and "%" in line for line in likeliest)
    (judged,) = lines(sampled(trained, "fusion-captions", image=picture, prompt="a handwritten digit three"))
    assert 0 <= float(judged.split()[0]) <= 100
    assert lines(sampled(trained, "fusion-captions", image=picture, prompt="a handwritten digit [MASK]"))[0] == "a handwritten digit [MASK]"
    with pytest.raises(UserError, match=r"ask one of 'which digit is it\?'"):
        sampled(trained, "fusion-captions", image=picture, prompt="who wrote it?")
    assert holds(trained, "fusion-captions")


def test_words_become_pictures_and_those_are_steered_and_captioned(trained: Workshop, tmp_path: Path) -> None:
    assert {"fid_own", "class_agreement_own", "clip_score_own"} <= figures(trained, "text-to-image-captions")
    assert "reverse_diffusion of text-to-image-captions" in (trained.root / "reports" / "run.html").read_text()
    drawn = trained.run("sample", "text-to-image-captions", "--prompt", "a handwritten digit seven", "-n", "3", "--out", str(tmp_path / "seven.png"))
    assert "3 pictures of 'a handwritten digit seven'" in drawn.stdout
    assert len(drawn.stdout.splitlines()) == 1 + 3, "one caption for each"
    given = {"image": tmp_path / "seven.png", "prompt": "a handwritten digit one", "num": 2}
    steered = sampled(trained, "text-to-image-captions", clip="clip-captions", clip_guidance=2.0, **given)
    assert "steered by clip-captions" in steered.description
    assert len(steered.captions) == 2
    assert steered.png != sampled(trained, "text-to-image-captions", **given).png
    assert holds(trained, "text-to-image-captions")


def test_image_and_text_in_image_and_caption_out_is_one_flow(trained: Workshop, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("L", (20, 20), 90).save(picture)
    script = (
        "from pipelines.draw import draw\n"
        f"given = dict(project={str(trained.root)!r}, image={str(picture)!r}, out={str(tmp_path / 'out' / 'two.png')!r}, num=2)\n"
        "done = draw(ref='text-to-image-captions', prompt='a handwritten digit two', **given)\n"
        "assert len(done.captions) == 2, done\n"
    )
    exported = dict(line.removeprefix("export ").split("=", 1) for line in trained.run("env").stdout.splitlines() if "=" in line)
    environment = {**clean_environment(), **{name: shlex.split(value)[0] for name, value in exported.items() if name != "PATH"}}
    done = subprocess.run([sys.executable, "-c", script], cwd=trained.root, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "two.png") as drawn:
        assert drawn.size[0] > 0
    assert len((tmp_path / "out" / "two.txt").read_text().splitlines()) == 2


def test_an_empty_text_is_not_compared(trained: Workshop, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "picture.png")
    with pytest.raises(UserError, match="--prompt is empty: write what the picture may show"):
        sampled(trained, "clip-captions", image=tmp_path / "picture.png", prompt=" ")
