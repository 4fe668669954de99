"""The wire format: what a request may say, and the one sentence that a bad one gets."""

import base64
import io
import math

import pytest
from PIL import Image

from components.errors import UserError
from components.registry import wire
from tests.data.workbench import announced

IMAGES = (wire.SAMPLES_IMAGES, wire.RECONSTRUCTS)
VIEWS = (wire.RENDERS_VIEWS,)
POSE = [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
CLASSES = ("zero", "one", "7")


def parse(
    rows: list[dict[str, object]], params: dict[str, object] | None = None, abilities: tuple[str, ...] = IMAGES
) -> tuple[list[wire.Row], wire.Parameters]:
    return wire.parse_request(rows, params, abilities=abilities, class_names=CLASSES if abilities == IMAGES else ())


def test_every_column_may_be_left_out() -> None:
    rows, parameters = parse([{}])
    assert rows == [wire.Row("", None, None, 1)]
    assert parameters == wire.Parameters()


def test_a_gap_that_pandas_fills_with_nan_is_no_value() -> None:
    rows, _ = parse([{"label": math.nan, "n": 2.0}, {"label": "one", "n": math.nan}])
    assert [(row.label, row.n) for row in rows] == [(None, 2), (1, 1)]


@pytest.mark.parametrize(("label", "index"), [("one", 1), (1, 1), (0, 0), ("7", 2), (7, 2)])
def test_a_label_is_a_class_name_or_an_index_and_the_name_wins(label: object, index: int) -> None:
    assert parse([{"label": label}])[0][0].label == index


@pytest.mark.parametrize(
    ("rows", "params", "sentence"),
    [
        ([], {}, "no rows"),
        ([{}] * 257, {}, "at most 256"),
        ([{"lable": "one"}], {}, r"no request column 'lable'; did you mean 'label'\?"),
        ([{"label": "on"}], {}, r"no class 'on'; did you mean 'one'\?"),
        ([{"label": 3}], {}, "no class 3"),
        ([{"label": True}], {}, "whole number"),
        ([{"n": 0}], {}, "at least 1"),
        ([{"n": 1.5}], {}, "whole number, not 1.5"),
        ([{"n": "many"}], {}, "whole number, not 'many'"),
        ([{"n": 800}, {"n": 800}], {}, "1600 draws"),
        ([{"image": "###"}], {}, "base64"),
        ([{"image": base64.b64encode(b"GIF89a").decode()}], {}, "no PNG"),
        ([{"image": 5}], {}, "PNG in base64"),
        ([{}], {"sed": 1}, r"no parameter 'sed'; did you mean 'seed'\?"),
        ([{}], {"seed": -1}, "parameter seed is -1"),
        ([{}], {"top_p": 0}, "parameter top_p is 0"),
        ([{}], {"temperature": "hot"}, "parameter temperature is 'hot'"),
        ([{}], {"stop": "x"}, "parameter stop is 'x'"),
        ([{}], {"stop": ["x"]}, "continues no text: leave the parameter stop out"),
        ([{}], {"top_k": 3}, "continues no text: leave the parameter top_k out"),
    ],
)
def test_a_bad_request_gets_one_sentence(rows: list[dict[str, object]], params: dict[str, object], sentence: str) -> None:
    with pytest.raises(wire.BadRequestError, match=sentence) as error:
        parse(rows, params)
    assert isinstance(error.value, UserError)
    assert "\n" not in str(error.value)


def test_a_model_without_labels_says_so() -> None:
    with pytest.raises(wire.BadRequestError, match="knows no labels"):
        wire.parse_request([{"label": 1}], None, abilities=IMAGES, class_names=())


def test_a_text_model_takes_prompts_and_no_pictures() -> None:
    rows, _ = parse([{"prompt": "The", "n": 2}], abilities=(wire.CONTINUES_TEXT,))
    assert (rows[0].prompt, rows[0].n) == ("The", 2)
    with pytest.raises(wire.BadRequestError, match="no request column 'image'"):
        parse([{"image": "x"}], abilities=(wire.CONTINUES_TEXT,))
    with pytest.raises(wire.BadRequestError, match="no UTF-8 at character 4"):
        parse([{"prompt": b"The\xff".decode("utf-8", "surrogateescape")}], abilities=(wire.CONTINUES_TEXT,))
    with pytest.raises(wire.BadRequestError, match="parameter stop is ''"):
        parse([{}], {"stop": [""]}, abilities=(wire.CONTINUES_TEXT,))


def test_a_text_to_embed_is_a_column_of_its_own() -> None:
    abilities = (wire.FILLS_MASKS, wire.EMBEDS_TEXT)
    rows, _ = parse([{"text": "some words"}, {"prompt": "a [MASK]", "n": 3}], abilities=abilities)
    assert [(row.text, row.prompt, row.n) for row in rows] == [("some words", "", 1), (None, "a [MASK]", 3)]
    with pytest.raises(wire.BadRequestError, match="The column text must be text, not 5"):
        parse([{"text": 5}], abilities=abilities)


def test_a_view_is_an_azimuth_an_elevation_or_a_pose() -> None:
    rows, _ = parse([{}, {"azimuth": "-30", "elevation": 20, "n": 4}, {"azimuth": math.nan, "pose": POSE}], abilities=VIEWS)
    assert [row.view for row in rows] == [wire.View(), wire.View(-30.0, 20.0), wire.View(pose=tuple(map(float, POSE)))]
    assert [row.n for row in rows] == [1, 4, 1]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"azimuth": "north"}, "The column azimuth must be a number of degrees, not 'north'"),
        ({"azimuth": math.inf}, "The column azimuth must be a number of degrees, not inf"),
        ({"azimuth": True}, "The column azimuth must be a number of degrees, not True"),
        ({"elevation": 91}, "The column elevation must be between -90 and 90 degrees, not 91"),
        ({"elevation": [1]}, "The column elevation must be a number of degrees"),
        ({"n": 0}, "at least 1"),
        ({"n": 2000}, "2000 draws: ask for at most 1024"),
        ({"azimut": 1}, r"no request column 'azimut'; did you mean 'azimuth'\?"),
        ({"label": "one"}, "no request column 'label'"),
        ({"pose": POSE, "azimuth": 3}, "The column pose says where the one camera stands: leave azimuth, elevation and n out"),
        ({"pose": POSE, "n": 2}, "leave azimuth, elevation and n out"),
        ({"pose": "here"}, "The column pose must hold 16 numbers, camera-to-world row by row"),
        ({"pose": 5}, "The column pose must hold 16 numbers"),
        ({"pose": POSE[:9]}, r"must hold 16 numbers, camera-to-world row by row: its matrix is not 4x4 \(9 numbers\)"),
        ({"pose": [2.0, *POSE[1:]]}, "row by row: its rotation is not rigid"),
        ({"pose": [*POSE[:3], math.nan, *POSE[4:]]}, "row by row: its matrix holds a value that is not finite"),
    ],
)
def test_a_bad_view_gets_one_sentence(row: dict[str, object], sentence: str) -> None:
    with pytest.raises(wire.BadRequestError, match=sentence) as error:
        parse([row], abilities=VIEWS)
    assert "\n" not in str(error.value)


def test_a_picture_survives_the_round_trip() -> None:
    picture = Image.new("RGB", (8, 8), (1, 2, 3))
    assert wire.open_png(wire.decode_png(wire.encode_png(picture)), "RGB", 8).tobytes() == picture.tobytes()


def test_a_picture_of_another_size_or_a_broken_one_is_refused() -> None:
    with pytest.raises(wire.BadRequestError, match="9x8 pixels: send 8x8"):
        wire.open_png(wire.decode_png(wire.encode_png(Image.new("L", (9, 8)))), "L", 8)
    buffer = io.BytesIO()
    Image.effect_noise((8, 8), 50).save(buffer, "PNG")
    with pytest.raises(wire.BadRequestError, match="cannot be read"):
        wire.open_png(buffer.getvalue()[:60], "L", 8)


@pytest.mark.parametrize(("sent", "wanted", "sentence"), [("L", "RGB", "is grey, this model was trained on colour"), ("RGB", "L", "is in colour, this model")])
def test_a_grey_picture_for_a_colour_model_is_refused_and_the_other_way_round(sent: str, wanted: str, sentence: str) -> None:
    with pytest.raises(wire.BadRequestError, match=sentence):
        wire.open_png(wire.decode_png(wire.encode_png(Image.new(sent, (8, 8)))), wanted, 8)


def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded() -> None:
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    with pytest.raises(wire.BadRequestError, match="9000x9000 pixels: send 8x8"):
        wire.open_png(bomb.getvalue(), "L", 8)
    with pytest.raises(wire.BadRequestError, match="cannot be read"):
        wire.open_png(announced(bomb.getvalue(), 60_000), "L", 8)


@pytest.mark.parametrize(
    "abilities",
    [
        IMAGES,
        VIEWS,
        (wire.CONTINUES_TEXT,),
        (wire.FILLS_MASKS, wire.EMBEDS_TEXT),
        (wire.RELATES_WORDS,),
        (wire.RECONSTRUCTS, wire.SAMPLES_IMAGES),
        (wire.CAPTIONS_IMAGES,),
    ],
)
def test_the_example_is_a_good_request(abilities: tuple[str, ...]) -> None:
    request = wire.example(abilities, (), picture=wire.blank_png(1, 8))
    wire.parse_request(request["rows"], request["params"], abilities=abilities, class_names=())
