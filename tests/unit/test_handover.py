"""Which events the bridge takes for lost."""

from __future__ import annotations

from deployments.handover import Order

LONG = 3600.0


def test_a_photo_that_waits_its_turn_is_not_lost() -> None:
    order = Order(many=3)
    waiting = order.begin()
    for _ in range(2):
        order.end(order.begin(), claimed=True)

    assert not order.is_lost(waiting, LONG)


def test_a_photo_that_many_later_ones_overtook_is_lost() -> None:
    order = Order(many=3)
    waiting = order.begin()
    for _ in range(3):
        order.end(order.begin(), claimed=True)

    assert order.is_lost(waiting, LONG)


def test_neither_earlier_photos_nor_those_given_up_have_overtaken_it() -> None:
    order = Order(many=1)
    earlier = order.begin()
    waiting = order.begin()
    order.end(earlier, claimed=True)
    order.end(order.begin(), claimed=False)

    assert not order.is_lost(waiting, LONG)


def test_where_nothing_moves_for_so_long_all_are_lost() -> None:
    order = Order(many=3)

    assert order.is_lost(order.begin(), 0.0)
