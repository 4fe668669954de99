"""Archives of the tests' own: honest ones of every kind, and what a process takes to look at one."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.project import Project
from tests.data.workbench import one_dataset

KINDS = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst")
_MEASURE = """
import json, resource, sys, time
import numpy, pyarrow, pyarrow.parquet
from pathlib import Path
from components.data.sources import find_source, reading
from components.errors import UserError
block, modality = json.loads(sys.argv[1]), sys.argv[2]
source = find_source(block["kind"])
config = source.Config.model_validate(block)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, started, said = peak(), time.monotonic(), ""
try:
    with reading(source, config, modality, Path(sys.argv[3])) as opened:
        for part in opened.parts():
            for row in part.rows():
                pass
except UserError as error:
    said = str(error)
print(json.dumps({"said": said, "seconds": time.monotonic() - started, "mib": peak() - before}))
"""


def measured(source: dict[str, Any], modality: str, root: Path) -> tuple[str, float, float]:
    """What a fresh process says of ``source`` when it reads all of it; seconds, and MiB of memory beyond what it had when it began."""
    done = subprocess.run([sys.executable, "-c", _MEASURE, json.dumps(source), modality, str(root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["said"], found["seconds"], found["mib"]


def refused_at_once(source: dict[str, Any], modality: str, root: Path) -> str:
    """What is said of a bomb, once it was seen that it was said soon and cost little."""
    said, seconds, mib = measured(source, modality, root)
    assert said, "it was read"
    assert seconds < 1, f"{seconds:.1f} s"
    assert mib < 256, f"{mib:.0f} MiB"
    return said


def archive_project(tmp_path: Path, name: str, modality: str, **block: Any) -> Project:
    """A project whose one dataset is the archive ``name`` beside it."""
    source = {"kind": "archive", "path": f"../{name}", **block.pop("source", {})}
    return one_dataset(tmp_path, {"modality": modality, "source": source, **block})


def write_archive(path: Path, files: dict[str, bytes], top: str = "") -> Path:
    """An honest archive of the kind that ``path`` is called by, its members in the order of ``files``."""
    named = {f"{top}{name}": content for name, content in files.items()}
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in named.items():
                packed.writestr(name, content)
    else:
        path.write_bytes(pack(path.name, tar_bytes(named)))
    return path


def tar_bytes(files: dict[str, bytes]) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as packed:
        for name, content in files.items():
            packed.addfile(member(name, len(content)), io.BytesIO(content))
    return found.getvalue()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def pack(name: str, content: bytes) -> bytes:
    if name.endswith("gz"):
        return gzip.compress(content, mtime=0)
    if name.endswith("bz2"):
        return bz2.compress(content)
    if name.endswith("xz"):
        return lzma.compress(content)
    if name.endswith("zst"):
        packed = pa.compress(content, codec="zstd", asbytes=True)
        assert isinstance(packed, bytes)
        return packed
    return content
