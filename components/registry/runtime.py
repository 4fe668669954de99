"""A packaged model brought to life: the code that answers requests, wherever it runs.

It travels inside every package, so it imports only what a package needs.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.code import PACKAGE_ROOT, code_digest
from components.errors import UserError, nearest
from components.models.family import find_family
from components.params import Strict
from components.registry import images_and_text, prompts, wire
from components.registry.continuing import GrowingText, OnText

SPEC_FILE = "spec.json"
WEIGHTS_FILE = "model.safetensors"


class PackageSpec(Strict):
    """What a package says of itself, `spec.json`."""

    format: int = 1
    model: str
    """The name in the registry."""
    family: str
    config: dict[str, Any]
    data_spec: dict[str, Any]
    abilities: tuple[str, ...]
    identity: str
    """Run identity: sha256 of config, data version and code."""
    dataset: str
    data_version: str
    data_sha256: str
    modules: tuple[str, ...]
    """Roots of the code that is packaged; everything of `components` that they import is there."""
    code_sha256: str
    """Digest of that code, see `components.code`."""


class Runtime:
    """A model that answers requests; one at a time, so that draws stay repeatable."""

    def __init__(self, model: Any, spec: PackageSpec) -> None:
        self.model, self.spec = model, spec
        self._lock = threading.Lock()

    @classmethod
    def open(cls, artifacts: Path) -> "Runtime":
        """Build the model of the package whose ``artifacts`` folder this is, in evaluation mode on the CPU.

        Raises:
            UserError: this process has imported other code than the package was made with.
        """
        from safetensors.torch import load_model

        spec = read_spec(artifacts)
        check_code(spec, artifacts)
        model = build_model(spec)
        load_model(model, artifacts / WEIGHTS_FILE)
        return cls(model.eval(), spec)

    def predict(
        self, rows: Sequence[Mapping[str, Any]], params: Mapping[str, Any] | None = None, on_text: OnText | None = None, steer: Any = None
    ) -> wire.Rows:
        """Answer one request in the wire format; ``on_text`` gets the pieces of the first text while it grows.

        ``steer`` moves what is drawn from text, see `capabilities.DrawsFromText`.

        Raises:
            BadRequestError: see `wire.parse_request`.
        """
        import torch

        names = self.model.data.class_names
        parsed, parameters = wire.parse_request(rows, params, abilities=self.spec.abilities, class_names=names)
        answers: wire.Rows = []
        with self._lock, torch.inference_mode():
            for index, row in enumerate(parsed):
                # No two draws of a request share a seed, also where a model counts on from the one it is given.
                told = on_text if not answers else None
                answers += [{"row": index, **answer} for answer in self._answer(row, parameters, parameters.seed + len(answers), told, steer)]
        return answers

    def _answer(self, row: wire.Row, parameters: wire.Parameters, seed: int, on_text: OnText | None, steer: Any) -> wire.Rows:
        if {wire.MATCHES_IMAGES_AND_TEXT, wire.JUDGES_PAIRS} & set(self.spec.abilities):
            image = None if row.image is None else self._tensor(row.image)
            return images_and_text.answer(self.model, self.spec.abilities, row, image)
        if wire.DRAWS_FROM_TEXT in self.spec.abilities:
            return self._draw_from_text(row, parameters, seed, steer)
        if row.image is not None and wire.CAPTIONS_IMAGES in self.spec.abilities:
            return self._caption(row, parameters, seed)
        if row.image is not None:
            return self._edit(row, parameters, seed) if wire.EDITS_IMAGES in self.spec.abilities else self._reconstruct(row.image)
        if row.text is not None:
            return prompts.embed(self.model, self._tokenizer(), row.text)
        answers: dict[str, Callable[[], wire.Rows]] = {
            wire.CONTINUES_TEXT: lambda: self._continue(row, parameters, seed, on_text),
            wire.MAPS_TEXT: lambda: prompts.map_text(self.model, self._tokenizer(), row.prompt, row.n, parameters, seed),
            wire.FILLS_MASKS: lambda: prompts.fill(self.model, self._tokenizer(), row.prompt, row.n),
            wire.RELATES_WORDS: lambda: prompts.relate(self.model, self._tokenizer(), row.prompt, row.n),
            wire.SAMPLES_IMAGES: lambda: self._sample(row, parameters, seed),
            wire.RENDERS_VIEWS: lambda: self._render(row),
        }
        for ability, answer in answers.items():
            if ability in self.spec.abilities:
                return answer()
        raise wire.BadRequestError("This model answers only requests with the column image.")

    def _sample(self, row: wire.Row, parameters: wire.Parameters, seed: int) -> wire.Rows:
        images = self.model.sample_images(row.n, seed=seed, labels=_labels(row), settings=self._settings(parameters))
        return self._drawn(images, row, seed)

    def _edit(self, row: wire.Row, parameters: wire.Parameters, seed: int) -> wire.Rows:
        assert row.image is not None
        guides = self._tensor(row.image).expand(row.n, -1, -1, -1)
        settings = self._settings(parameters)
        return self._drawn(self.model.edit_images(guides, strength=parameters.strength, seed=seed, labels=_labels(row), settings=settings), row, seed)

    def _draw_from_text(self, row: wire.Row, parameters: wire.Parameters, seed: int, steer: Any) -> wire.Rows:
        """Images as the prompt says, from noise or from the image that is given."""
        tokens = prompts.caption_tokens(self.model.data, row.prompt, self.model.caption_length).expand(row.n, -1)
        settings = self._settings(parameters)
        if row.image is None:
            images = self.model.draw_from_text(tokens, seed=seed, settings=settings, steer=steer)
        else:
            guides = self._tensor(row.image).expand(row.n, -1, -1, -1)
            images = self.model.edit_from_text(guides, tokens, strength=parameters.strength, seed=seed, settings=settings, steer=steer)
        return [{"seed": seed, "prompt": row.prompt, "image": wire.encode_png(_picture(image))} for image in images]

    def _drawn(self, images: Any, row: wire.Row, seed: int) -> wire.Rows:
        name = None if row.label is None else self.model.data.class_names[row.label]
        return [{"seed": seed, "label": name, "image": wire.encode_png(_picture(image))} for image in images]

    def _settings(self, parameters: wire.Parameters) -> Any:
        from components.models.capabilities import SamplerSettings

        known = getattr(self.model, "samplers", ())
        if parameters.sampler and parameters.sampler not in known:
            raise wire.BadRequestError(f"There is no sampler {parameters.sampler!r}; {nearest(parameters.sampler, known)}")
        return SamplerSettings(parameters.steps or None, parameters.sampler or None, parameters.guidance or None)

    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.model.data.tokenizer)

    def _continue(self, row: wire.Row, parameters: wire.Parameters, seed: int, on_text: OnText | None) -> wire.Rows:
        tokenizer = self._tokenizer()
        texts = [GrowingText(tokenizer, parameters.stop, on_text if index == 0 else None) for index in range(row.n)]
        continued = self.model.continue_tokens(
            [prompts.causal_prompt(self.model, tokenizer, row)] * row.n,
            max_new_tokens=parameters.max_new_tokens,
            seed=seed,
            temperature=parameters.temperature,
            top_k=parameters.top_k or None,
            top_p=parameters.top_p if parameters.top_p < 1 else None,
            ends=lambda index, tokens: texts[index].ends(tokens),
        )
        return [{"seed": seed, "prompt": row.prompt, "text": text.finished(tokens)} for text, tokens in zip(texts, continued, strict=True)]

    def _render(self, row: wire.Row) -> wire.Rows:
        from components.cameras import Camera

        scene, view = self.model.data.scene, row.view
        if view.pose is not None:
            return [{**self._seen(Camera(scene.lens, view.pose)), "azimuth": None, "elevation": None}]
        azimuths = [(view.azimuth + 360 * index / row.n) % 360 for index in range(row.n)]
        elevation = scene.orbit.elevation if view.elevation is None else view.elevation
        return [{**self._seen(scene.orbit.camera(scene.lens, azimuth, elevation)), "azimuth": azimuth, "elevation": elevation} for azimuth in azimuths]

    def _seen(self, camera: Any) -> dict[str, str]:
        scene, rendering = self.model.data.scene, self.model.render(camera)
        share = ((rendering.depth - scene.near) / (scene.far - scene.near)).clamp(0, 1)
        return {"image": wire.encode_png(_picture(rendering.rgb.permute(2, 0, 1))), "depth": wire.encode_png(_grey16(share))}

    def _caption(self, row: wire.Row, parameters: wire.Parameters, seed: int) -> wire.Rows:
        """The likeliest caption of the image, and behind it those that are drawn."""
        assert row.image is not None
        image, tokenizer = self._tensor(row.image), self._tokenizer()
        captions = self.model.caption_images(image, seed=seed, max_new_tokens=parameters.max_new_tokens)
        if row.n > 1:
            guides, temperature = image.expand(row.n - 1, -1, -1, -1), parameters.temperature
            captions += self.model.caption_images(guides, seed=seed, temperature=temperature, max_new_tokens=parameters.max_new_tokens)
        # White space as cleaning leaves it in captions: a line each.
        return [{"seed": seed, "text": " ".join(tokenizer.decode(tokens).split())} for tokens in captions]

    def _reconstruct(self, png: bytes) -> wire.Rows:
        return [{"image": wire.encode_png(_picture(self.model.reconstruct(self._tensor(png))[0]))}]

    def _tensor(self, png: bytes) -> Any:
        """The image in ``png`` as the model takes it, [1, C, S, S] in [0, 1]."""
        import numpy as np
        import torch

        data = self.model.data
        pixels = np.asarray(wire.open_png(png, wire.MODES[data.channels], data.image_size), dtype=np.float32) / 255
        return torch.from_numpy(pixels.reshape(1, data.image_size, data.image_size, data.channels)).permute(0, 3, 1, 2)


def read_spec(artifacts: Path) -> PackageSpec:
    return PackageSpec.model_validate_json((artifacts / SPEC_FILE).read_bytes())


def build_model(spec: PackageSpec) -> Any:
    """The network of ``spec`` with fresh weights."""
    from components.models.capabilities import DataSpec

    family = find_family(spec.family)
    return family.load_class()(family.config.model_validate(spec.config), DataSpec.from_dict(spec.data_spec))


def check_code(spec: PackageSpec, artifacts: Path) -> None:
    """Refuse to run a package with other code than its own."""
    if (artifacts.resolve().parent / "code") == PACKAGE_ROOT or code_digest(*spec.modules) == spec.code_sha256:
        return
    raise UserError(
        f"This process has already imported another version of Genmill than {spec.model} was packaged with: "
        "load the model in a fresh process, or with components.registry.loading.load_package."
    )


def abilities_of(model: Any) -> tuple[str, ...]:
    """What ``model`` can answer."""
    from components.models import capabilities

    known = {
        wire.SAMPLES_IMAGES: capabilities.SamplesImages,
        wire.SAMPLES_IN_STEPS: capabilities.SamplesInSteps,
        wire.EDITS_IMAGES: capabilities.EditsImages,
        wire.RECONSTRUCTS: capabilities.Reconstructs,
        wire.CONTINUES_TEXT: capabilities.ContinuesText,
        wire.MAPS_TEXT: capabilities.MapsText,
        wire.FILLS_MASKS: capabilities.FillsMasks,
        wire.RELATES_WORDS: capabilities.RelatesWords,
        wire.EMBEDS_TEXT: capabilities.EmbedsText,
        wire.RENDERS_VIEWS: capabilities.RendersViews,
        wire.MATCHES_IMAGES_AND_TEXT: capabilities.MatchesImagesAndText,
        wire.CAPTIONS_IMAGES: capabilities.CaptionsImages,
        wire.JUDGES_PAIRS: capabilities.JudgesPairs,
        wire.ANSWERS_QUESTIONS: capabilities.AnswersQuestions,
        wire.FILLS_CAPTIONS: capabilities.FillsCaptions,
        wire.DRAWS_FROM_TEXT: capabilities.DrawsFromText,
    }
    return tuple(name for name, capability in known.items() if isinstance(model, capability))


def _labels(row: wire.Row) -> Any:
    import torch

    return None if row.label is None else torch.full((row.n,), row.label, dtype=torch.int64)


def _grey16(share: Any) -> Any:
    """A tensor [H, W] in [0, 1] as a PIL image of 16 bits."""
    import numpy as np
    from PIL import Image

    return Image.fromarray((share.double().cpu().numpy() * 65535).round().astype(np.uint16))


def _picture(image: Any) -> Any:
    """An image tensor [C, H, W] in [0, 1] as a PIL image."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
