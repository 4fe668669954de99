"""Figures and the picture of how near samples come to training images."""

import torch
from torch import Tensor

from components.evaluation.features import as_images, read_pixels
from components.evaluation.memorisation import IMAGES_PER_CELL, IN_A_CELL, Cells, closest_record_ratio, data_copying, nearest_training, neighbour_ratio
from components.evaluation.pictures import pairs_png
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.scoring import MOST_SCORED, Scoring, shuffled

MOST_COMPARED_VALUES = 2**28
"""Pixel values of the training images among which the nearest is sought, at most (a quarter of a GiB)."""
SHOWN_NEAREST = 24


class Copying:
    """Looks for training images in the samples, one draw after the other, so that no two draws are held in memory."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        unseen, _ = read_pixels(scoring.dataset, "test", scoring.size)
        test = as_images(unseen[shuffled(len(unseen), 0)[:MOST_SCORED]])  # of a split that is stored by class the first are of few
        train, _ = read_pixels(scoring.dataset, "train", scoring.size, augmented=True)
        self.train = train[shuffled(len(train), 0)[: MOST_COMPARED_VALUES // train[0].numel()]]
        """Bytes."""
        self.test = nearest_training(test, self.train)
        self.cells = Cells(self.train, len(test))
        self.test_cells = self.cells.place(test)
        self.ratios: list[float] = []
        self.closest: list[float] = []
        self.statistics: list[float] = []
        self.num = 0
        self.shown = test[:0]

    def look_at(self, images: Tensor) -> None:
        """One draw of samples [N, C, S, S]; the first one is shown."""
        looked_at = images[shuffled(len(images), 0)[:MOST_SCORED]]
        self.num = len(looked_at)
        nearest = nearest_training(looked_at, self.train)
        self.ratios.append(neighbour_ratio(nearest, self.test))
        self.closest.append(closest_record_ratio(nearest, self.test))
        statistic = data_copying(nearest.distance, self.test.distance, self.cells.place(looked_at), self.test_cells)
        self.statistics += [] if statistic is None else [statistic]
        if not len(self.shown):
            self.shown = looked_at[:SHOWN_NEAREST]

    def figures(self, recorded: Recorded) -> list[Figure]:
        ratio = self._figure(
            "neighbour_ratio",
            self.ratios,
            recorded,
            floor=1.0,
            note="median distance to the nearest training image, over that of test images; far below 1 is memorised",
        )
        closest = self._figure(
            "closest_record_ratio",
            self.closest,
            recorded,
            floor=1.0,
            note="5th percentile of the distances to the closest training record, over that of test images; a screen alone, it proves no privacy",
        )
        if len(self.statistics) < len(self.ratios):
            return [ratio, closest]
        note = "z-score of the distances to the nearest training image against those of test images, mean of the regions; far below 0 is copied"
        return [ratio, closest, self._figure("data_copying", self.statistics, recorded, floor=0.0, note=note, detail=f", {len(self.cells.centres)} regions")]

    def notes(self) -> list[str]:
        if len(self.statistics) == len(self.ratios):
            return []
        return [
            f"data_copying is left out: no region of the training images holds {IN_A_CELL} samples and {IN_A_CELL} test images; {IMAGES_PER_CELL} of each do "
            "unless all samples are of another kind."
        ]

    def _figure(self, name: str, values: list[float], recorded: Recorded, *, floor: float, note: str, detail: str = "") -> Figure:
        several = torch.tensor(values, dtype=torch.float64)
        return self.scoring.figure(
            name, float(several.mean()), "max", self.num, recorded=recorded,
            preprocessing=f"{self.scoring.shape}, pixels, {len(self.train):,} training images with their augmented copies{detail}",
            spread=float(several.std()), spread_over=f"{len(several)} sampling seeds", floor=floor, floor_name="unseen real images", note=note,
        )  # fmt: skip

    def picture(self) -> bytes:
        """Samples above their nearest training images."""
        return pairs_png(self.shown, as_images(self.train[nearest_training(self.shown, self.train).place]), columns=12, captions=("sample", "nearest"))
