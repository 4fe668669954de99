"""Cleaning: what is bad goes to quarantine with a reason, never through and never out as an exception; splits do not leak."""

import io
from pathlib import Path

import pytest
from PIL import Image

from components.data.dataset import stage_folder
from components.data.modalities import find_modality
from components.errors import UserError
from tests.data.workbench import files, folder_project, png, quarantine, rows, run, set_params, shard_bytes, write_images

MANY = 60


def test_every_kind_of_bad_image_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"min_size": 8, "max_pixels": 4000})
    write_images(project, MANY)
    folder = files(project) / "a"
    (folder / "broken.png").write_bytes(png(900)[:200])
    (folder / "text.png").write_bytes(b"this is no image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "tiny.png").write_bytes(png(901, size=(4, 16)))
    (folder / "huge.png").write_bytes(png(902, size=(64, 64)))
    (folder / "zcopy.png").write_bytes(png(0))
    (files(project) / "unlabelled.png").write_bytes(png(903))
    manifest = run(project)
    found = quarantine(project)
    assert {name: reason for name, (reason, _) in found.items()} == {
        "a/broken.png": "corrupt",
        "a/text.png": "corrupt",
        "a/empty.png": "incomplete",
        "a/tiny.png": "out-of-range",
        "a/huge.png": "out-of-range",
        "a/zcopy.png": "duplicate",
        "unlabelled.png": "incomplete",
    }
    assert found["a/zcopy.png"][1].startswith("the same as a/0000.png")
    assert manifest.dropped == {"corrupt": 2, "duplicate": 1, "incomplete": 2, "out-of-range": 2}
    assert manifest.rows() == MANY


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"max_pixels": 100_000_000, "max_size": 30000})
    write_images(project, MANY)
    buffer = io.BytesIO()
    Image.new("1", (14000, 14000)).save(buffer, "PNG")
    (files(project) / "a" / "bomb.png").write_bytes(buffer.getvalue())
    run(project)
    assert quarantine(project)["a/bomb.png"][0] == "out-of-range"


def test_the_same_picture_in_another_format_is_a_duplicate(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, MANY)
    with Image.open(io.BytesIO(png(0))) as image:
        image.save(files(project) / "a" / "other.bmp")
    run(project)
    assert quarantine(project)["a/other.bmp"] == ("duplicate", quarantine(project)["a/other.bmp"][1])


def test_a_grey_copy_goes_to_the_split_of_its_coloured_original(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"image": {"mode": "rgb"}}, split={"train": 0.4, "validation": 0.3, "test": 0.3})
    write_images(project, MANY)
    for index in range(MANY):
        with Image.open(io.BytesIO(png(index))) as image:
            image.convert("L").save(files(project) / "b" / f"grey{index:04d}.png")
    run(project)
    splits = {row["id"].rsplit("/", 1)[-1]: row["split"] for row in rows(project)}
    assert all(splits[f"grey{index:04d}.png"] == splits[f"{index:04d}.png"] for index in range(MANY))


def test_a_row_whose_source_split_contradicts_its_group_is_quarantined(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"image": {"mode": "rgb"}}, split={"method": "given"})
    for split, start in (("test", 0), ("train", 100)):
        for index in range(start, start + 40):
            path = files(project) / split / "x" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(index))
    with Image.open(io.BytesIO(png(0))) as image:
        image.convert("L").save(files(project) / "train" / "x" / "grey.png")
    run(project)
    reason, detail = quarantine(project)["train/x/grey.png"]
    assert reason == "bridges-splits"
    assert "test/x/0.png (test)" in detail


def test_a_given_split_is_kept_and_a_missing_validation_split_is_drawn_from_train(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", split={"method": "given", "train": 0.7, "validation": 0.2, "test": 0.1})
    for split, start in (("test", 0), ("train", 100)):
        for index in range(start, start + 80):
            path = files(project) / split / "x" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(index))
    manifest = run(project, stages=["collect", "clean"])
    assert manifest.rows("test") == 80
    assert 5 <= manifest.rows("validation") <= 30
    assert all(row["split"] != "test" for row in rows(project) if row["id"].startswith("train/"))
    assert manifest.class_names == ("x",)


def test_new_rows_never_move_old_ones(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, MANY)
    run(project)
    before, old = {row["id"]: row["split"] for row in rows(project)}, shard_bytes(stage_folder(project, "mine", "clean"))
    # Names that sort before the old ones, and copies of old pictures among them.
    (files(project) / "A").mkdir()
    for index in range(30):
        (files(project) / "A" / f"{index}.png").write_bytes(png(index if index < 5 else 2000 + index))
    run(project)
    after = {row["id"]: row["split"] for row in rows(project)}
    assert {name: after[name] for name in before} == before
    new = shard_bytes(stage_folder(project, "mine", "clean"))
    assert all(new[name] == content for name, content in old.items())
    assert [reason for reason, _ in quarantine(project).values()] == ["duplicate"] * 5


def test_images_of_different_sizes_need_a_choice_and_the_error_says_which(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={})
    write_images(project, MANY)
    (files(project) / "a" / "wide.png").write_bytes(png(500, size=(40, 20)))
    with pytest.raises(UserError, match=r"params.yaml line \d+: the images have 2 different sizes \(16x16: 60, 40x20: 1\): set clean.image.size, e.g. 16"):
        run(project)
    set_params(project, clean={"image": {"size": 12}})
    run(project)
    assert {(row["width"], row["height"]) for row in rows(project)} == {(12, 12)}
    for row in rows(project):
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.size == (12, 12)


def test_images_of_different_modes_need_a_choice(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, MANY)
    (files(project) / "a" / "grey.png").write_bytes(png(500, mode="L"))
    with pytest.raises(UserError, match=r"different modes \(rgb: 60, grey: 1\): set clean.image.mode to grey or rgb"):
        run(project)


def test_images_that_differ_in_mode_and_size_are_told_of_both_at_once(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 60)
    (files(project) / "a" / "odd.png").write_bytes(png(999, size=(40, 20), mode="L"))
    with pytest.raises(UserError, match=r"set clean.image.mode to grey or rgb, and 2 different sizes: set clean.image.size too, e.g. 16"):
        run(project)
    set_params(project, clean={"image": {"mode": "rgb", "size": 16}})
    run(project)
    assert {(row["mode"], row["width"], row["height"]) for row in rows(project)} == {("RGB", 16, 16)}


def test_bytes_of_images_that_need_no_change_are_kept(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    paths = write_images(project, MANY)
    run(project)
    kept = {row["id"]: row["image"]["bytes"] for row in rows(project)}
    assert all(kept[path.relative_to(files(project)).as_posix()] == path.read_bytes() for path in paths)


def test_a_photograph_that_lies_on_its_side_is_stored_upright(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", clean={"image": {"size": 16, "fit": "stretch"}})
    write_images(project, MANY)
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    image.save(files(project) / "a" / "photo.jpg", exif=exif)
    run(project)
    (stored,) = [row["image"]["bytes"] for row in rows(project) if row["id"] == "a/photo.jpg"]
    with Image.open(io.BytesIO(stored)) as upright:
        assert upright.getpixel((8, 2)) > (200, 200, 200)
        assert upright.getpixel((8, 13)) < (50, 50, 50)


def test_transparency_is_put_on_white(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, MANY)
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(files(project) / "a" / "glass.png")
    run(project)
    (stored,) = [row["image"]["bytes"] for row in rows(project) if row["id"] == "a/glass.png"]
    with Image.open(io.BytesIO(stored)) as image:
        assert image.getpixel((3, 3)) == (255, 255, 255)


def test_nothing_usable_is_an_error_that_points_to_the_quarantine(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    (files(project) / "a").mkdir()
    (files(project) / "a" / "x.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"none of its 1 rows is usable; the first, a/x.png, is corrupt .*quarantine.parquet"):
        run(project)
    assert quarantine(project)["a/x.png"][0] == "corrupt"


def test_too_few_rows_for_the_split_names_the_least_number(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image")
    write_images(project, 3)
    with pytest.raises(UserError, match=r"has 3 usable rows, too few for its split: \w+ stays empty. Give it at least 44 rows"):
        run(project)


def write_texts(folder: Path, texts: dict[str, str | bytes]) -> None:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_bad_texts_are_quarantined_with_their_reasons(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", clean={"min_chars": 10, "max_chars": 1000})
    write_texts(files(project), {f"doc{index}": f"Document number {index} says something of its own." for index in range(MANY)})
    write_texts(
        files(project),
        {
            "latin1": "Grüße aus Köln, zum Beispiel".encode("latin-1"),
            "binary": b"abc\0defghijklmnop",
            "blank": " \n\n ",
            "short": "tiny",
            "long": "words " * 400,
            "same": "Document   number 7 says\nsomething of its own.",
        },
    )
    run(project)
    assert {name.removesuffix(".txt"): reason for name, (reason, _) in quarantine(project).items()} == {
        "latin1": "corrupt",
        "binary": "corrupt",
        "blank": "incomplete",
        "short": "out-of-range",
        "long": "out-of-range",
        "same": "duplicate",
    }


def test_a_paragraph_stands_only_in_the_first_document_that_has_it(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    shared = "This paragraph stands in\nevery document."
    write_texts(files(project), {f"doc{index:02d}": f"Own words {index}.\n\n{shared}\n\nThe end of {index}." for index in range(MANY)})
    manifest = run(project)
    texts = {row["id"]: row["text"] for row in rows(project)}
    assert sum(shared in text for text in texts.values()) == 1
    assert texts["doc05.txt"] == "Own words 5.\n\nThe end of 5."
    assert texts["doc00.txt"].endswith(f"{shared}\n\nThe end of 0.")
    assert manifest.notes == ("59 paragraphs that stand in an earlier document were removed.",)


def test_shorter_paragraphs_than_the_limit_may_repeat_and_keep_their_indentation(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", clean={"unique_chars": 50})
    licence, idiom = "# Licensed to whom it may concern, under terms found elsewhere.", "    def __enter__(self):\n        return self"
    write_texts(files(project), {f"doc{index:02d}": f"{licence}\n\nclass C{index}:\n\n{idiom}" for index in range(MANY)})
    run(project)
    texts = {row["id"]: row["text"] for row in rows(project)}
    assert texts["doc05.txt"] == f"class C5:\n\n{idiom}"
    assert sum(licence in text for text in texts.values()) == 1


def test_a_document_of_nothing_but_known_paragraphs_is_a_duplicate(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text")
    write_texts(files(project), {f"doc{index:02d}": f"First {index}.\n\nSecond {index}." for index in range(MANY)})
    write_texts(files(project), {"medley": "First 3.\n\nSecond 4."})
    run(project)
    assert quarantine(project)["medley.txt"] == ("duplicate", "2 of its 2 paragraphs stand in earlier documents")


def test_one_long_document_is_cut_into_contiguous_blocks(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", split={"method": "blocks", "block_chars": 200})
    lines = [f"Line {index} of the play." for index in range(1000)]
    write_texts(files(project), {"play": "\n".join(lines)})
    run(project)
    found = sorted(rows(project), key=lambda row: int(row["id"].rpartition("#")[2]))
    assert [line for row in found for line in row["text"].splitlines()] == lines
    assert {row["split"] for row in found} == {"train", "validation", "test"}
    assert all(len(row["text"]) <= 200 for row in found)


def test_a_document_that_grows_keeps_its_earlier_blocks(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {index} of the play." for index in range(200))
    row = {"id": "play", "text": text.encode()}
    longer = {"id": "play", "text": (text + "\n\nA last word.").encode()}
    before, after = list(find_modality("text").blocks(row, 300)), list(find_modality("text").blocks(longer, 300))
    assert before[:-1] == after[: len(before) - 1]


def test_images_cannot_be_cut_into_blocks_and_the_line_says_so(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image", split={"method": "blocks"})
    with pytest.raises(UserError, match=r"params.yaml line 8: datasets.mine: image samples cannot be cut into blocks"):
        run(project)


def test_pydocs_share_no_paragraph_between_documents(dataset_project) -> None:  # type: ignore[no-untyped-def]
    seen: set[str] = set()
    for row in sorted(rows(dataset_project, "pydocs"), key=lambda row: row["id"]):
        mine = {" ".join(paragraph.split()) for paragraph in row["text"].split("\n\n") if paragraph.strip()}
        assert not mine & seen
        seen |= mine
