"""The draw: even, repeatable, and blind to everything but the id."""

from components.data.config import SplitConfig
from components.data.modalities import Examined, Rejection
from components.data.splits import Dealer, Dealt, draw

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
    def splits(seed: int) -> list[Dealt | Rejection]:
        dealer = Dealer(SplitConfig(train=0.5, validation=0.25, test=0.25, seed=seed))
        return [dealer.deal(str(index), Examined(str(index), ()), None) for index in range(50)]

    assert splits(0) != splits(1)


def test_a_row_that_ties_two_groups_of_different_splits_is_rejected() -> None:
    dealer = Dealer(SplitConfig(method="given"))
    dealer.deal("a", Examined("a", ("left",)), "train")
    dealer.deal("b", Examined("b", ("right",)), "test")
    tie = dealer.deal("c", Examined("c", ("left", "right")), None)
    assert isinstance(tie, Rejection)
    assert tie.reason == "bridges-splits"
    assert dealer.deal("d", Examined("d", ("right",)), None) == Dealt("test")
