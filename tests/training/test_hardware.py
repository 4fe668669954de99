"""Device, precision and threads are chosen by what the machine has."""

import os

import pytest
import torch

from components.errors import UserError
from components.training.hardware import BF16_FROM_PARAMETERS, choose, usable_cores


def test_small_models_on_a_cpu_keep_float32() -> None:
    hardware = choose("cpu", "auto", 1_000_000)
    assert (hardware.device, hardware.precision) == ("cpu", "32-true")


def test_large_models_on_a_cpu_take_bfloat16_only_where_the_processor_multiplies_it() -> None:
    has_amx = bool(torch.cpu._is_amx_tile_supported())
    assert choose("cpu", "auto", BF16_FROM_PARAMETERS + 1).precision == ("bf16-mixed" if has_amx else "32-true")


def test_what_the_user_asks_for_wins() -> None:
    assert choose("cpu", "bf16-mixed", 10).precision == "bf16-mixed"


def test_uses_no_more_threads_than_there_are_cores() -> None:
    assert 1 <= choose("auto", "auto", 10).threads == usable_cores() <= (os.cpu_count() or 1)


def test_an_unknown_or_absent_device_is_named_with_the_fix() -> None:
    with pytest.raises(UserError, match="did you mean 'cuda'"):
        choose("cudo", "auto", 10)
    with pytest.raises(UserError, match="did you mean 'bf16-mixed'"):
        choose("cpu", "bf16-mix", 10)
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(UserError, match=f"no {absent} device: set device to 'auto' or 'cpu'"):
        choose(absent, "auto", 10)


def test_omp_num_threads_lowers_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert usable_cores() <= (os.cpu_count() or 1)
