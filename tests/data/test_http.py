"""Files of the web, from a real server on loopback: whole and as they were meant, or a row that says why not."""

import email.utils
import errno
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.data.stages import probe
from components.data.web.client import Budget, Client, Failed, Manners, Validators
from components.errors import UserError
from components.project import Project
from tests.data.archives import write_archive
from tests.data.web_server import Handler, Site, serving
from tests.data.workbench import one_dataset, png, quarantine, rows, run, set_params, shard_bytes

QUICK = {"allow_private": True, "backoff_s": 0.01, "connect_timeout_s": 2, "read_timeout_s": 0.5, "deadline_s": 5, "retries": 2}


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


def web(tmp_path: Path, site: Site, *paths: str, modality: str = "image", **block: Any) -> Project:
    source: dict[str, Any] = {"kind": "http", **QUICK, **block.pop("source", {})}
    if paths:
        source["urls"] = [f"{site.url}{path}" for path in paths]
    # Ids hold the server's port, which differs from run to run: shares of a tenth of sixty rows would now and then be empty.
    split = {"train": 0.6, "validation": 0.2, "test": 0.2}
    return one_dataset(tmp_path, {"modality": modality, "source": source, "split": split, **block})


def images(site: Site, num: int = 60, start: int = 0) -> list[str]:
    paths = [f"/pets/{'cat' if index % 2 else 'dog'}/{index:03d}.png" for index in range(start, start + num)]
    site.files |= {path: png(start + number) for number, path in enumerate(paths)}
    return paths


def host(site: Site) -> str:
    return site.url.removeprefix("http://")


def raw(project: Project) -> dict[str, dict[str, Any]]:
    run(project, stages=["collect"])
    return {row["id"].split("/", 1)[1]: row for row in rows(project, stage="collect")}


def problem(project: Project, name: str) -> str:
    """Why the file ``name`` came without its bytes."""
    row = raw(project)[name]
    assert row["image"]["bytes"] is None
    return str(row["problem"])


# -- what is fetched --------------------------------------------------------------------------------------------------


def test_urls_become_rows_with_the_folders_that_they_do_not_share_as_classes(tmp_path: Path, site: Site) -> None:
    paths = images(site)
    project = web(tmp_path, site, *paths)
    manifest = run(project)
    assert {row["image"]["bytes"] for row in rows(project)} == set(site.files.values())
    assert manifest.class_names == ("cat", "dog")
    assert manifest.source["files"] == 60


def test_an_index_of_lines_with_checksums_is_followed_and_a_wrong_one_is_quarantined(tmp_path: Path, site: Site) -> None:
    paths = images(site)
    lines = [f"{path[1:]} {hashlib.sha256(site.files[path]).hexdigest()}" for path in paths]
    site.files["/index.txt"] = "\n".join(["# pets", *lines[:-1], lines[-1][:-4] + "0000"]).encode()
    project = web(tmp_path, site, source={"index": f"{site.url}/index.txt"})
    run(project)
    assert len(rows(project)) == 59
    ((name, (reason, why)),) = quarantine(project).items()
    assert (name, reason) == (f"{host(site)}{paths[-1]}", "unreadable")
    assert re.fullmatch(r"its sha256 is [0-9a-f]{12}…, and [0-9a-f]{12}… was wanted", why)
    assert not list((project.cache / "downloads").glob("*.part"))


def test_an_index_of_rows_says_labels_splits_and_captions(tmp_path: Path, site: Site) -> None:
    paths = images(site, 6)
    told = [{"url": f"{site.url}{path}", "label": "pet", "split": "val" if path == paths[0] else "train", "caption": f"this is {path}"} for path in paths]
    (tmp_path / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    project = web(tmp_path, site, modality="image-text", source={"index": "../index.jsonl"})
    found = raw(project)
    assert {name: (row["label"], row["split"], row["caption"].decode()) for name, row in found.items()} == {
        path[1:]: ("pet", "validation" if path == paths[0] else "train", f"this is {path}") for path in paths
    }


def test_an_archive_is_read_as_one_and_texts_and_pairs_are_read_too(tmp_path: Path, site: Site) -> None:
    for name in ("a.tar.gz", "b.zip"):
        site.files[f"/{name}"] = write_archive(
            tmp_path / name, {f"{kind}/{index}.png": png(index + len(name)) for index in range(5) for kind in "ab"}
        ).read_bytes()
    assert len(raw(web(tmp_path / "images", site, "/a.tar.gz", "/b.zip"))) == 20
    site.files |= {"/pairs.jsonl": b'{"source": "q", "target": "a"}\n', "/page.html": b"<p>A page</p>", "/note.txt": b"A note"}
    assert len(raw(web(tmp_path / "pairs", site, "/pairs.jsonl", modality="text-pairs"))) == 1
    assert {row["text"] for row in raw(web(tmp_path / "texts", site, "/page.html", "/note.txt", modality="text")).values()} == {b"A page", b"A note"}


def test_a_second_collect_fetches_only_what_is_new_or_changed_and_adds_shards(tmp_path: Path, site: Site) -> None:
    paths = images(site, 8)
    project = web(tmp_path, site, *paths)
    first = run(project, stages=["collect"])
    assert not probe(project, "mine")
    site.asked.clear()
    more = images(site, 2, start=50)
    site.files[paths[3]] = png(777)
    set_params(project, source={"urls": [f"{site.url}{path}" for path in (*paths, *more)]})
    second = run(project, stages=["collect"])
    sent = [path for command, path, headers in site.asked if command == "GET" and "If-None-Match" not in headers]
    assert sorted(sent) == sorted(more)
    assert sorted(set(site.fetched())) == sorted([*paths, *more])
    assert [shard.rows for shard in second.shards] == [7, 3]
    assert first.rows() == 8


def test_files_with_checksums_are_never_asked_for_again(tmp_path: Path, site: Site) -> None:
    paths = images(site, 4)
    pinned = [{"url": f"{site.url}{path}", "sha256": hashlib.sha256(site.files[path]).hexdigest()} for path in paths]
    project = web(tmp_path, site, source={"urls": pinned})
    run(project, stages=["collect"])
    site.asked.clear()
    run(project, stages=["collect"])
    assert site.asked == []


def test_a_changed_file_is_seen_by_the_probe_and_a_server_that_is_away_is_no_change(tmp_path: Path) -> None:
    with serving() as site:
        paths = images(site, 3)
        project = web(tmp_path, site, *paths, source={"retries": 0})
        run(project, stages=["collect"])
        assert not probe(project, "mine")
        site.files[paths[0]] = png(888)
        assert probe(project, "mine")
        run(project, stages=["collect"])
        before = shard_bytes(project.data / "raw" / "mine")
    assert not probe(project, "mine")
    run(project, stages=["collect"])
    assert shard_bytes(project.data / "raw" / "mine") == before


# -- what breaks ------------------------------------------------------------------------------------------------------


def test_a_file_that_breaks_off_is_gone_on_with_from_where_it_broke(tmp_path: Path, site: Site) -> None:
    content = png(1, size=(200, 200))
    site.files["/a.png"] = content
    site.queued["/a.png"] = [lambda one: one.serve(content), lambda one: one.cut(content, 50_000)]  # to the probe, and to the first attempt
    project = web(tmp_path, site, "/a.png", "/b.png")
    site.files["/b.png"] = png(2)
    assert raw(project)["a.png"]["image"]["bytes"] == content
    ranges = [headers.get("Range") for command, path, headers in site.asked if path == "/a.png" and command == "GET"]
    assert ranges == [None, "bytes=50000-"]


def test_a_file_that_changed_meanwhile_is_not_pieced_together(tmp_path: Path, site: Site) -> None:
    old, new = png(1, size=(200, 200)), png(2, size=(200, 200))
    site.files["/a.png"] = new
    site.queued["/a.png"] = [lambda one: one.serve(old), lambda one: one.cut(old, 50_000)]
    assert raw(web(tmp_path, site, "/a.png"))["a.png"]["image"]["bytes"] == new


def test_a_killed_download_is_gone_on_with_by_the_next_run(tmp_path: Path, site: Site) -> None:
    content = png(1, size=(200, 200))
    site.files |= {"/a.png": content, "/b.png": png(2)}
    site.answers["/a.png"] = lambda one: one.cut(content, 50_000)
    project = web(tmp_path, site, "/a.png", "/b.png", source={"retries": 0})
    assert "it ended" in problem(project, "a.png") or "broke off" in problem(project, "a.png")
    del site.answers["/a.png"]
    site.asked.clear()
    assert raw(project)["a.png"]["image"]["bytes"] == content
    assert [headers["Range"] for command, path, headers in site.asked if path == "/a.png" and command == "GET"] == ["bytes=50000-"]


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("how", ["seconds", "date"])
def test_a_server_that_asks_to_wait_is_waited_for(tmp_path: Path, site: Site, status: int, how: str) -> None:
    site.files["/a.png"] = png(1)
    times: list[float] = []

    def busy(one: Handler) -> None:
        times.append(time.monotonic())
        one.say(status, Retry_After="1" if how == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True))

    client = Client(Manners(**QUICK))  # type: ignore[arg-type]
    site.queued["/a.png"] = [busy]
    part = tmp_path / "a.part"
    client.fetch(f"{site.url}/a.png", part, Validators(), Validators(), lambda version: None, Budget(10**9))
    assert part.read_bytes() == png(1)
    assert time.monotonic() - times[0] >= 0.9
    client.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda one: one.say(404), "the server says 404 Not Found"),
        (lambda one: one.say(403), "the server says 403 Forbidden"),
        (lambda one: one.say(500), "the server says 500 Internal Server Error, after 3 attempts"),
        (lambda one: one.say(503, Retry_After="3600"), "the server says 503 Service Unavailable, after 1 attempt"),
        (lambda one: one.cut(bytes(1000), 10), "after 3 attempts"),
        (lambda one: one.endless(), r"it has more than 3,000,000 bytes (source.max_file_bytes)"),
        (lambda one: one.endless(b"x", 0.05), "it was not all there after 1.5 s (source.deadline_s)"),
        (lambda one: one.endless(b"0", 0.05, Transfer_Encoding="chunked"), "it was not all there after 1.5 s (source.deadline_s)"),
        (lambda one: one.endless(b"More: x\r\n", 0.05, b"3\r\nabc\r\n0\r\n", Transfer_Encoding="chunked"), "it was not all there after 1.5 s"),
        (lambda one: one.endless(b"More: x\r\n" * 9, 0.001, b"3\r\nabc\r\n0\r\n", Transfer_Encoding="chunked"), "it was not all there after 1.5 s"),
        (lambda one: one.say(200, bytes(4_000_000)), "it has more than 3,000,000 bytes (source.max_file_bytes)"),
        (lambda one: one.say(200, b"x", Content_Encoding="gzip"), "it is sent in the encoding gzip, which was not asked for"),
        (lambda one: time.sleep(2), "the server cannot be reached"),
        (lambda one: one.say(302, Location="ftp://example.org/x"), "it is redirected to what is no web address"),
        (lambda one: one.say(302, Location=one.path), "it is redirected more than 5 times"),
    ],
)
def test_a_file_that_cannot_be_had_is_a_row_that_says_why_and_the_others_are_there(tmp_path: Path, site: Site, answer: Any, said: str) -> None:
    site.files["/good.png"] = png(1)
    site.answers["/bad.png"] = answer
    caps = {"max_file_bytes": 3_000_000, "deadline_s": 1.5, "read_timeout_s": 0.3}
    project = web(tmp_path, site, "/good.png", "/bad.png", source=caps)
    started = time.monotonic()
    found = raw(project)
    assert time.monotonic() - started < 8
    assert found["good.png"]["image"]["bytes"] == png(1)
    assert found["bad.png"]["image"]["bytes"] is None
    assert said in found["bad.png"]["problem"]


def test_headers_that_drip_come_to_an_end_too(tmp_path: Path, site: Site) -> None:
    def drip(one: Handler) -> None:
        one.close_connection = True
        try:
            for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 100:
                one.wfile.write(bytes([byte]))
                one.wfile.flush()
                time.sleep(0.1)
        except OSError:
            return

    site.files["/good.png"] = png(1)
    site.answers["/bad.png"] = drip
    started = time.monotonic()
    assert "the server cannot be reached" in problem(web(tmp_path, site, "/good.png", "/bad.png", source={"retries": 0}), "bad.png")
    assert time.monotonic() - started < 4


def test_html_in_place_of_an_image_is_quarantined_as_corrupt(tmp_path: Path, site: Site) -> None:
    paths = images(site)
    site.files[paths[0]] = b"<!DOCTYPE html><html><body>Not found</body></html>"
    project = web(tmp_path, site, *paths)
    run(project)
    assert {name.rsplit("/", 1)[1]: reason for name, (reason, _) in quarantine(project).items()} == {"000.png": "corrupt"}


def test_all_files_together_have_a_cap(tmp_path: Path, site: Site) -> None:
    paths = images(site, 4)
    total = sum(len(site.files[path]) for path in paths)
    project = web(tmp_path, site, *paths, source={"max_total_bytes": total - 1, "connections": 1})
    found = [row["problem"] for row in raw(project).values() if row["image"]["bytes"] is None]
    assert len(found) == 1
    assert "all files together have more bytes than source.max_total_bytes allows" in found[0]


def test_none_at_all_is_refused_with_the_first_reason(tmp_path: Path, site: Site) -> None:
    project = web(tmp_path, site, "/a.png", "/b.png")
    with pytest.raises(UserError, match=r"none of the 2 files could be had; the first is 127\.0\.0\.1:\d+/a\.png, the server says 404 Not Found: mend that"):
        run(project)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files["/a.png"] = png(1, size=(300, 300))
    project = web(tmp_path, site, "/a.png")
    good = run(project, stages=["collect"])
    kept = {path: path.read_bytes() for path in (project.cache / "downloads").glob("*.file")}
    site.files["/a.png"] = png(2, size=(300, 300))

    def full(self: Client, *arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Client, "_refuse_size", full)
    with pytest.raises(OSError, match="No space left on device"):
        run(project, stages=["collect"])
    assert {path: path.read_bytes() for path in (project.cache / "downloads").glob("*.file")} == kept
    monkeypatch.undo()
    assert run(project, stages=["collect"]).sha256 != good.sha256


# -- whom it talks to -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"])
def test_this_machine_is_refused_in_whichever_form_it_is_written(tmp_path: Path, site: Site, name: str) -> None:
    site.files["/a.png"] = png(1)
    port = site.url.rsplit(":", 1)[1]
    project = web(tmp_path, site, source={"allow_private": False, "urls": [f"http://{name}:{port}/a.png"]})
    with pytest.raises(UserError, match=r"is no public address \(source\.allow_private: true allows it\)"):
        run(project)
    assert site.asked == []


def resolver(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[str]]) -> list[str]:
    """Names as the tests want them known: each question takes the next address, the last one stays; the names that were asked for."""
    asked: list[str] = []
    known = socket.getaddrinfo

    def answer(name: Any, port: Any, *rest: Any, **named: Any) -> Any:
        asked.append(str(name))
        if name not in answers:
            return known(name, port, *rest, **named)
        address = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_a_name_that_turns_to_this_machine_after_it_was_judged_is_not_connected_to(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    site.files["/a.png"] = png(1)
    port = site.url.rsplit(":", 1)[1]
    asked = resolver(monkeypatch, {"turning.example": ["192.0.2.1", "127.0.0.1"]})
    # The first answer stands for a public address; only that one may be connected to, however the name is answered a moment later.
    monkeypatch.setattr("components.data.web.addresses.is_public", lambda address: address == "192.0.2.1")
    connected: list[str] = []

    def connect(address: tuple[str, int], **how: Any) -> Any:
        connected.append(address[0])
        raise OSError("nobody there")

    monkeypatch.setattr(socket, "create_connection", connect)
    client = Client(Manners(**{**QUICK, "allow_private": False, "retries": 0}))  # type: ignore[arg-type]
    with pytest.raises(Failed, match="the server cannot be reached"):
        client.look(f"http://turning.example:{port}/a.png")
    assert connected == ["192.0.2.1"]
    assert asked == ["turning.example"]
    with pytest.raises(Failed, match=r"turning\.example is at 127\.0\.0\.1, which is no public address"):
        client.look(f"http://turning.example:{port}/a.png")
    assert connected == ["192.0.2.1"]
    assert site.asked == []


def test_the_server_is_asked_by_the_name_though_the_address_is_connected_to(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    site.files["/a.png"] = png(1)
    port = site.url.rsplit(":", 1)[1]
    resolver(monkeypatch, {"pets.example": ["127.0.0.1"]})
    client = Client(Manners(**QUICK))  # type: ignore[arg-type]
    client.look(f"http://pets.example:{port}/a.png")
    assert site.asked[0][2]["Host"] == f"pets.example:{port}"
    client.close()


def test_a_redirect_to_an_address_inside_is_judged_like_the_first_one(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    port = site.url.rsplit(":", 1)[1]
    resolver(monkeypatch, {"outside.example": ["127.0.0.2"], "inside.example": ["127.0.0.3"]})
    monkeypatch.setattr("components.data.web.addresses.is_public", lambda address: address == "127.0.0.1")
    site.files["/good.png"] = png(1)
    site.answers["/bad.png"] = lambda one: one.say(302, Location=f"http://inside.example:{port}/secret.png")
    site.files["/secret.png"] = png(2)
    project = web(tmp_path, site, "/good.png", "/bad.png", source={"allow_private": False})
    assert "inside.example is at 127.0.0.3, which is no public address" in problem(project, "bad.png")
    assert "/secret.png" not in {path for _, path, _ in site.asked}


def test_a_redirect_within_bounds_is_followed(tmp_path: Path, site: Site) -> None:
    site.files["/there.png"] = png(1)
    site.answers["/a.png"] = lambda one: one.say(301, Location="/b.png")
    site.answers["/b.png"] = lambda one: one.say(307, Location="there.png")
    assert raw(web(tmp_path, site, "/a.png"))["a.png"]["image"]["bytes"] == png(1)


def test_proxies_of_the_environment_are_left_aside(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    site.files["/a.png"] = png(1)
    assert raw(web(tmp_path, site, "/a.png"))["a.png"]["image"]["bytes"] == png(1)


def test_a_token_goes_to_the_named_server_alone_and_into_no_record(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as other:
        other.files["/b.png"] = png(2)
        site.files["/a.png"] = png(1)
        site.answers["/b.png"] = lambda one: one.say(302, Location=f"{other.url}/b.png")
        project = web(tmp_path, site, "/a.png", "/b.png", source={"token_env": "PETS_TOKEN"})
        with pytest.raises(UserError, match="the environment variable PETS_TOKEN is not set"):
            run(project)
        monkeypatch.setenv("PETS_TOKEN", "s3cr3t-value")
        assert len(raw(project)) == 2
    assert all(headers.get("Authorization") == "Bearer s3cr3t-value" for _, _, headers in site.asked)
    assert not any("Authorization" in headers for _, _, headers in other.asked)
    told = b"".join(path.read_bytes() for path in project.root.rglob("*") if path.is_file())
    assert b"s3cr3t-value" not in told


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.org/a.png", r"'ftp://example\.org/a\.png' is no http or https address: write it in full"),
        ("example.org/a.png", r"is no http or https address"),
        ("file:///etc/passwd", r"is no http or https address"),
        ("http://", r"is no http or https address"),
        (
            "https://me:word@example.org/a.png",
            r"the address of example\.org carries a password, which would be recorded: take it out",
        ),
        ("https://example.org/a.png?X-Amz-Signature=abc", r"holds X-Amz-Signature, which would be recorded: put it into a file"),
    ],
)
def test_what_is_no_address_or_holds_a_secret_is_refused_in_the_block(tmp_path: Path, site: Site, url: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        run(web(tmp_path, site, source={"urls": [url]}))
    assert "word@" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://example.org/a.png\nhttps://example.org/a.png\n", r"example\.org/a\.png is listed twice: take one of them out"),
        ("https://example.org/a.png abc\n", r"index\.txt line 1 has a sha256 that is none \(abc\): it has 64 digits from 0 to f"),
        ("https://example.org/a.png a b\n", r"index\.txt line 1 has 3 words"),
        ("just words\n", r"index\.txt line 1: 'just' is no http or https address"),
        ("\n", r"index\.txt names no file: write one URL per line"),
    ],
)
def test_a_mistake_in_an_index_is_named_with_its_line(tmp_path: Path, site: Site, text: str, said: str) -> None:
    project = web(tmp_path, site, source={"index": "../index.txt"})
    (tmp_path / "index.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        run(project)
