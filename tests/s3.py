"""A real S3 server on loopback (moto's), a bucket of its own for every test, and credentials in the environment alone."""

import logging
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

ACCESS_KEY, SECRET_KEY = "AKIAONLYFORTHETESTS", "a-secret-that-opens-nothing-0123456789"


class Bucket(NamedTuple):
    """A bucket of the server."""

    endpoint: str
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def client(self) -> Any:
        """boto3's, for what a test does behind the back of the code."""
        import boto3

        return boto3.client("s3", endpoint_url=self.endpoint)

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(self, key: str) -> bytes:
        content: bytes = self.client().get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> None:
        self.client().put_object(Bucket=self.name, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client().delete_object(Bucket=self.name, Key=key)

    def ask_for_credentials(self, wanted: bool) -> None:
        """Whether the server looks at signatures from now on; it knows no user, so that every one is refused."""
        count = b"0" if wanted else b"inf"
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", count, {"Content-Type": "text/plain"}, method="POST")
        urllib.request.urlopen(request).close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of the server, on a free port; it ends with the session."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, with the credentials for it in the environment."""
    for name, value in {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    made = Bucket(s3_server, f"tests-{uuid.uuid4().hex[:12]}")
    made.client().create_bucket(Bucket=made.name)
    yield made
    made.ask_for_credentials(False)
