"""Near-duplicates: what is found, what is left, and that neither order of shards nor number of processes changes it."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from components.data.executor import executor_for
from components.data.near.hamming import ImageLikeness
from components.data.near.jaccard import MOST_SHINGLES, TextLikeness
from components.data.pixels import perceptual_hash
from tests.data.workbench import files, folder_project, quarantine, rows, run, set_params

VOCABULARY = ["".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=3 + seed % 7)) for seed in range(4000)]


def document(seed: int, words: int = 200) -> list[str]:
    return random.Random(f"document {seed}").choices(VOCABULARY, k=words)


def changed(words: list[str], every: int) -> list[str]:
    """The same with every ``every``-th word replaced."""
    return ["changed" if index % every == every - 1 else word for index, word in enumerate(words)]


def jaccard(first: list[str], second: list[str], length: int = 5) -> float:
    """The plain definition, to compare with."""
    ones, others = ({tuple(words[start : start + length]) for start in range(len(words) - length + 1)} for words in (first, second))
    return len(ones & others) / len(ones | others)


def similarity(first: str, second: str, likeness: TextLikeness | None = None) -> float:
    likeness = likeness or TextLikeness()
    one, other = likeness.features([first, second])
    return float(likeness.similarities([one], [other])[0])


@pytest.mark.parametrize("every", [2, 10, 30, 100, 1000])
def test_the_similarity_of_texts_is_the_share_of_common_word_sequences(every: int) -> None:
    first = document(1)
    second = changed(first, every)
    assert similarity(" ".join(first), " ".join(second)) == pytest.approx(jaccard(first, second), abs=1e-6)


def test_case_white_space_and_punctuation_do_not_count() -> None:
    words = document(2)
    assert similarity(" ".join(words), ",\n".join(word.title() for word in words)) == 1.0


def test_features_of_texts_do_not_depend_on_what_stands_beside_them() -> None:
    texts = [" ".join(document(seed, 50 + seed)) for seed in range(20)]
    assert TextLikeness().features(texts) == [TextLikeness().features([text])[0] for text in texts]


def test_characters_of_scripts_without_blanks_count_as_words() -> None:
    first, second = "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏", "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬雪"
    assert 0.8 < similarity(first, second) < 1
    assert similarity(first, first) == 1


def test_texts_shorter_than_a_sequence_are_not_compared() -> None:
    assert TextLikeness().features(["three little words", "", "one two three four five"]) == [b"", b"", TextLikeness().features(["one two three four five"])[0]]


def test_the_similarity_of_very_long_texts_is_estimated_within_two_hundredths() -> None:
    first = document(3, 3 * MOST_SHINGLES)
    second = changed(first, 40)
    assert len(TextLikeness().features([" ".join(first)])[0]) == 4 * MOST_SHINGLES
    assert similarity(" ".join(first), " ".join(second)) == pytest.approx(jaccard(first, second), abs=0.02)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_pairs_at_the_threshold_share_a_band_nearly_always(threshold: float) -> None:
    likeness = TextLikeness(jaccard=threshold)
    rng, missed = np.random.default_rng(0), 0
    for _ in range(300):
        common, both = round(300 * threshold), 300 - round(300 * threshold)
        hashes = np.sort(rng.choice(2**32, size=300, replace=False).astype("<u4"))
        rng.shuffle(hashes)
        one, other = np.sort(hashes[: common + both // 2]), np.sort(np.concatenate([hashes[:common], hashes[common + both // 2 :]]))
        bands = likeness.bands([one.tobytes(), other.tobytes()])
        missed += not (bands[0] == bands[1]).any()
    assert missed <= 3


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text)


def test_near_duplicate_texts_go_to_quarantine_with_the_earlier_one_and_the_similarity(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", clean={"near_duplicates": {"jaccard": 0.8}})
    texts = {f"{seed:03d}.txt": " ".join(document(seed)) for seed in range(60)}
    texts["copy-1.txt"] = " ".join(changed(document(7), 100))
    texts["copy-2.txt"] = " ".join(changed(document(7), 90))
    texts["other.txt"] = " ".join(changed(document(7), 10))  # too different
    write_texts(files(project), texts)
    run(project)
    found = quarantine(project)
    assert set(found) == {"copy-1.txt", "copy-2.txt"}
    reason, detail = found["copy-1.txt"]
    assert reason == "near-duplicate"
    assert "nearly the same as 007.txt" in detail
    assert f"{jaccard(document(7), changed(document(7), 100)):.0%} of the 5-word sequences of both" in detail
    set_params(project, clean={"near_duplicates": None})
    run(project)
    assert quarantine(project) == {}


def picture(seed: int, side: int = 96) -> Image.Image:
    """Smooth shapes: a photo more than noise."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, y, width, height = (int(value) for value in rng.integers(0, side, 4))
        draw.ellipse((x, y, x + width, y + height), fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_resized_recompressed_and_brightened_copies_of_a_picture_have_nearly_its_hash() -> None:
    likeness = ImageLikeness(distance=6)
    for seed in range(30):
        original = picture(seed)
        copies = [original.resize((64, 64)), Image.open(io.BytesIO(encoded(original, "JPEG", quality=40))), ImageEnhance.Brightness(original).enhance(1.1)]
        for copy in copies:
            pair = [perceptual_hash(image.convert("L")) for image in (original, copy)]
            assert likeness.alike(float(likeness.similarities(pair[:1], pair[1:])[0])), seed


def test_different_pictures_have_hashes_far_apart() -> None:
    hashes = [perceptual_hash(picture(seed).convert("L")) for seed in range(100)]
    likeness = ImageLikeness(distance=6)
    pairs = [(first, second) for index, first in enumerate(hashes) for second in hashes[:index]]
    close = [likeness.alike(float(value)) for value in likeness.similarities([first for first, _ in pairs], [second for _, second in pairs])]
    assert sum(close) <= 2  # of 4,950


@pytest.mark.parametrize("distance", [0, 1, 4, 8])
def test_no_pair_of_hashes_within_the_distance_is_missed(distance: int) -> None:
    likeness, rng = ImageLikeness(distance=distance), np.random.default_rng(distance)
    for _ in range(200):
        first = int(rng.integers(0, 2**63))
        second = first
        for bit in rng.choice(64, size=distance, replace=False):
            second ^= 1 << int(bit)
        bands = likeness.bands([value.to_bytes(8, "little") for value in (first, second)])
        assert (bands[0] == bands[1]).any()


@pytest.mark.slow
def test_near_duplicate_pictures_go_to_quarantine_and_existing_ones_win(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"near_duplicates": {"distance": 6}, "image": {"size": 64}})
    for seed in range(40):
        (files(project) / f"{seed:02d}.png").write_bytes(encoded(picture(seed)))
    run(project)
    assert quarantine(project) == {}
    # Names that sort before the existing ones: they come later all the same.
    (files(project) / "00-small.jpg").write_bytes(encoded(picture(0).resize((80, 80)), "JPEG", quality=60))
    run(project)
    found = quarantine(project)
    assert {name: reason for name, (reason, _) in found.items()} == {"00-small.jpg": "near-duplicate"}
    assert "nearly the same as 00.png" in found["00-small.jpg"][1]
    assert "of 64 bits of their perceptual hashes differ" in found["00-small.jpg"][1]


@pytest.mark.slow
def test_the_kept_rows_do_not_depend_on_the_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    for name, least_bytes in (("here", 2**40), ("pool", 0)):
        monkeypatch.setattr("components.data.executor.POOL_FROM_BYTES", least_bytes)
        monkeypatch.setattr("components.data.collect.SHARD_ROWS", 20)
        (tmp_path / name).mkdir()
        project = folder_project(tmp_path / name, "text", clean={"near_duplicates": {}})
        write_texts(files(project), {f"{seed:03d}.txt": " ".join(changed(document(seed % 40), 100 + seed)) for seed in range(70)})
        run(project)
        kept.append([(row["id"], row["split"]) for row in rows(project)])
    assert len(kept[0]) == 40
    assert kept[0] == kept[1]


def test_tasks_run_in_other_processes_and_come_back_in_order() -> None:
    with executor_for(2**40, 8) as executor:
        assert list(executor.map(abs, iter([-3, 2, -1]))) == [3, 2, 1]
