"""Two versions are held against each other row by row, and only what can differ is opened."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.changes import Changes, Rows, compared_rows, differing_shards
from components.data.dataset import Manifest, ShardInfo, file_sha256
from components.data.diff import DatasetDiff, diff
from components.data.drift import population_stability
from components.data.publish import publish
from components.errors import UserError
from components.project import Project
from components.report.dataset_diff import write_diff_page
from tests.data.workbench import files, folder_project, set_params
from tests.genmill.test_cli import genmill
from tests.report.test_run import parse
from tests.versions import prepare_here, publish_here

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shown(versions_project: Project) -> DatasetDiff:
    return diff(versions_project, "mine", "v1", "v2", show=True)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """READ ONLY. Thirty documents as v1; as v2 one of them has another line."""
    project = folder_project(tmp_path_factory.mktemp("texts"), "text", split={"method": "hash", "train": 0.6, "validation": 0.2, "test": 0.2})
    for number in range(30):
        (files(project) / f"{number}.txt").write_text("\n".join(f"Line {line} of document {number}, which says {line * number}." for line in range(9)))
    publish_here(project)
    path = files(project) / "3.txt"
    path.write_text(path.read_text().replace("Line 4 of", "<b>Not</b> line 4 of"))
    publish_here(project)
    return project


def shard(project: Project, name: str, rows: dict[str, list[object]], split: str = "train") -> ShardInfo:
    path = project.data / "clean" / "made" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(rows)
    pq.write_table(table, path)
    return ShardInfo(path=path.relative_to(project.root).as_posix(), split=split, rows=table.num_rows, sha256=file_sha256(path), bytes=path.stat().st_size)


def manifest(*shards: ShardInfo, classes: tuple[str, ...] = ()) -> Manifest:
    columns = {"id": "string", "split": "string", "label": "int64"}
    return Manifest(name="made", modality="image", stage="augment", shards=shards, columns=columns, class_names=classes)


def counted(project: Project, before: Manifest, after: Manifest) -> Changes:
    opened = differing_shards(before, after)
    sides = [Rows(one, {s.path: project.root / s.path for s in shards}) for one, shards in zip((before, after), opened, strict=True)]
    with compared_rows(project, *sides) as comparison:
        return comparison.counts()


def test_rows_are_counted_and_named_by_what_happened_to_them(shown: DatasetDiff) -> None:
    assert shown.rows == Changes(against="v1", added=3, removed=1, changed=1, same=22)
    assert set(shown.ids["added"]) == {"a/0100.png", "a/0102.png", "b/0101.png"}
    assert shown.ids["removed"] == ("a/0002.png",)
    assert shown.ids["changed"] == ("a/0000.png",)


def test_shards_that_are_the_same_are_not_opened(versioned: Project, tmp_path: Path) -> None:
    """With every store gone, versions that only gained rows are compared by what lies in the folders."""
    for store in (".dvc/cache", ".dvc-remote"):
        shutil.rmtree(versioned.root / store)
    assert diff(versioned, "mine", "v2", "v3").rows == Changes(against="v2", added=3, same=26)
    with pytest.raises(UserError, match="The lists of the files of data/mine/v1 are not whole: run `genmill data verify mine@v1 --mend`"):
        diff(versioned, "mine", "v1", "v3")


def test_shards_are_fetched_from_the_remote_where_the_cache_has_none(versioned: Project) -> None:
    shutil.rmtree(versioned.root / ".dvc/cache")
    assert diff(versioned, "mine", "v1", "v2").rows.changed == 1
    assert not list(versioned.state.glob("shards-*"))


def test_what_is_prepared_is_held_against_the_newest_version(versioned: Project) -> None:
    assert diff(versioned, "mine").is_same
    set_params(versioned, split={"seed": 5})
    prepare_here(versioned)
    found = diff(versioned, "mine")
    assert (found.before, found.after) == ("mine@v3", "mine (prepared)")
    assert found.rows.moved == sum(move.rows for move in found.moves) > 0
    assert ("params, split.seed", "", "5") in [(fact.name, fact.before, fact.after) for fact in found.facts]


def test_a_row_may_be_moved_and_changed_at_once(project: Project) -> None:
    before = manifest(shard(project, "a.parquet", {"id": ["x", "y"], "split": ["train", "train"], "label": [0, 1]}))
    after = manifest(shard(project, "b.parquet", {"id": ["x", "y"], "split": ["test", "train"], "label": [1, 1]}))
    assert counted(project, before, after) == Changes(against="", changed=1, moved=1, same=1)


def test_a_label_is_compared_by_its_name_although_the_classes_are_numbered_anew(project: Project) -> None:
    same = shard(project, "a.parquet", {"id": ["x"], "split": ["train"], "label": [0]})
    moved = shard(project, "b.parquet", {"id": ["y"], "split": ["train"], "label": [0]})
    numbered_anew = shard(project, "c.parquet", {"id": ["y"], "split": ["train"], "label": [1]})
    before, after = manifest(same, moved, classes=("cat", "dog")), manifest(same, numbered_anew, classes=("ant", "cat"))
    assert counted(project, before, after) == Changes(against="", changed=1, same=1)  # x was a cat and is an ant


def test_classes_that_are_only_added_leave_the_same_shards_closed(project: Project) -> None:
    same = shard(project, "a.parquet", {"id": ["x"], "split": ["train"], "label": [0]})
    assert differing_shards(manifest(same, classes=("ant",)), manifest(same, classes=("ant", "bee"))) == ([], [])


def test_pictures_of_what_was_added_removed_and_changed_are_on_a_page_that_needs_no_network(shown: DatasetDiff, tmp_path: Path) -> None:
    found = write_diff_page(Project(tmp_path), shown)
    assert found.page == tmp_path / "reports" / "data-mine-v1-mine-v2.html"
    page = found.page.read_text()
    parse(found.page)
    assert page.count('src="data:image/png;base64,') == 4  # added, removed, before and after
    assert "a/0000.png before" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_changed_text_shows_its_lines_and_escapes_them(texts: Project, tmp_path: Path) -> None:
    found = diff(texts, "mine", "v1", "v2", show=True)
    (row,) = found.changed
    assert row.fields[0].name == "text"
    assert [line[0] for line in row.fields[0].lines] == [" ", "-", "+", " "]
    page = write_diff_page(texts, found, tmp_path / "page.html").page
    assert page is not None
    assert "&lt;b&gt;Not&lt;/b&gt; line 4 of document 3" in page.read_text()


def test_the_population_stability_index_tells_another_distribution_from_chance() -> None:
    same = population_stability("label", {"a": 500, "b": 500}, {"a": 510, "b": 490})
    other = population_stability("label", {"a": 500, "b": 500}, {"a": 900, "b": 100})
    few = population_stability("label", {"a": 3, "b": 3}, {"a": 5, "b": 1})
    assert same.value < 0.01
    assert same.chance == pytest.approx(1 / 1000 + 1 / 1000)
    assert other.value == pytest.approx(0.4 * np.log(1.8) - 0.4 * np.log(0.2), rel=0.01)
    assert other.verdict == "another distribution"
    assert few.verdict.startswith("the same distribution")


def test_sides_are_named_in_any_form(versions_project: Project) -> None:
    root = versions_project.root
    forms = [("mine@v1", "mine@v2"), ("mine", "v1", "v2"), ("mine@v1", "v2"), ("mine", "1", "2")]
    found = [json.loads(genmill("data", "diff", *form, "--json", cwd=root).stdout) for form in forms]
    assert {(one["before"], one["after"]) for one in found} == {("mine@v1", "mine@v2")}
    assert json.loads(genmill("data", "diff", "mine", "v1", "--json", cwd=root).stdout)["after"] == "mine@v3"


def test_what_cannot_be_compared_exits_2_with_one_sentence(versions_project: Project) -> None:
    root = versions_project.root
    assert "has no version 'v9': it has v1, v2, v3" in genmill("data", "diff", "mine", "v1", "v9", cwd=root).stderr
    done = genmill("data", "diff", "mine@v1", "other@v1", cwd=root)
    assert done.returncode == 2
    assert "are two datasets: compare versions of one" in done.stderr
    assert "3 versions are named: compare two" in genmill("data", "diff", "mine", "1", "2", "3", cwd=root).stderr


def test_the_command_prints_tables_and_where_the_page_is(versions_project: Project, tmp_path: Path) -> None:
    done = genmill("data", "diff", "mine", "v1", "v2", "--out", str(tmp_path / "diff.html"), cwd=versions_project.root)
    assert done.returncode == 0, done.stderr
    assert "a/0002.png" in done.stdout
    assert "population stability index" in done.stdout
    assert (tmp_path / "diff.html").is_file()


def test_an_unprepared_dataset_is_told_how_to_compare_versions(versioned: Project) -> None:
    shutil.rmtree(versioned.data / "augmented")
    with pytest.raises(UserError, match=r"not prepared: name two versions, e.g. `genmill data diff mine v1 v3`, or run"):
        diff(versioned, "mine")


MILLION = """\
import json, resource, sys
from pathlib import Path
from components.data.changes import Rows, compared_rows
from components.data.dataset import Manifest
from components.project import Project
import pyarrow.parquet, duckdb

project = Project(Path(sys.argv[1]))
sides = [Manifest.from_json((project.root / name).read_bytes()) for name in ("before.json", "after.json")]
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = [Rows(side, {shard.path: project.root / shard.path for shard in side.shards}) for side in sides]
with compared_rows(project, *rows) as comparison:
    counts, some = comparison.counts(), comparison.examples("changed", 24)
print(json.dumps([counts.model_dump(), len(some), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start]))
"""


@pytest.mark.slow
def test_a_million_rows_are_compared_in_bounded_memory(project: Project) -> None:
    numbers = np.arange(1_000_000)
    for side, change in (("before", 0), ("after", 1)):
        shards = []
        for start in range(0, len(numbers), 50_000):
            some = [int(number) + 1000 * change for number in numbers[start : start + 50_000]]
            text = [f"{'some text of this row ' * 4}{number + (change and not number % 1000)}" for number in some]
            shards.append(shard(project, f"{side}-{start}.parquet", {"id": [str(number) for number in some], "split": ["train"] * len(some), "text": text}))
        made = Manifest(name="made", modality="text", stage="augment", shards=tuple(shards), columns={"id": "string", "split": "string", "text": "string"})
        (project.root / f"{side}.json").write_text(made.to_json())
    done = subprocess.run([sys.executable, "-c", MILLION, str(project.root)], capture_output=True, text=True, check=True)
    counts, num_examples, peak_kib = json.loads(done.stdout)
    assert (counts["added"], counts["removed"], counts["changed"], counts["same"]) == (1000, 1000, 999, 998_001)
    assert num_examples == 24
    assert peak_kib < 500 * 1024


def test_what_publish_records_is_what_diff_finds(unpublished: Project) -> None:
    publish(unpublished, "mine", actor="tester")
    set_params(unpublished, split={"seed": 7})
    recorded = publish_here(unpublished).changes
    assert recorded == diff(unpublished, "mine", "v1", "v2").rows
