"""A remote on a real S3 server does what the local folder does; what is wrong with it is one sentence, and no secret gets out."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from components.data.credentials import hide
from components.data.dataset import Dataset
from components.data.publish import find_version, publish, versions
from components.data.restore import restore
from components.data.verify import verify
from components.errors import UserError
from components.project import Project
from tests.conftest import git
from tests.data.test_stages import by_hand
from tests.s3 import SECRET_KEY, Bucket
from tests.versions import change_files, publish_here

pytestmark = pytest.mark.slow


def use(project: Project, bucket: Bucket, *, url: str = "", endpoint: str = "") -> None:
    """Name the bucket the project's remote, as a user does it by hand."""
    for arguments in (("add", "-d", "-f", "store", url or f"{bucket.url}/versions"), ("modify", "store", "endpointurl", endpoint or bucket.endpoint)):
        done = by_hand(project, "remote", *arguments)
        assert done.returncode == 0, done.stderr


def everything_written(project: Project) -> str:
    """Every text that git keeps of the project: blobs, commits and tags."""
    names = [line.split()[0] for line in git(project.root, "rev-list", "--objects", "--all").splitlines()]
    names += [line.split()[0] for line in git(project.root, "for-each-ref", "--format=%(objectname)").splitlines()]
    given = "\n".join(names).encode()
    return subprocess.run(["git", "-C", str(project.root), "cat-file", "--batch"], input=given, capture_output=True, check=True).stdout.decode(errors="replace")


def test_versions_on_s3_are_published_verified_and_restored_without_the_cache(unpublished: Project, bucket: Bucket, tmp_path: Path) -> None:
    use(unpublished, bucket)
    first = publish(unpublished, "mine", actor="tester")
    change_files(unpublished)
    second = publish_here(unpublished)
    assert (first.version, second.version) == ("v1", "v2")
    assert len(bucket.names("versions/files/md5/")) > 10
    shutil.rmtree(unpublished.root / ".dvc/cache")
    assert verify(unpublished, "mine", "v1").ok
    restored = restore(unpublished, find_version(unpublished, "mine", "v1"), tmp_path / "old")
    assert Dataset.open(Project(restored), "mine").manifest.sha256 == first.sha256


def test_dvc_alone_restores_a_version_from_s3(unpublished: Project, bucket: Bucket, tmp_path: Path) -> None:
    use(unpublished, bucket)
    version = publish(unpublished, "mine", actor="tester")
    shutil.rmtree(unpublished.root / ".dvc/cache")
    done = by_hand(unpublished, "get", ".", "data/clean/mine", "--rev", version.tag, "-o", str(tmp_path / "old"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "old" / "train-00000.parquet").is_file()


def test_what_is_damaged_or_lost_on_s3_is_named(unpublished: Project, bucket: Bucket) -> None:
    use(unpublished, bucket)
    publish(unpublished, "mine", actor="tester")
    shard = (unpublished.data / "clean/mine/test-00000.parquet").read_bytes()
    lost = (unpublished.data / "clean/mine/train-00000.parquet").read_bytes()
    for key in bucket.names():
        content = bucket.read(key)
        if content == shard:
            bucket.write(key, content[:100] + bytes([content[100] ^ 1]) + content[101:])
        if content == lost:
            bucket.delete(key)
    broken = verify(unpublished, "mine").broken
    assert len(broken) == 2
    assert any(sentence.startswith(f"data/clean/mine/test-00000.parquet is damaged in the remote s3://{bucket.name}/versions") for sentence in broken)
    assert any(sentence.startswith("data/clean/mine/train-00000.parquet is missing in the remote s3://") for sentence in broken)


@pytest.mark.parametrize("wrong", ["bucket", "endpoint", "credentials", "no credentials"])
def test_a_remote_that_cannot_be_used_is_one_sentence_and_nothing_is_published(
    unpublished: Project, bucket: Bucket, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = git(unpublished.root, "for-each-ref")
    use(unpublished, bucket, url="s3://nobody-made-this/x" if wrong == "bucket" else "", endpoint="http://127.0.0.1:9" if wrong == "endpoint" else "")
    if wrong == "credentials":
        bucket.ask_for_credentials(True)
    if wrong == "no credentials":
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    means = {
        "bucket": r"names a bucket that is not there .*: make the bucket",
        "endpoint": r"does not answer .*: start it, or mend its address",
        "credentials": r"refuses these credentials .*: set AWS_ACCESS_KEY_ID",
        "no credentials": r"needs credentials and there are none .*: set AWS_ACCESS_KEY_ID",
    }[wrong]
    with pytest.raises(UserError, match=means) as error:
        publish(unpublished, "mine", actor="tester")
    assert SECRET_KEY not in str(error.value)
    assert "\n" not in str(error.value)
    assert git(unpublished.root, "for-each-ref") == before


def test_a_bucket_that_is_gone_is_not_taken_for_a_damaged_version(unpublished: Project, bucket: Bucket) -> None:
    use(unpublished, bucket)
    publish(unpublished, "mine", actor="tester")
    use(unpublished, bucket, url="s3://nobody-made-this/versions")
    with pytest.raises(UserError, match="There is no bucket 'nobody-made-this'"):
        verify(unpublished, "mine")


@pytest.mark.parametrize(
    ("setting", "value"), [("access_key_id", "AKIA"), ("secret_access_key", SECRET_KEY), ("session_token", SECRET_KEY), ("password", SECRET_KEY)]
)
def test_a_secret_in_the_tracked_configuration_is_refused_before_anything_is_sent(unpublished: Project, bucket: Bucket, setting: str, value: str) -> None:
    use(unpublished, bucket)
    config = unpublished.root / ".dvc/config"
    config.write_text(f"{config.read_text().rstrip()}\n    {setting} = {value}\n")
    with pytest.raises(
        UserError, match=rf"\.dvc/config line \d+ holds {setting}, .*`dvc remote modify --unset store {setting}`.*--local store {setting}"
    ) as error:
        publish(unpublished, "mine", actor="tester")
    assert SECRET_KEY not in str(error.value)
    assert versions(unpublished, "mine") == []
    assert bucket.names() == []


@pytest.mark.parametrize("name", [".dvc/config", "params.yaml", "dvc.yaml"])
def test_an_address_with_a_password_in_a_file_of_the_version_is_refused(unpublished: Project, name: str) -> None:
    path = unpublished.root / name
    path.write_text(f"{path.read_text()}# https://ann:{SECRET_KEY}@example.org/data\n")
    with pytest.raises(UserError, match=rf"{name} line \d+ holds an address with a password") as error:
        publish(unpublished, "mine", actor="tester")
    assert SECRET_KEY not in str(error.value)


def test_a_secret_of_the_local_configuration_opens_the_remote_and_is_nowhere_in_git(
    unpublished: Project, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    use(unpublished, bucket)
    for setting, value in (("access_key_id", "AKIALOCAL"), ("secret_access_key", SECRET_KEY)):
        assert by_hand(unpublished, "remote", "modify", "--local", "store", setting, value).returncode == 0
    assert publish(unpublished, "mine", actor="tester").new
    git(unpublished.root, "add", "-A")
    assert SECRET_KEY not in everything_written(unpublished)
    assert SECRET_KEY not in git(unpublished.root, "diff", "--cached")


def test_secrets_of_the_environment_are_in_no_manifest_tag_or_result(unpublished: Project, bucket: Bucket) -> None:
    use(unpublished, bucket)
    version = publish(unpublished, "mine", actor="tester")
    assert SECRET_KEY in os.environ.values()
    assert SECRET_KEY not in everything_written(unpublished) + json.dumps(version.model_dump())


def test_messages_are_told_without_their_secrets(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    (project.root / ".dvc/config.local").write_text("['remote \"store\"']\n    password = hunter2hunter2\n")
    said = hide(project, f"https://ann:pass@example.org/x?sig=abc%3D&n=1 with {SECRET_KEY} and hunter2hunter2")
    assert said == "https://***@example.org/x?sig=***&n=1 with *** and ***"
