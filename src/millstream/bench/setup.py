"""What all tables share: the model, the picture size, the prompt, the pictures, how many frames are timed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from millstream.backends.choice import fastest
from millstream.bench.limit import product_rate
from millstream.bench.systems import Case
from millstream.bench.timing import Place, Raced, System, race
from millstream.engine import resolve
from millstream.frame import Frame, Pixels
from millstream.media.demo import draw
from millstream.media.fit import fit_frame
from millstream.media.sources import DEMO, open_source
from millstream.models import Model, load_model
from millstream.params import ModelConfig, Params, StreamConfig, check

PROMPT = "ink drawing"
STRENGTH = 0.5  # half of any number of steps is whole, so that diffusers runs as many as the others
PICTURES = 8


@dataclass(frozen=True)
class Plan:
    """What to measure: `size` is width and height, `python` the interpreter of streamdiffusion's environment.

    `source` is where moving pictures come from, for the tables that need more than a few. `label` is what readers are
    told of the model; by default its name.
    """

    model: str
    frames: int
    size: tuple[int, int] | None = None
    python: str | None = None
    source: str = DEMO
    label: str = ""


@dataclass(frozen=True)
class Setup:
    """A plan with its model loaded."""

    plan: Plan
    model: Model

    @classmethod
    def load(cls, plan: Plan) -> "Setup":
        """Load the model. Raises ModelError where it cannot be."""
        return cls(plan, load_model(ModelConfig(name=plan.model)))

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures. Raises BadInputError for those that the model cannot take."""
        width, height = self.plan.size or (self.model.width, self.model.height)
        resolve(check(StreamConfig, {"width": width, "height": height, "backend": "eager"}), self.model)
        return width, height

    @property
    def fastest(self) -> str:
        """The fastest back end that can run here."""
        return fastest(self.model.device, self.model.dtype)

    @cached_property
    def product_rate(self) -> float:
        """Floating-point operations a second of this machine's matrix products, in the model's numbers, measured."""
        return product_rate(self.model.device, self.model.dtype)

    @property
    def size_name(self) -> str:
        """Width and height for a row's case."""
        return "{}x{}".format(*self.size)

    @cached_property
    def pictures(self) -> list[Pixels]:
        """A few different pictures, drawn, so that every machine has the same."""
        return [draw(i / PICTURES, *self.size) for i in range(PICTURES)]

    def case(self, steps: int, backend: str, params: dict[str, Any] | None = None, **config: Any) -> Case:
        """A stream of so many steps on a back end. Raises ModelError where that cannot run here."""
        width, height = self.size
        form = {"width": width, "height": height, "steps": steps, "backend": backend} | config
        values = {"prompt": PROMPT, "strength": STRENGTH} | (params or {})
        return Case(self.model, resolve(check(StreamConfig, form), self.model), check(Params, values))

    def race(self, table: str, steps: int, systems: Sequence[System]) -> Raced:
        """Warm the systems up and time them in turns; the rows' case is the picture size."""
        return race(Place(table, steps, self.size_name), systems, self.pictures, self.plan.frames)

    def moving(self, count: int) -> Iterator[Frame]:
        """The first frames of the source, of the size of the pictures, as they are read."""
        source = open_source(self.plan.source)
        try:
            for frame in islice(source, count):
                yield fit_frame(frame, self.size)
        finally:
            source.close()
