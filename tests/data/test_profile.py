"""What is kept of a dataset's distribution is small, exact and comparable between versions."""

import pandas as pd
import pytest

from components.data.profile import MOST_LABELS, Profile, bin_start
from tests.data.workbench import profile_of_frame as profile_of


def test_labels_and_whole_numbers_are_counted_and_the_rest_left_out() -> None:
    frame = pd.DataFrame({"label": ["b", "a", "b", None], "num_chars": [1, 2, 3, 500], "camera_x": [0.1, 0.2, 0.3, 0.4], "id": list("wxyz")})
    profile = profile_of(frame)
    assert profile.labels == {"b": 2, "a": 1}
    assert list(profile.lengths) == ["num_chars"]
    lengths = profile.lengths["num_chars"]
    assert (lengths.smallest, lengths.median, lengths.largest) == (1, 2.5, 500)
    assert lengths.bins == {0: 1, 2: 1, 3: 1, 17: 1}
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 7, 8, 1023, 1024, 2**40])
def test_every_value_lies_in_its_bin(value: int) -> None:
    (number,) = profile_of(pd.DataFrame({"num_bytes": [value]})).lengths["num_bytes"].bins
    assert bin_start(number) <= value + 1e-6
    assert value < bin_start(number + 1)


def test_a_label_for_every_row_does_not_swell_the_result() -> None:
    assert len(profile_of(pd.DataFrame({"label": list(map(str, range(5000)))})).labels) == MOST_LABELS
