"""What waits for one reader: order, the newest, turns, and the pipe."""

import threading
from multiprocessing import Pipe

import numpy as np
import pytest

from millstream.frame import Frame
from millstream.params import Params, Settings
from millstream.server.mail import Mail, pump
from millstream.server.messages import Answered, Open, Picture, Refused, Submit, receive, send


def test_messages_keep_their_order_and_go_before_pictures():
    mail = Mail()
    mail.show("a", "picture")
    for i in range(100):
        mail.put(i)
    assert [mail.take() for _ in range(101)] == [*range(100), "picture"]
    assert mail.take(0.0) is None


def test_the_newest_wins_and_keys_take_turns():
    mail = Mail()
    for i in range(5):
        mail.show("a", f"a{i}", places=2)
        mail.show("b", f"b{i}")
    assert [mail.take() for _ in range(3)] == ["a3", "b4", "a4"]


def test_messages_can_be_withdrawn():
    mail = Mail()
    for i in range(6):
        mail.put(i)
    assert mail.withdraw(lambda message: message % 2 == 0) == [0, 2, 4]
    assert [mail.take() for _ in range(3)] == [1, 3, 5]


def test_a_closed_one_lets_its_reader_go():
    mail, found = Mail(), []
    reader = threading.Thread(target=lambda: found.append(mail.take()))
    reader.start()
    mail.close()
    reader.join()
    mail.put("late")
    assert (found, mail.take()) == ([None], None)


@pytest.mark.parametrize(
    "message",
    [
        Open("s", Settings(params=Params(prompt=["a::2", "b"], seed=7)), version=3, lighter=1),
        Refused("s", 1, "text"),
        Answered("s", 1, 2, Settings().config, Params(), True, Settings()),
    ],
)
def test_values_come_through_a_pipe_as_they_are(message):
    ours, theirs = Pipe()
    send(ours, message)
    assert receive(theirs) == message


@pytest.mark.parametrize("shape", [(512, 512, 3), (1, 1, 3), (0, 0, 3), (97, 31, 3)])
@pytest.mark.parametrize("kind", [Submit, Picture])
def test_pictures_come_through_a_pipe_to_the_last_bit(shape, kind):
    ours, theirs = Pipe()
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    mail = Mail()
    writer = threading.Thread(target=pump, args=(mail, ours))
    writer.start()
    mail.show("s", kind("s", Frame(4, pixels, 1.5, 2)))
    found = receive(theirs)
    mail.close()
    writer.join()
    assert (found.sid, found.frame.id, found.frame.time, found.frame.version) == ("s", 4, 1.5, 2)
    assert found.frame.pixels.shape == shape
    assert np.array_equal(found.frame.pixels, pixels)


def test_a_writer_ends_when_nobody_reads():
    ours, theirs = Pipe()
    mail = Mail()
    writer = threading.Thread(target=pump, args=(mail, ours))
    writer.start()
    theirs.close()
    mail.put("nobody reads this")
    writer.join()
    assert mail.take() is None
