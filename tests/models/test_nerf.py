"""The radiance field renders as the theory says, learns, and keeps what its capability promises."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from components.cameras import Camera, Lens
from components.errors import UserError
from components.models.capabilities import DataSpec, Finishes, RendersViews, SamplesImages
from components.models.family import find_family
from components.models.nerf.config import NerfConfig
from components.models.nerf.fields import INITIAL_DENSITY, ClassicMlp, Planes
from components.models.nerf.model import Nerf
from components.models.nerf.occupancy import OccupancyGrid
from components.models.nerf.rendering import contracted, crossing, edges, resampled, spread, weights_of, within
from components.params import load
from tests.models.scenes import LENS, SCENE, SMALL_NERF, VIEWS, rays

FIELDS = ("planes", "hash", "mlp")
FACING = (0.0, 0.0, 1.0, 3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
"""At x = 3, looking along -x."""


class Matter(nn.Module):
    """Red of a density that the first axis decides: ``density`` where ``low`` < x < ``high``, in the field's cube."""

    def __init__(self, density: float, low: float = -2.0, high: float = 2.0) -> None:
        super().__init__()
        self.density, self.low, self.high = density, low, high

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.density * ((points[:, 0] > self.low) & (points[:, 0] < self.high)).float(), points

    def rgb(self, passed: Tensor, directions: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(passed), 3)


def make(data: DataSpec = VIEWS, **settings: object) -> Nerf:
    torch.manual_seed(0)
    model = Nerf(NerfConfig.model_validate({**SMALL_NERF, **settings}), data)
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def made_of(matter: Matter, data: DataSpec = VIEWS, samples: int = 64) -> Nerf:
    model = make(data, samples=samples).eval()
    model.field = matter  # type: ignore[assignment]
    return model


def train(model: Nerf, batch: dict[str, Tensor], steps: int) -> list[float]:
    optimizer = model.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    losses = []
    for _ in range(steps):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def central(size: int = 3) -> Camera:
    """A camera whose middle ray runs along -x through the centre."""
    return Camera(Lens(100.0, 100.0, size / 2, size / 2, size, size), FACING)


@pytest.mark.parametrize("field", FIELDS)
def test_it_renders_views_and_draws_no_images(field: str) -> None:
    model = make(field=field)
    assert isinstance(model, RendersViews)
    assert isinstance(model, Finishes)
    assert not isinstance(model, SamplesImages)


@pytest.mark.parametrize("field", ["planes", "hash"])
def test_the_first_loss_is_that_of_a_thin_grey_fog(field: str) -> None:
    model, batch = make(field=field, tv_weight=0.0), rays(64)
    enter, leave = crossing(batch["origins"], batch["directions"], 0.0)
    opacity = 1 - torch.exp(-INITIAL_DENSITY * (leave - enter))[:, None]
    expected = (0.5 * opacity + 1 - opacity - batch["rgb"]).square().mean().item()
    assert model.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-4)


def test_the_first_loss_of_two_zeroed_classic_networks_is_that_of_two_grey_fogs() -> None:
    model, batch = make(field="mlp"), rays(64)
    for network in (model.coarse, model.field):
        assert isinstance(network, ClassicMlp)
        for layer in (network.density, network.colour):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    enter, leave = crossing(batch["origins"], batch["directions"], 0.0)
    opacity = 1 - torch.exp(-math.log(2) * (leave - enter))[:, None]  # softplus(0) = log 2
    expected = 2 * (0.5 * opacity + 1 - opacity - batch["rgb"]).square().mean().item()
    assert model.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("field", FIELDS)
def test_it_overfits_one_batch_of_rays(field: str) -> None:
    model, batch = make(field=field, tv_weight=0.0, samples=24, learning_rate=1e-2), rays(48)
    losses = train(model, batch, 120)
    assert losses[-1] < 0.1 * losses[0]
    assert (model.eval()._see(batch["origins"], batch["directions"], jitter=False)[-1].rgb - batch["rgb"]).abs().mean() < 0.06


@pytest.mark.parametrize("field", FIELDS)
def test_a_checkpoint_brings_every_rendered_bit_back(field: str, tmp_path: Path) -> None:
    model = make(field=field)
    train(model, rays(32), 3)
    model.eval().finish([])
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(5)
    again = Nerf(model.config, VIEWS).eval()
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    camera = SCENE.orbit.camera(LENS, 40)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.render(camera), again.render(camera), strict=True))


@pytest.mark.parametrize("field", FIELDS)
def test_a_rendering_repeats_and_has_its_shapes_and_ranges(field: str) -> None:
    model = make(field=field)
    train(model, rays(32), 3)
    model.eval()
    camera = SCENE.orbit.camera(LENS, 40)
    first = model.render(camera)
    torch.rand(3)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, model.render(camera), strict=True))
    assert (first.rgb.shape, first.depth.shape, first.opacity.shape) == ((10, 12, 3), (10, 12), (10, 12))
    assert all(0 <= part.min() <= part.max() <= 1 for part in (first.rgb, first.opacity))
    assert first.depth.min() > 0
    assert first.depth.max() <= SCENE.far + 1e-4


def test_a_rendering_does_not_depend_on_how_its_rays_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make().eval()
    camera = SCENE.orbit.camera(LENS, 40)
    whole = model.render(camera)
    monkeypatch.setattr("components.models.nerf.model.CHUNK", 7)
    assert all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in zip(whole, model.render(camera), strict=True))


def test_weights_are_shares_and_add_up_to_what_the_density_absorbs() -> None:
    generator = torch.Generator().manual_seed(0)
    density, lengths = torch.rand(50, 20, generator=generator) * 30, torch.rand(50, 20, generator=generator)
    density[0], density[1] = 0, 1e6
    weights = weights_of(density, lengths)
    assert weights.min() >= 0
    assert weights.sum(1).max() <= 1 + 1e-6
    assert torch.allclose(weights.sum(1), 1 - torch.exp(-(density * lengths).sum(1)), atol=1e-5)
    assert weights[0].sum() == 0


@pytest.mark.parametrize("density", [0.05, 0.7, 5.0])
def test_a_slab_of_constant_density_is_as_opaque_as_the_law_says(density: float) -> None:
    seen = made_of(Matter(density, -0.25, 0.25)).render(central(1))
    expected = 1 - math.exp(-density * 0.5)
    assert seen.opacity.item() == pytest.approx(expected, rel=1e-4)
    assert seen.rgb[0, 0].tolist() == pytest.approx([1.0, 1 - expected, 1 - expected], abs=1e-3)


@pytest.mark.parametrize(("centre", "radius"), [((0.0, 0.0, 0.0), 1.0), ((0.5, 0.0, 0.0), 2.0)])
def test_the_depth_of_an_opaque_wall_is_its_distance(centre: tuple[float, float, float], radius: float) -> None:
    """In the units of the cameras, wherever the scene lies and however large it is."""
    data = replace(VIEWS, scene=replace(SCENE, centre=centre, radius=radius, near=0.1))
    seen = made_of(Matter(1e5, high=0.0), data).render(central(1))
    assert seen.depth.item() == pytest.approx(3 - centre[0], abs=2 * radius / 64)
    assert seen.opacity.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("background", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)])
def test_where_nothing_is_there_is_the_background_far_away(background: tuple[float, float, float]) -> None:
    seen = made_of(Matter(0.0), replace(VIEWS, scene=replace(SCENE, background=background))).render(central())
    assert torch.equal(seen.rgb, torch.tensor(background).expand(3, 3, 3))
    assert torch.equal(seen.opacity, torch.zeros(3, 3))
    assert torch.allclose(seen.depth, torch.full((3, 3), SCENE.far))


def test_rays_that_miss_the_scene_see_the_background() -> None:
    beside = Camera(Lens(100.0, 100.0, 1.5, 1.5, 3, 3), (*FACING[:7], 9.0, *FACING[8:]))
    assert made_of(Matter(1e5)).render(beside).opacity.max() == 0


def test_rays_enter_and_leave_the_cube_where_geometry_says() -> None:
    origins = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0], [3.0, 5.0, 0.0]])
    directions = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.6, 0.8], [-1.0, 0.0, 0.0]])
    enter, leave = crossing(origins, directions, 0.25)
    assert enter.tolist() == pytest.approx([2.0, 0.25, enter[2].item()])
    assert leave.tolist() == pytest.approx([4.0, 1.25, enter[2].item()])


def test_an_unbounded_scene_is_sampled_to_its_far_end_and_contracted_into_the_cube() -> None:
    ends = spread(edges(1, 8, torch.zeros(1)), torch.tensor([2.0]), torch.tensor([4.0]), far=100.0)[0]
    assert (ends[0].item(), ends[4].item(), ends[8].item()) == pytest.approx((2.0, 4.0, 100.0), rel=1e-4)
    assert (ends.diff() > 0).all()
    inside, outside = torch.tensor([[0.4, -0.2, 1.0]]), torch.tensor([[10.0, 0.0, -1000.0]])
    assert torch.allclose(contracted(inside), inside / 2)
    assert contracted(outside).abs().max().item() == pytest.approx(1, abs=1e-3)


def test_an_unbounded_scene_shows_what_lies_far_outside_its_cube() -> None:
    data = replace(VIEWS, scene=replace(SCENE, unbounded=True, far=103.0))
    seen = made_of(Matter(1e5, high=-0.9), data, samples=256).render(central(1))
    # x = -0.9 of the contracted cube is x = -5 of space: (2 - 1 / 5) / 2 = 0.9.
    assert seen.depth.item() == pytest.approx(8, abs=0.2)


def test_places_lie_in_their_steps_and_finer_ones_where_the_weight_is() -> None:
    bounds = edges(20, 10, torch.zeros(1))
    for jitter in (False, True):
        places = within(bounds, jitter=jitter)
        assert ((bounds[:, :-1] <= places) & (places <= bounds[:, 1:])).all()
    weights = torch.zeros(20, 10)
    weights[:, 3] = 1
    drawn = resampled(bounds, weights, 50, jitter=True)
    assert (drawn.diff(dim=1) >= 0).all()
    assert ((drawn >= 0.3) & (drawn <= 0.4)).float().mean() > 0.95


def test_the_occupancy_grid_skips_what_is_empty_and_nothing_else() -> None:
    model = made_of(Matter(50.0, -0.5, 0.5))
    camera = SCENE.orbit.camera(LENS, 0, 10)
    before = model.render(camera)
    model.finish([])
    assert isinstance(model.grid, OccupancyGrid)
    assert model.grid.occupied.float().mean().item() == pytest.approx(0.5)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(before, model.render(camera), strict=True))


def test_a_fog_that_is_thin_everywhere_is_not_taken_for_emptiness() -> None:
    torch.manual_seed(0)
    grid = OccupancyGrid(6)
    grid.look(lambda places: torch.full((len(places),), 1e-3))
    assert grid.occupied.all()


def test_a_step_looks_at_no_more_places_than_it_may() -> None:
    model, asked = make(points_per_step=100), []
    model.field.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    model.training_step(rays(64), 0)
    assert 0 < asked[0] <= 100


def test_planes_and_tables_have_a_learning_rate_of_their_own() -> None:
    groups = make(learning_rate=1e-3, grid_learning_rate=1e-1).configure_optimizers()["optimizer"].param_groups
    assert [group["initial_lr"] for group in groups] == [1e-3, 1e-1]
    assert len(groups[1]["params"]) == SMALL_NERF["levels"]


def test_the_variation_of_planes_is_nought_where_they_are_flat() -> None:
    planes = Planes(NerfConfig.model_validate(SMALL_NERF))
    assert planes.variation() > 0
    for plane in planes.planes:
        nn.init.constant_(plane, 0.7)
    assert planes.variation() == 0


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("field: plane", r"params.yaml line 4: models.mine.config.field: .*'planes', 'hash' or 'mlp' \(it is 'plane'\)"),
        ("samples: 1", r"models.mine.config.samples: .*greater than or equal to 2 \(it is 1\)"),
        ("grid_learning_rat: 1", r"unknown key 'grid_learning_rat' in models.mine.config; did you mean 'grid_learning_rate'\?"),
        ("resolution: 16", "coarsest is 32 and resolution 16: the finest level cannot have fewer cells than the coarsest"),
    ],
)
def test_a_bad_config_is_named(config: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"models:\n  mine:\n    config:\n      {config}\n", encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        find_family("nerf").resolve("tiny", load(path).child("models").child("mine").child("config"))
