"""The draw: even, repeatable, and blind to everything but the id."""

from components.data.cleaning.splits import Dealer, Dealt, Refused, Row, draw
from components.data.config import SplitConfig

FRACTIONS = {"train": 0.5, "validation": 0.1, "test": 0.4}


def test_the_shares_of_many_draws_are_the_fractions() -> None:
    drawn = [draw(f"id-{index}", FRACTIONS) for index in range(20_000)]
    for split, fraction in FRACTIONS.items():
        assert abs(drawn.count(split) / len(drawn) - fraction) < 0.01


def test_a_split_without_a_share_gets_nothing() -> None:
    assert {draw(str(index), {"train": 1.0, "validation": 0.0, "test": 0.0}) for index in range(100)} == {"train"}


def test_the_draw_of_an_id_is_always_the_same() -> None:
    assert [draw(f"0:row-{index}", FRACTIONS) for index in range(8)] == [draw(f"0:row-{index}", FRACTIONS) for index in range(8)]
    assert draw("0:digits-00000", FRACTIONS) == "train"  # a published dataset must not be dealt anew by a change here


def test_another_seed_is_another_draw() -> None:
    def splits(seed: int) -> list[Dealt | Refused]:
        dealer = Dealer(SplitConfig(train=0.5, validation=0.25, test=0.25, seed=seed))
        return [dealer.deal(Row(index, str(index))) for index in range(50)]

    assert splits(0) != splits(1)


def test_a_row_whose_group_lies_in_another_split_than_the_source_says_is_refused() -> None:
    dealer = Dealer(SplitConfig(method="given"))
    dealer.deal(Row(0, "a", "train", group=0))
    assert dealer.deal(Row(1, "b", "test", group=0)) == Refused("bridges-splits", 0)
    assert dealer.deal(Row(2, "c", "train", group=0)) == Dealt("train")


def test_what_is_like_a_refused_row_alone_stays() -> None:
    dealer = Dealer(SplitConfig(method="given"))
    assert dealer.deal(Row(0, "a", "train")) == Dealt("train")
    assert dealer.deal(Row(1, "b", "train", near=(0,))) == Refused("near-duplicate", 0)
    assert dealer.deal(Row(2, "c", "train", near=(1,))) == Dealt("train")
    assert dealer.deal(Row(3, "d", "test", near=(1, 2))) == Refused("near-duplicate", 2)


def test_of_rows_that_repeat_too_often_the_first_ones_stay() -> None:
    dealer = Dealer(SplitConfig(method="given"))
    found = [dealer.deal(Row(index, str(index), "train", repeated=0, most=2)) for index in range(4)]
    assert found == [Dealt("train"), Dealt("train"), Refused("boilerplate"), Refused("boilerplate")]
