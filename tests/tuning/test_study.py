"""A study in its journal: what was learnt stays, an interrupted trial is taken up again, and other parts make another study."""

from pathlib import Path

from components.tuning.records import Search, TrialRecord
from components.tuning.study import Study
from tests.tuning.trials import search, trial

JOURNAL = "vae-digits.journal"


def begun(folder: Path) -> tuple[Study, Search]:
    about = search(folder)
    study = Study(about, folder / JOURNAL)
    assert study.is_new
    study.begin(trial(0, 10.0, params=about.present))
    return study, about


def done(number: int, params: dict[str, object], fid: float) -> TrialRecord:
    return trial(number, fid, params=params)


def test_the_first_trial_has_the_present_settings_and_the_others_lie_in_the_space(tmp_path: Path) -> None:
    study, about = begun(tmp_path)
    assert study.records[0].params == {"learning_rate": 0.002, "batch_size": 64, "latent_dim": 16, "width": 32, "kl_weight": 1.0, "prior_components": 3}
    for fid in (9.0, 8.0, 7.0):
        number, params = study.ask()
        assert 5e-4 <= params["learning_rate"] <= 5e-3
        assert params["learning_rate"] == float(f"{params['learning_rate']:.4g}"), "what is offered can be read"
        assert params["batch_size"] in (32, 64, 128)
        assert about.config.model_validate({**about.spec.config, **params})
        study.tell(done(number, params, fid))
    assert [one.figures[0].value for one in study.records] == [10.0, 9.0, 8.0, 7.0]


def test_an_interrupted_trial_is_asked_for_again_and_the_search_goes_on_as_it_would_have(tmp_path: Path) -> None:
    whole, about = begun(tmp_path / "whole")
    asked = []
    for fid in (9.0, 8.0, 7.0):
        asked.append(whole.ask())
        whole.tell(done(*asked[-1], fid))
    stopped, about = begun(tmp_path / "stopped")
    for place, fid in enumerate((9.0, 8.0, 7.0)):
        assert stopped.ask() == asked[place]
        stopped = Study(about, tmp_path / "stopped" / JOURNAL)  # killed in the midst of it
        assert stopped.ask() == asked[place]
        stopped.tell(done(*asked[place], fid))
    assert stopped.records == whole.records


def test_trials_that_did_not_finish_count_and_keep_their_reason(tmp_path: Path) -> None:
    study, about = begun(tmp_path)
    for status, reason in (("diverged", "not finite"), ("pruned", "hopeless"), ("failed", "killed")):
        number, params = study.ask()
        study.tell(trial(number, params=params, status=status, reason=reason))
    again = Study(about, tmp_path / JOURNAL)
    assert [(one.status, one.reason) for one in again.records[1:]] == [("diverged", "not finite"), ("pruned", "hopeless"), ("failed", "killed")]
    assert again.ask().number == 4


def test_other_data_or_settings_begin_a_new_study_and_say_so(tmp_path: Path) -> None:
    begun(tmp_path)
    assert not Study(search(tmp_path), tmp_path / JOURNAL).what_changed()
    other = Study(search(tmp_path, data="e" * 64), tmp_path / JOURNAL)
    assert other.is_new
    assert other.what_changed() == ["data"]
    assert Study(search(tmp_path, levels=17), tmp_path / JOURNAL).what_changed() == ["params"]


def test_a_confirmation_is_kept(tmp_path: Path) -> None:
    study, about = begun(tmp_path)
    study.keep_confirmed("0/1", trial(0, 9.5, seed=1))
    assert Study(about, tmp_path / JOURNAL).confirmed("0/1") == trial(0, 9.5, seed=1)
    assert study.confirmed("0/2") is None
