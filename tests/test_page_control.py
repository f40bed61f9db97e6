"""What the page's controls do when more than one thing is under way: builds, undo, travel, takeover, sources."""

from typing import Any

import pytest

from tests.page_browser import advance, live, open_page, until
from tests.page_server import Echo, Room

LONG = 60.0  # seconds of a build that the test ends
SLOW_CAMERA = """
navigator.mediaDevices.getUserMedia = (wanted) => new Promise((resolve) => {
    window.wanted = wanted;
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    const context = canvas.getContext("2d");
    const paint = () => {
        context.fillStyle = `hsl(${performance.now() % 360} 50% 50%)`;
        context.fillRect(0, 0, 64, 64);
    };
    setInterval(paint, 30);
    window.grant = () => { window.stream = canvas.captureStream(30); resolve(window.stream); };
});
"""


def config(room: Room) -> tuple[int, int]:
    return room.settings["config"]["steps"], room.settings["config"]["height"]


def change(page: Any, **fields: Any) -> None:
    """Ask for a change, and do not wait for it."""
    page.evaluate("config => void millstream.show.settings.change({ config })", fields)


def undoable(page: Any) -> int:
    return page.evaluate("() => millstream.show.settings.undoable.value")


def built(page: Any) -> None:
    until(page, "() => !millstream.show.settings.building.value")


def test_two_changes_are_both_built_and_said_until_the_last_is(page: Any, echo: Echo, room: Room) -> None:
    room.build = LONG
    change(page, steps=3)
    page.locator(".words .building").filter(has_text="steps").wait_for()
    change(page, height=192)
    page.wait_for_timeout(300)
    assert page.evaluate("() => millstream.show.settings.building.value") == "steps, height"
    echo.release(room)
    built(page)
    assert config(room) == (3, 192)
    assert page.evaluate("() => millstream.show.settings.faults.value") == {}


def test_a_refusal_during_a_build_leaves_it_and_its_step_of_undo(page: Any, echo: Echo, room: Room) -> None:
    steps, height = config(room)
    room.build = LONG
    change(page, steps=3)
    change(page, height=-1)
    page.wait_for_function("() => millstream.show.settings.faults.value.height")
    assert page.evaluate("() => millstream.show.settings.building.value") == "steps"
    echo.release(room)
    built(page)
    assert config(room) == (3, height)
    page.keyboard.press("u")
    built(page)
    until(page, f"() => millstream.show.settings.value('steps') === {steps}")


def test_a_preset_during_a_build_is_held_against_what_is_coming(page: Any, echo: Echo, room: Room) -> None:
    steps, height = config(room)
    room.build = LONG
    change(page, steps=3)
    page.evaluate("wanted => void millstream.show.settings.apply(wanted)", {"config": {"steps": steps}})
    echo.release(room)
    built(page)
    assert config(room) == (steps, height)


def test_undo_during_a_build_goes_on_back(page: Any, echo: Echo, room: Room) -> None:
    steps, height = config(room)
    room.build = LONG
    change(page, steps=3)
    change(page, height=192)
    assert undoable(page) == 2
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert undoable(page) == 0
    echo.release(room)
    built(page)
    assert config(room) == (steps, height)
    assert undoable(page) == 0, "going back is no step itself"


def test_a_change_of_a_change_that_is_being_built_goes_back_to_it(page: Any, echo: Echo, room: Room) -> None:
    room.build = LONG
    change(page, height=192)
    page.wait_for_timeout(900)  # longer than what counts as one gesture
    assert page.evaluate("() => millstream.show.settings.building.value") == "height"
    change(page, height=128)
    page.keyboard.press("u")
    echo.release(room)
    built(page)
    until(page, "() => millstream.show.settings.value('height') === 192")
    assert config(room)[1] == 192


def test_a_preset_is_one_change_and_one_step_of_undo(page: Any, echo: Echo, room: Room) -> None:
    before = config(room), room.settings["params"]["strength"]
    wanted = {"config": {"steps": 3, "height": 192}, "params": {"strength": 0.9}}
    page.evaluate("wanted => void millstream.show.settings.apply(wanted)", wanted)
    built(page)
    until(page, "() => millstream.show.settings.value('strength') === 0.9")
    assert [{part: message[part] for part in wanted} for message in echo.heard if message["type"] == "change"] == [
        wanted
    ]
    assert undoable(page) == 1
    page.keyboard.press("u")
    until(page, "() => millstream.show.settings.value('strength') !== 0.9")
    assert (config(room), room.settings["params"]["strength"]) == before
    assert undoable(page) == 0


def test_what_is_refused_is_rolled_back_and_is_no_step_of_undo(page: Any, room: Room) -> None:
    page.evaluate("() => millstream.show.settings.set('strength', 0.7)")
    until(page, "() => millstream.show.shown.value.revision === 2")
    page.evaluate("() => millstream.show.settings.set('max_skip', 10001)")
    until(page, "() => millstream.show.settings.faults.value.max_skip")
    assert page.evaluate("() => millstream.show.settings.value('max_skip')") == 10
    change(page, steps=51)
    until(page, "() => millstream.show.settings.faults.value.steps")
    assert page.evaluate("() => Object.keys(millstream.show.settings.faults.value)") == ["max_skip", "steps"]
    assert undoable(page) == 1
    page.keyboard.press("u")
    until(page, "() => millstream.show.shown.value.revision === 3")
    assert room.settings["params"]["strength"] == 0.5
    assert page.evaluate("() => millstream.show.settings.faults.value.max_skip ?? ''"), (
        "another's success is not its own"
    )
    page.evaluate("() => millstream.show.settings.set('max_skip', 11)")
    until(page, "() => !millstream.show.settings.faults.value.max_skip")


def test_a_refusal_rolls_back_to_what_the_server_took_not_to_what_was_on_its_way(page: Any, room: Room) -> None:
    room.think = 0.3
    page.evaluate(
        """async () => {
            const { settings } = millstream.show;
            settings.set("seed", 7);
            await new Promise((then) => setTimeout(then, 100));  // sent; its answer is on the way
            settings.set("max_skip", 10001);
        }"""
    )
    until(page, "() => millstream.show.settings.faults.value.max_skip")
    assert page.evaluate("() => ['seed', 'max_skip'].map((name) => millstream.show.settings.value(name))") == [7, 10]


def test_a_viewer_sees_what_is_being_built_and_when_it_is(browser: Any, page: Any, room: Room, address: str) -> None:
    other = open_page(browser, address, script=session_of(page))
    live(other)
    until(page, "() => millstream.show.role.value === 'view'")
    room.build = 4.0
    change(other, steps=3)
    page.locator(".words .building").wait_for()
    page.locator(".words .building").wait_for(state="detached")
    other.context.close()


def session_of(page: Any) -> str:
    """A script that opens the same session in another page."""
    return f"sessionStorage.setItem('millstream.session', '{page.evaluate('() => millstream.show.session.value')}')"


COUNTED = """(role) => {
    const { shown, seen } = millstream.show;
    return millstream.show.role.value === role && shown.value.sequence > 40 && shown.value.sequence < 100
        && seen.value.fps > 5 && seen.value.age !== null;
}"""


def test_after_a_takeover_ages_go_on_and_the_bound_is_of_who_controls(browser: Any, page: Any, address: str) -> None:
    """Numbers begin again with each takeover: what is shown counts long before they pass the old ones."""
    bound = "() => millstream.show.presenter.maxAge"
    page.evaluate("() => millstream.show.settings.set('max_age', 30000)")
    until(page, "() => millstream.show.shown.value.sequence > 120")
    assert page.evaluate(bound) == 30000
    other = open_page(browser, address, script=session_of(page))
    until(page, COUNTED, "view")
    assert page.evaluate(bound) is None
    assert other.evaluate(bound) == 30000
    until(page, "() => millstream.show.shown.value.sequence > 120")
    page.get_by_role("button", name="Take control").click()
    until(page, COUNTED, "control")
    assert page.evaluate(bound) == 30000
    assert other.evaluate(bound) is None
    assert other.evaluate("() => millstream.show.role.value") == "view"
    other.context.close()


def test_a_recording_is_ended_after_a_reload(page: Any, room: Room) -> None:
    page.keyboard.press("r")
    page.get_by_role("button", name="End recording").wait_for()
    page.reload()
    live(page)
    page.get_by_role("button", name="End recording").wait_for()
    page.keyboard.press("r")
    page.get_by_role("link", name="a.mp4").wait_for()
    assert room.recording is False


def test_a_held_key_acts_once(page: Any, echo: Echo) -> None:
    page.keyboard.down("r")
    for _ in range(4):
        page.keyboard.down("r")  # as a keyboard repeats it
    page.keyboard.up("r")
    page.get_by_role("button", name="End recording").wait_for()
    advance(page)
    assert [message["on"] for message in echo.heard if message["type"] == "record"] == [True]


def test_single_keys_can_be_turned_off(page: Any) -> None:
    page.keyboard.press("?")
    page.get_by_role("checkbox", name="Single keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    assert page.evaluate("() => millstream.look.view.value") == "side"
    page.reload()
    live(page)
    page.keyboard.press("v")
    assert page.evaluate("() => millstream.look.view.value") == "side"
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_role("checkbox", name="Single keys").check()
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    assert page.evaluate("() => millstream.look.view.value") == "result"


TRAVEL = """async () => {
    const { Travel } = await import("/js/travel.js");
    const { show } = millstream;
    window.travel = new Travel(show.settings, show.role);
    travel.stops.value = [{ text: "frost", seconds: 0 }, { text: "gold", seconds: 60 }];
    travel.start();
}"""
MOVING = "() => millstream.show.settings.value('prompt').length === 2"
AT_REST = "() => travel.elapsed.value === null"


@pytest.mark.parametrize(
    "other",
    [
        "millstream.show.settings.undo()",
        "millstream.show.settings.set('prompt', [{ text: 'night', weight: 1 }])",
        "millstream.show.settings.apply({ params: { prompt: [{ text: 'night', weight: 1 }] } })",
    ],
)
def test_a_travel_gives_way_to_any_other_change_of_the_prompt(page: Any, room: Room, other: str) -> None:
    page.evaluate("() => millstream.show.settings.set('prompt', [{ text: 'night', weight: 1 }])")
    page.wait_for_timeout(900)  # or the travel were one gesture with it
    page.evaluate(TRAVEL)
    until(page, MOVING)
    page.evaluate(f"() => void {other}")
    until(page, AT_REST)
    page.wait_for_timeout(500)
    assert [prompt["text"] for prompt in room.settings["params"]["prompt"]] == ["night"]


def test_a_travel_ends_without_a_way_or_control(browser: Any, page: Any, echo: Echo, address: str) -> None:
    page.evaluate(TRAVEL)
    page.evaluate("() => { travel.loop.value = true; }")
    until(page, MOVING)
    page.evaluate("() => { travel.stops.value = travel.stops.value.slice(1); }")
    until(page, AT_REST)
    page.evaluate(TRAVEL)
    until(page, MOVING)
    other = open_page(browser, address, script=session_of(page))
    live(other)
    until(page, AT_REST)
    before = sum(message["type"] == "set" for message in echo.heard)
    page.wait_for_timeout(500)
    assert sum(message["type"] == "set" for message in echo.heard) == before
    other.context.close()


def test_a_camera_that_is_allowed_late_does_not_replace_a_later_choice(browser: Any, address: str) -> None:
    page = open_page(browser, address, script=SLOW_CAMERA)
    live(page)
    page.keyboard.press("1")
    until(page, "() => window.wanted")
    page.keyboard.press("3")
    until(page, "() => millstream.sources.kind.value === 'drawing'")
    page.evaluate("() => grant()")
    until(page, "() => window.stream.getTracks().every((track) => track.readyState === 'ended')")
    assert page.evaluate("() => [millstream.sources.kind.value, millstream.show.sender.source.kind]") == ["drawing"] * 2
    page.context.close()


def test_the_key_takes_the_chosen_camera(browser: Any, address: str) -> None:
    page = open_page(browser, address, script=SLOW_CAMERA)
    live(page)
    page.evaluate("() => void millstream.sources.chooseCamera('the-second')")
    page.evaluate("() => grant()")
    until(page, "() => millstream.sources.kind.value === 'camera'")
    page.evaluate("() => { window.wanted = null; }")
    page.keyboard.press("1")
    assert until(page, "() => window.wanted")["video"]["deviceId"] == "the-second"
    page.context.close()


def test_a_source_that_fails_to_start_gives_back_what_it_opened(browser: Any, address: str) -> None:
    fails = (
        SLOW_CAMERA + "const play = HTMLMediaElement.prototype.play; HTMLMediaElement.prototype.play = function () {"
    )
    fails += " return this.srcObject ? Promise.reject(new Error('no picture')) : play.call(this); };"
    page = open_page(browser, address, script=fails)
    live(page)
    page.keyboard.press("1")
    until(page, "() => window.wanted")
    page.evaluate("() => grant()")
    page.get_by_text("camera: no picture").first.wait_for()
    assert page.evaluate("() => window.stream.getTracks().map((track) => track.readyState)") == ["ended"]
    assert page.evaluate("() => millstream.sources.kind.value") == "demo"
    advance(page, 3)
    page.context.close()
