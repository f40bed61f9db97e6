"""`millstream bench live`: how old a picture is when it is seen, from the source's canvas to the result's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import monotonic

import torch

from millstream.bench.live import browser
from millstream.bench.live.client import python_client
from millstream.bench.live.kill import killed
from millstream.bench.live.report import Gate, LiveReport, Row, figures_of
from millstream.bench.live.server import Meter, Server, serving, serving_straight
from millstream.bench.live.soak import cycles, soak
from millstream.bench.live.swap import swaps
from millstream.bench.live.watch import Watch
from millstream.bench.report import describe_machine
from millstream.errors import MillstreamError
from millstream.server.protocol import CodecName

WARM = 2.0  # seconds before what counts
BUILD = 600.0  # seconds that the default back end may take to be built
ORDERED = [Gate("out_of_order", "<=", 0), Gate("mislabelled", "<=", 0)]
TRANSPORT = [Gate("fps", ">=", 29), Gate("age_ms_p50", "<=", 20), Gate("age_ms_p95", "<=", 30), *ORDERED]
SLOW_SECONDS = 0.06
SLOW = [Gate("fps", ">=", 14.5), Gate("age_ms_p50", "<=", 90), *ORDERED]
EMBEDDED_SIDE, EMBEDDED_STEPS = 256, 2
CODECS: tuple[CodecName, ...] = ("h264", "vp8", "jpeg")
SETTING = (
    "On loopback, the server in a process of its own; the source makes 30 pictures a second of 512x512 with much "
    "detail, which all moves. Ages are milliseconds from the moment at which a picture was made to that at which its "
    "result was read back, by a number in its pixels; `cpu` is percent of one core, that of the server with its "
    "engine, that of the client with its browser. `transport` and `python`: the engine gives every picture back at "
    f"once. `slow`: after {1000 * SLOW_SECONDS:.0f} ms, which allows {1 / SLOW_SECONDS:.1f} pictures a second. "
    f"`embedded`: the embedded model on the default back end, {EMBEDDED_STEPS} steps, the source scaled down to "
    f"{EMBEDDED_SIDE}x{EMBEDDED_SIDE}; there ages go by the capture time that a picture comes back with."
)


@dataclass(frozen=True)
class Plan:
    """Seconds a case, clients that come and go, minutes of the soak, the model, and the codecs, best first."""

    seconds: float
    cycles: int
    soak: float | None = None
    model: str = "embedded"
    codecs: Sequence[CodecName] = CODECS


FULL, QUICK = Plan(20.0, 200), Plan(5.0, 20)

Client = Callable[[str, CodecName, bool], AbstractContextManager[Watch]]


class Bench:
    """A run: its rows and remarks as they come. `client` is the page where a browser can be driven, else Python's."""

    def __init__(self, plan: Plan, client: Client, name: str) -> None:
        self.rows: list[Row] = []
        self.trials: list[Row] = []
        self.remarks: list[str] = []
        self._plan, self._client, self._name = plan, client, name

    def run(self) -> None:
        """Measure all cases. Raises MillstreamError."""
        plan = self._plan
        with serving_straight(0.0, plan.model) as server:
            self._transport(server)
            for codec in plan.codecs:
                with python_client(server.url, codec, stamped=True) as watch:
                    self._note("python", "python", watch, server, TRANSPORT)
            self.trials.append(cycles(server, plan.cycles))
        with serving_straight(SLOW_SECONDS, plan.model) as server, self._open(server, stamped=True) as watch:
            self._note("slow", self._name, watch, server, SLOW)
        with self._embedded() as server, self._open(server, stamped=False) as watch:
            self.remarks.append(f"embedded: on {_built(watch)}")
            self._note("embedded", self._name, watch, server, ORDERED)
        with self._embedded() as server:
            self.trials.append(killed(server))
        self.trials += swaps(plan.model)
        if plan.soak is not None:
            self.soak(plan.soak)

    def _transport(self, server: Server) -> None:
        if self._name == "python":
            return
        for codec in self._plan.codecs:
            with self._client(server.url, codec, True) as watch:
                if watch.codec == codec:
                    self._note("transport", self._name, watch, server, TRANSPORT)
                else:
                    self.remarks.append(f"transport: this browser has no {codec}, it took {watch.codec}; not measured")

    def soak(self, minutes: float) -> None:
        """Of both: what moves the pictures, and what is done to them. A tick that is built would count as growth."""
        with serving_straight(0.0, self._plan.model) as server, self._open(server, stamped=True) as watch:
            self.trials.append(soak("transport", watch, server, minutes))
        with self._embedded() as server, self._open(server, stamped=False) as watch:
            _built(watch)
            self.trials.append(soak("embedded", watch, server, minutes))

    def _embedded(self) -> AbstractContextManager[Server]:
        return serving(self._plan.model, EMBEDDED_SIDE, EMBEDDED_STEPS)

    def _open(self, server: Server, stamped: bool) -> AbstractContextManager[Watch]:
        return self._client(server.url, self._plan.codecs[0], stamped)

    def _note(self, case: str, client: str, watch: Watch, server: Server, gates: Sequence[Gate]) -> None:
        watch.see(WARM)
        meter = Meter(server)
        seen = watch.see(self._plan.seconds)
        self.rows.append(Row(case, client, watch.codec, figures_of(seen, meter.read()), gates))


def _built(watch: Watch) -> str:
    """Look on until the back end is built; its name."""
    end = monotonic() + BUILD
    while (backend := watch.backend) is None:
        if monotonic() > end:
            raise MillstreamError(f"the back end was not built in {BUILD:.0f} s; try `millstream doctor`")
        watch.see(WARM)
    return backend


def measure(plan: Plan) -> LiveReport:
    """Measure all cases. Raises MillstreamError."""
    machine = describe_machine(torch.device("cpu"))
    with _client() as (client, name, remarks):
        bench = Bench(plan, client, name)
        bench.run()
    return LiveReport(machine, SETTING, bench.rows, bench.trials, [*remarks, *bench.remarks])


@contextmanager
def _client() -> Iterator[tuple[Client, str, list[str]]]:
    """What streams: the page in a browser, or where there is none the Python client; and what there is to say of it."""
    if reason := browser.lacking():
        yield python_client, "python", [f"transport: not measured, {reason}; the other cases have the Python client"]
        return
    with browser.chromium() as chromium:

        def page(url: str, codec: CodecName, stamped: bool) -> AbstractContextManager[Watch]:
            return browser.page(chromium, url, codec, stamped)

        yield page, "page", [f"the page is shown by Chromium {chromium.version}"]
