"""The bar where nobody looks, and Ctrl-C; what a terminal shows is seen in test_cli.py."""

import signal

import pytest

from millstream.progress import frame_bar, stop_asked


def test_the_bar_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with frame_bar(total=3) as advance:
        advance()
    assert capsys.readouterr() == ("", "")


def test_the_first_ctrl_c_asks_and_the_second_interrupts() -> None:
    before, usual = signal.getsignal(signal.SIGINT), signal.default_int_handler
    signal.signal(signal.SIGINT, usual)  # a shell's background jobs ignore it
    with stop_asked() as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is usual
    signal.signal(signal.SIGINT, before)
