"""A picture's number and capture time come back with it; its age is bounded over the whole way."""

import pytest

from millstream.live.stats import percentiles
from millstream.server.transit import KEPT, LONGEST, Stamp, Transit


def test_a_result_carries_its_stamp() -> None:
    transit = Transit()
    stamps = [Stamp(k, 1000.0 + k, 5.0 + k) for k in range(3)]
    for k, stamp in enumerate(stamps):
        assert transit.enters(10 + k, stamp) == stamp.arrived
    assert transit.leaves(11, 7.0) == (stamps[1], True)
    assert transit.leaves(12, 8.0) == (stamps[2], True)
    assert transit.leaves(12, 9.0) == (stamps[2], False)  # sent again, as its source has stalled
    assert transit.leaves(99, 9.0) == (None, False)


def test_what_a_picture_spends_outside_is_added_to_its_age() -> None:
    transit = Transit()
    for k in range(100):
        transit.enters(k, Stamp(k, 0.0, float(k)))
        transit.leaves(k, k + 0.050)  # inside
        transit.shown(k, 0.080)  # as the client saw it
    assert transit.transport == pytest.approx(0.030, abs=1e-4)
    assert transit.enters(100, Stamp(100, 0.0, 100.0)) == pytest.approx(99.970, abs=1e-4)
    assert percentiles(transit.ages) == pytest.approx((80.0, 80.0, 80.0))
    transit.reset()
    assert percentiles(transit.ages) == (None, None, None)


def test_a_client_that_lies_moves_little() -> None:
    transit = Transit()
    for k in range(200):
        transit.enters(k, Stamp(k, 0.0, float(k)))
        transit.leaves(k, k + 0.05)
        transit.shown(k, 1000.0)
        transit.shown(k, 1000.0)
        transit.shown(10_000 + k, 1000.0)
    assert transit.transport <= LONGEST
    assert len(transit.ages) == 200


def test_what_gives_way_is_forgotten() -> None:
    transit = Transit()
    for k in range(KEPT + 5):
        transit.enters(k, Stamp(k, 0.0, 0.0))
    assert transit.leaves(4, 1.0) == (None, False)
    assert transit.leaves(5, 1.0)[1]
