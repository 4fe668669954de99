"""What the log says of a version is recorded when it is published, so that reading it opens nothing."""

import json

import pytest

from components import git as plumbing
from components.data.changes import Changes
from components.data.dataset import stage_folder
from components.data.publish import DataVersion, FlowOrigin, publish, versions
from components.project import Project
from tests.conftest import git
from tests.data.workbench import set_params, write_images
from tests.genmill.test_cli import genmill
from tests.versions import prepare_here, publish_here

pytestmark = pytest.mark.slow


def changes(project: Project) -> dict[str, Changes | None]:
    return {version.version: version.changes for version in versions(project, "mine")}


def test_every_version_says_how_many_rows_are_added_removed_and_changed(versions_project: Project) -> None:
    assert changes(versions_project) == {
        "v1": Changes(against="", added=24),
        "v2": Changes(against="v1", added=3, removed=1, changed=1, same=22),
        "v3": Changes(against="v2", added=3, same=26),
    }


def test_rows_that_are_only_dealt_anew_are_counted_as_moved(unpublished: Project) -> None:
    publish(unpublished, "mine", actor="tester")
    set_params(unpublished, split={"seed": 7})
    moved = publish_here(unpublished).changes
    assert moved is not None
    assert (moved.added, moved.removed, moved.changed) == (0, 0, 0)
    assert moved.moved > 0
    assert moved.same == 24 - moved.moved


def test_rows_of_augmentation_are_not_counted(unpublished: Project) -> None:
    publish(unpublished, "mine", actor="tester")
    set_params(unpublished, augment={"copies": 2, "flip": True})
    assert publish_here(unpublished).changes == Changes(against="v1", same=24)


def test_shards_that_cannot_be_read_any_more_do_not_keep_a_version_from_being_published(unpublished: Project) -> None:
    publish(unpublished, "mine", actor="tester")
    lost = (stage_folder(unpublished, "mine", "clean") / "train-00000.parquet").read_bytes()
    write_images(unpublished, 1, start=50)
    # A new draw of the splits leaves no shard of v1 in the project's folders.
    set_params(unpublished, split={"seed": 7})
    prepare_here(unpublished)
    for store in (".dvc/cache", ".dvc-remote"):
        next(path for path in (unpublished.root / store).rglob("*") if path.is_file() and path.read_bytes() == lost).unlink()
    found = publish(unpublished, "mine", actor="tester").changes
    assert found is not None
    assert "data/clean/mine/train-00000.parquet of data/mine/v1 is neither in the local cache nor in the remote" in str(found)


def test_the_flow_that_published_is_recorded_beside_who(unpublished: Project) -> None:
    flow = FlowOrigin(flow="watch", run_id="0123456789ab", deployment="watch-mine")
    publish(unpublished, "mine", actor="deployment watch-mine", flow=flow)
    (found,) = versions(unpublished, "mine")
    assert (found.actor, found.flow) == ("deployment watch-mine", flow)
    assert str(flow) == "flow watch, run 01234567, of watch-mine"


def test_versions_from_before_changes_and_flows_were_noted_are_still_read(unpublished: Project) -> None:
    publish(unpublished, "mine", actor="tester")
    (found,) = versions(unpublished, "mine")
    ref = plumbing.list_refs(unpublished.root, "refs/tags/data/mine/")[0]
    old = {key: value for key, value in json.loads(ref.message.partition("\n\n")[2]).items() if key not in ("flow", "changes")}
    tag = plumbing.make_tag(unpublished.root, found.tag, found.commit, f"mine v1\n\n{json.dumps(old)}", "tester")
    plumbing.transaction(unpublished.root, [plumbing.RefUpdate(ref.name, tag, ref.sha)], "an older one")
    (read,) = versions(unpublished, "mine")
    assert read == found.model_copy(update={"changes": None})
    done = genmill("data", "log", "mine", cwd=unpublished.root)
    assert "unknown" in done.stdout


def test_the_log_prints_who_what_and_when_and_says_the_same_to_programs(versions_project: Project) -> None:
    done = genmill("data", "log", "mine", cwd=versions_project.root)
    assert done.returncode == 0, done.stderr
    assert "+3 −1 ~1" in done.stdout
    assert "against v1" in done.stdout
    found = json.loads(genmill("data", "log", "mine", "--json", cwd=versions_project.root).stdout)
    assert [entry["version"] for entry in found] == ["v3", "v2", "v1"]
    assert found[1]["changes"]["removed"] == 1
    assert found[1]["actor"] == "ben"
    assert DataVersion.model_validate({key: value for key, value in found[1].items() if key != "freed"}).tag == "data/mine/v2"
    assert git(versions_project.root, "cat-file", "-t", "data/mine/v2") == "tag"
