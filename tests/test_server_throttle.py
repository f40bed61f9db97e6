"""A flood is slowed to its rate, and counted."""

from millstream.server.throttle import Throttle


def test_a_steady_client_never_waits() -> None:
    throttle = Throttle(100, 0.0)
    assert not any(throttle.delay(k / 100) for k in range(1000))


def test_a_flood_is_slowed_to_the_rate() -> None:
    throttle, now = Throttle(100, 0.0), 0.0
    for _ in range(1000):
        now += throttle.delay(now)
    assert abs(now - (1000 - 200) / 100) < 0.1
    assert throttle.slowed == 800


def test_who_becomes_quiet_is_forgiven() -> None:
    throttle = Throttle(100, 0.0)
    for _ in range(210):
        throttle.delay(0.0)
    assert throttle.slowed == 10
    throttle.delay(1.0)
    assert throttle.slowed == 10
    throttle.delay(3.0)
    assert throttle.slowed == 0
