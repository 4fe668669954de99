"""What cleaning takes and what it finds, on documents and images with planted duplicates and faults.

    python -m benchmarks.cleaning near [--documents 20000]      near-duplicate texts, beside datasketch
    python -m benchmarks.cleaning images [--images 2000]        decode, check and hash, beside Pillow and imagehash
    python -m benchmarks.cleaning scale [--documents 200000]    collect, clean, augment and validate: time, peak memory, what was found
    python -m benchmarks.cleaning again [--images 60000]        a folder of small images: at first, unchanged, with one in a hundred added

`near` and `images` compare processor time on one core, three times each in turn, and quote medians; `scale` runs each stage as a process of its own, as
`dvc repro` does, and takes the sum of the PSS of all its processes; `again` runs the stages as a flow does, in a git repository with DVC.
Needs `pip install -e ".[benchmarks]"`.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import yaml
from PIL import Image

from benchmarks.planted import Planted, document, documents, images, write_documents
from components.data.cleaning.quarantine import QUARANTINE
from components.project import Project

Result = TypeVar("Result")
THRESHOLD = 0.8
TIMES = 3
_FILES = {"kind": "folder", "path": "../files"}
_TEXTS: dict[str, Any] = {"modality": "text", "source": _FILES, "clean": {"near_duplicates": {"jaccard": THRESHOLD}, "unique_paragraphs": False}}
_IMAGES: dict[str, Any] = {"modality": "image", "source": _FILES, "clean": {"near_duplicates": {"distance": 4}, "blank": 3}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    numbers = {"near": ("--documents", 20_000), "images": ("--images", 2_000), "scale": ("--documents", 200_000), "again": ("--images", 60_000)}
    for verb, (option, default) in numbers.items():
        verbs.add_parser(verb).add_argument(option, dest="num", type=int, default=default)
    arguments = parser.parse_args()
    {"near": near, "images": hashed, "scale": scale, "again": again}[arguments.verb](arguments.num)


def near(num: int) -> None:
    planted = [document for document in documents(num) if document.kind in ("original", "near-duplicate")]
    texts = [document.content.decode() for document in planted]
    ours, theirs, dropped = [], [], set[int]()
    for _ in range(TIMES):
        seconds, found = _timed(lambda: _near_by_genmill(texts))
        ours.append(seconds)
        dropped = found
        seconds, others = _timed(lambda: _near_by_datasketch(texts))
        theirs.append(seconds)
    rates = [len(texts) / statistics.median(times) for times in (ours, theirs)]
    print(f"genmill {rates[0]:,.0f} documents/s, datasketch {rates[1]:,.0f} documents/s: {rates[0] / rates[1]:.2f} times")
    for name, found in (("genmill", dropped), ("datasketch", others)):
        recall, precision = _scores(planted, found)
        print(f"{name}: recall {recall:.4f}, precision {precision:.4f} of {num:,} documents")


def _near_by_genmill(texts: Sequence[str]) -> set[int]:
    """Places of the texts that are nearly the same as an earlier one."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from components.data.duck import connect
    from components.data.executor import Here
    from components.data.near.jaccard import TextLikeness
    from components.data.near.pairs import FEATURE, POSITION, band_column, near_pairs

    likeness = TextLikeness(jaccard=THRESHOLD)
    with tempfile.TemporaryDirectory() as folder:
        project, files = Project(Path(folder)), []
        for start in range(0, len(texts), 5_000):
            features = likeness.features(texts[start : start + 5_000])
            bands = likeness.bands(features)
            columns = {band_column(band): bands[:, band] for band in range(likeness.num_bands)}
            table = pa.table({POSITION: np.arange(start, start + len(features)), FEATURE: pa.array(features, pa.binary()), **columns})
            files.append(Path(folder) / f"{start}.parquet")
            pq.write_table(table, files[-1], compression="none", use_dictionary=False)
        with connect(project) as connection:
            connection.execute("CREATE TABLE near (later BIGINT, earlier BIGINT, similarity DOUBLE)")
            near_pairs(project, Here(), files, likeness, Path(folder) / "bands", connection)
            return {later for (later,) in connection.execute("SELECT DISTINCT later FROM near").fetchall()}


def _near_by_datasketch(texts: Sequence[str]) -> set[int]:
    """As its documentation shows: a signature per text, a query before each insertion."""
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=128), set[int]()
    for place, text in enumerate(texts):
        words = text.lower().split()
        signature = MinHash(num_perm=128)
        signature.update_batch([" ".join(words[start : start + 5]).encode() for start in range(len(words) - 4)])
        if index.query(signature):
            found.add(place)
        index.insert(place, signature)
    return found


def _scores(planted: Sequence[Planted], found: set[int]) -> tuple[float, float]:
    """Recall of the planted near-duplicates that are at the threshold or above it, precision of what was found."""
    place_of = {document.number: place for place, document in enumerate(planted)}
    similar = {
        place: document.of is not None and _jaccard(document.content, planted[place_of[document.of]].content) >= THRESHOLD
        for place, document in enumerate(planted)
        if document.kind == "near-duplicate" and document.of in place_of
    }
    wanted = {place for place, alike in similar.items() if alike}
    return len(wanted & found) / len(wanted), len(found & set(similar)) / max(len(found), 1)


def _jaccard(first: bytes, second: bytes) -> float:
    ones, others = ({tuple(words[start : start + 5]) for start in range(len(words) - 4)} for words in (_words(first), _words(second)))
    return len(ones & others) / len(ones | others)


def _words(content: bytes) -> list[str]:
    return content.decode().lower().replace(".", " ").split()


def hashed(num: int) -> None:
    contents = [image.content for image in images(num)]
    ours, theirs = [], []
    for _ in range(TIMES):
        ours.append(_timed(lambda: _hashed_by_genmill(contents))[0])
        theirs.append(_timed(lambda: _hashed_by_imagehash(contents))[0])
    rates = [num / statistics.median(times) for times in (ours, theirs)]
    print(f"genmill {rates[0]:,.0f} images/s, Pillow and imagehash {rates[1]:,.0f} images/s, of one core: {rates[0] / rates[1]:.2f} times")


def _hashed_by_genmill(contents: Sequence[bytes]) -> int:
    from components.data.modalities import Examined, image
    from components.data.near.hamming import ImageLikeness

    config = image.CleanConfig(blank=3, max_ratio=4, near_duplicates=ImageLikeness())
    rows = ({"image": {"bytes": content, "path": ""}, "label": None, "caption": None} for content in contents)
    return sum(isinstance(image.examine(row, config, labelled=False), Examined) for row in rows)


def _hashed_by_imagehash(contents: Sequence[bytes]) -> int:
    """What such a script does: decode, turn, check the size, hash the pixels and the look."""
    import hashlib
    import io

    import imagehash
    from PIL import Image, ImageOps

    good = 0
    for content in contents:
        try:
            with Image.open(io.BytesIO(content)) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, SyntaxError):
            continue
        if min(image.size) >= 8:
            hashlib.sha256(image.tobytes()).hexdigest()
            imagehash.phash(image)
            good += 1
    return good


def scale(num: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="genmill-scale-"))
    try:
        (folder / "files").mkdir()
        write_documents(folder / "files" / "documents.jsonl", num)
        project = _project(folder / "project", _TEXTS)
        total_s = 0.0
        for stage in ("probe", "collect", "clean", "augment", "validate"):
            wall_s, peak_bytes = _stage(project, stage)
            total_s += wall_s
            print(f"{num:,} documents, {stage}: {wall_s:.1f} s, peak {peak_bytes / 2**20:.0f} MiB", flush=True)
        print(f"{num:,} documents in all: {total_s:.1f} s; {_found(project, num)}", flush=True)
    finally:
        shutil.rmtree(folder)


def again(num: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="genmill-again-"))
    try:
        (folder / "files").mkdir()
        _write_small(folder / "files", 0, num)
        subprocess.run([sys.executable, "-m", "genmill", "init", folder / "project"], check=True, stdout=subprocess.DEVNULL)
        project = _project(folder / "project", _IMAGES)
        first_s = _prepared(project)
        unchanged_s = statistics.median(_prepared(project) for _ in range(TIMES))
        _write_small(folder / "files", num, num + num // 100)
        added_s = _prepared(project)
        print(f"{num:,} images: first {first_s:.1f} s, unchanged {unchanged_s:.2f} s, with 1 % added {added_s:.2f} s ({added_s / first_s:.1%} of the first)")
    finally:
        shutil.rmtree(folder)


def _write_small(folder: Path, start: int, stop: int) -> None:
    rng = np.random.default_rng(start)
    for number in range(start, stop):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{number:06d}.jpg", quality=90)


def _prepared(project: Project) -> float:
    """Seconds of the look at the source and of all stages, in a process that has imported them before."""
    from components.data.stages import STAGES, probe, run_stage

    began = time.monotonic()
    probe(project, "planted")
    for stage in STAGES:
        run_stage(project, "planted", stage)
    return time.monotonic() - began


def _project(root: Path, block: dict[str, Any]) -> Project:
    root.mkdir(exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump({"datasets": {"planted": block}}))
    shutil.copy(Path(__file__).parent.parent / "dvc.yaml", root)
    return Project(root)


def _stage(project: Project, stage: str) -> tuple[float, int]:
    """Seconds and peak PSS of one stage's processes."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-m", "components.data", stage, "planted"], cwd=project.root, stdout=subprocess.DEVNULL)
    root = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, _pss_bytes(root))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{stage} exited with {process.returncode}")
    return time.monotonic() - started, peak


def _pss_bytes(root: psutil.Process) -> int:
    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        pass
    return total


def _found(project: Project, num: int) -> str:
    """Recall and precision of what went to quarantine, by kind."""
    import pyarrow.parquet as pq

    table = pq.read_table(project.data / "clean" / "planted" / QUARANTINE, columns=["id", "reason"]).to_pylist()
    reasons = {int(row["id"].rpartition(":")[2]) - 1: row["reason"] for row in table}
    kinds: dict[str, set[int]] = {"duplicate": set(), "near-duplicate": set(), "faulty": set()}
    similar = set()
    for planted in documents(num):
        if planted.kind in kinds:
            kinds[planted.kind].add(planted.number)
        if planted.kind == "near-duplicate" and planted.of is not None and _jaccard(planted.content, document(planted.of)) >= THRESHOLD:
            similar.add(planted.number)
    said = []
    for kind, rows in kinds.items():
        found = {number for number, reason in reasons.items() if (reason if reason in kinds else "faulty") == kind}
        wanted = similar if kind == "near-duplicate" else rows
        said.append(f"{kind} recall {len(wanted & found) / len(wanted):.4f}, precision {len(rows & found) / max(len(found), 1):.4f}")
    return "; ".join(said)


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


if __name__ == "__main__":
    main()
