"""Sessions on one device: each tick is one encoder, one denoiser and one decoder call for all that agree."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import astuple
from functools import lru_cache
from itertools import groupby
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from millstream.backends import calibration
from millstream.backends.choice import EAGER, choose
from millstream.backends.plain import Run, weight_bytes
from millstream.backends.plans import Base, Plans
from millstream.backends.store import Store
from millstream.backends.tasks import together
from millstream.copies import Entrance, entrance
from millstream.core.crossframe import neighbours
from millstream.core.graph import Form, Inputs, LaneForm, TickGraph
from millstream.core.guidance import guidance_weights
from millstream.core.noise import stage_noise
from millstream.core.rows import Conditioning, Group, Lane, Layout, Prepared
from millstream.core.schedule import Rule, levels_from_strength, levels_from_t_index, make_stages, spread
from millstream.core.tick import admit, advance
from millstream.errors import BadInputError, MillstreamError
from millstream.frame import Frame
from millstream.leaving import finish, pictures
from millstream.memory import check_rows, check_tick, free_bytes
from millstream.models import Model
from millstream.params import Params, StreamConfig, WeightedPrompt, check
from millstream.turns import Turns, held

KEPT_SEEDS = 4
# The stream that an engine of rows is built for, and measured on: rows early and late, and under both prompts.
STANDING: dict[str, Any] = {"steps": 2, "guidance": "one-time-negative"}


class Session:
    """One stream on a device: its rows, and the parameters that the next frames enter with.

    `config` is complete: width, height, back end and precision are set. `version` counts the changes of parameters,
    from 1 or from where the session before this one stood. `waits` says whether a tick waits for the back end to be
    ready, or runs eager until it is. `indices` is how many values t_index has: one a step, or more, of which as many as
    there are steps are used. Sessions that are alike in `call` can share a tick, and stand in it by their `order`.
    """

    def __init__(
        self, model: Model, config: StreamConfig, params: Params, version: int = 1, indices: int | None = None
    ) -> None:
        self.model = model
        self.indices = indices or config.steps
        self.config = resolve(config, model)
        self.backend = choose(self.config.backend, self.config.precision, model.device, model.dtype).backend
        self.rule: Rule = model.rule if config.sampler == "auto" else config.sampler
        self.layout = Layout(
            stages=config.steps,
            frames=config.frame_buffer,
            shape=(model.channels, self.size[1] // model.factor, self.size[0] // model.factor),
            guidance=config.guidance,
            cross_frame=config.cross_frame,
        )
        self.call = self.layout.shape, self.config.backend, self.config.precision
        self.order = *self.call, astuple(self.layout), config.input
        check_rows(self.layout, 3 * self.size[0] * self.size[1], model.device)
        self.params = params
        self._noise = lru_cache(KEPT_SEEDS)(self._draw_noise)
        self.prepared = self._prepare(params, version)
        self.lane: Lane[Frame] = Lane(self.layout, self.prepared, model.device)
        self._entrance = self._lay_out_entrance()
        self.pixels = None if self._entrance is None else self._entrance.pixels
        self.waits = True
        self._changing = Lock()
        self._claimed = Lock()
        self._steer = False

    @property
    def whole(self) -> LaneForm:
        """The form of a tick in which a full group enters and another leaves."""
        m = self.layout.frames
        return LaneForm(self.layout, 0 if self.pixels is None else m, m)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures."""
        assert self.config.width and self.config.height
        return self.config.width, self.config.height

    @property
    def version(self) -> int:
        """Revision of the parameters that the next frame enters with."""
        return self.prepared.version

    @property
    def busy(self) -> bool:
        """Whether a frame is in flight."""
        return self.lane.busy

    @property
    def apart(self) -> bool:
        """Whether its rows are computed each by a thread of its own, so that a tick that is not full leaves cores."""
        return self.backend is not None and self.backend.apart

    def update(self, changes: Mapping[str, Any], in_flight: bool = False) -> int:
        """Change parameters for the frames that enter from now on; give the new version.

        With `in_flight` prompts and guidance reach the frames already taken in, at the next tick. May be called from
        any thread, never waits for the denoiser. Raises BadInputError, and then nothing has changed.
        """
        with self._changing:
            return update_alike([self], changes, in_flight)

    def claim(self) -> None:
        """Take the session for one source of frames. Raises MillstreamError where another has it."""
        if not self._claimed.acquire(blocking=False):
            raise MillstreamError("the stream is in use: end the other run or close the live stream, or open a second")

    def release(self) -> None:
        """Let go of the frames in flight, and of the claim."""
        self.lane.clear()
        self._claimed.release()

    def take(self, frames: Sequence[Frame]) -> Group[Frame] | None:
        """Copy the pictures that enter together, under the parameters of this moment; None where there are none."""
        if self._entrance is not None and frames:
            self._entrance.take([_pixels(frame, self) for frame in frames])
        return Group(frames, [frame.id for frame in frames], self.pixels, self.prepared) if frames else None

    def settle(self) -> None:
        """Carry out what has to wait for the space between two ticks."""
        if self._steer:
            self._steer = False
            self.lane.steer(self.prepared)

    def revise(self, changes: Mapping[str, Any], version: int) -> "Revision":
        """Compute a change, and change nothing yet. Raises BadInputError where it cannot be."""
        params = check(Params, self.params.model_dump() | dict(changes))
        return Revision(params, self._prepare(params, version))

    def adopt(self, revision: "Revision", in_flight: bool) -> None:
        """Let the frames that enter from now on have it; with `in_flight` prompts and guidance of the others too."""
        self.params, self.prepared = revision
        self._steer = self._steer or in_flight

    def _prepare(self, params: Params, version: int) -> Prepared:
        if params.similarity_filter and self.config.input == "text":
            raise BadInputError("similarity_filter: needs input pictures; turn it off for text to image")
        levels = self._levels(params)
        stages = make_stages(self.model.schedule, levels, self.rule, params.renoise)
        guidance_weights(self.layout.guidance, params.guidance_scale, params.delta, stages.a)  # refuses here, not later
        return Prepared(
            version=version,
            stages=stages,
            noise=self._noise(params.seed),
            cond=self.model.condition(params.prompt, params.guidance_scale, self.size),
            negative=self._negative(params),
            gamma=params.guidance_scale,
            delta=params.delta,
            seed=params.seed,
            correlation=params.noise_correlation,
        )

    def _levels(self, params: Params) -> list[int]:
        steps, levels = self.layout.stages, len(self.model.schedule.a)
        if params.t_index is None:
            strength = 1.0 if self.config.input == "text" else params.strength
            return levels_from_strength(steps, strength, self.rule, levels)
        if len(params.t_index) != self.indices:
            raise BadInputError(f"t_index: give {self.indices} values, one a step (got {len(params.t_index)})")
        return levels_from_t_index(spread(params.t_index, steps), levels)

    def _draw_noise(self, seed: int) -> Float[Tensor, "stages c h w"]:
        return stage_noise(seed, self.layout.stages, self.layout.shape).to(self.model.device)

    def _lay_out_entrance(self) -> Entrance | None:
        """Where pictures enter; None for text to image."""
        width, height = self.size
        shape = self.layout.frames, height, width, 3
        return None if self.config.input == "text" else entrance(shape, self.model.device)

    def _negative(self, params: Params) -> Conditioning:
        if not self.layout.negative_rows:
            return {}
        return self.model.condition((WeightedPrompt(text=params.negative_prompt),), params.guidance_scale, self.size)


class Revision(NamedTuple):
    """Changed parameters, and what is computed of them."""

    params: Params
    prepared: Prepared


def update_alike(
    sessions: Collection[Session], changes: Mapping[str, Any], in_flight: bool = False, above: int = 0
) -> int:
    """Change parameters of several sessions alike; give their new version, the same for all and larger than `above`.

    Raises BadInputError where one of them cannot take the change, and then nothing has changed in any.
    """
    version = 1 + max(above, *(session.version for session in sessions))
    revisions = [(session, session.revise(changes, version)) for session in sessions]
    for session, revision in revisions:
        session.adopt(revision, in_flight)
    return version


class Plan(NamedTuple):
    """What computes a tick, and the form that it computes: the tick's own, or one that does more."""

    form: Form
    run: Run


class Engine:
    """The sessions of one model on one device. Threads that tick take turns, in the order in which they asked."""

    def __init__(self, model: Model, store: Store | None = None) -> None:
        """`store` is the engine cache; by default that of the user."""
        self.model = model
        self.plans = Plans(model, store, limit=free_bytes(model.device) / 4)
        self._turns = Turns()

    def turn(self) -> AbstractContextManager[None]:
        """Its turn, for ticks that are to be done at once by this thread and others in copies of its context."""
        return held(self._turns)

    @property
    def asynchronous(self) -> bool:
        """Whether its device computes while the host goes on."""
        return self.model.device.type == "cuda"

    def open(self, config: StreamConfig, params: Params, version: int = 1, indices: int | None = None) -> Session:
        """Open a session, whose parameters have this version. See `Session` for `indices`.

        Raises BadInputError where the model cannot serve it, ModelError where no back end can, or memory does not do.
        """
        session = Session(self.model, config, params, version, indices)
        weights = self._weights() if session.backend else 0
        check_tick(self.model, (session.whole,), _inputs([session]), weights, self.model.device)
        return session

    def prepare(self, *sessions: Session) -> Future[Run] | None:
        """Begin to build the tick that these sessions share, and never wait; None where there is nothing to build.

        The future raises ModelError where the back end cannot build it.
        """
        backend, form = sessions[0].backend, tuple(session.whole for session in sessions)
        if backend is None:
            return None
        return self.plans.prepare(backend, form, lambda: _inputs(sessions), lambda: self._base(sessions, form))

    def _base(self, sessions: Sequence[Session], form: Form) -> Base:
        """What their engine is built for: their own tick, or where each row is a call of its own, any stream."""
        configs = [session.config for session in sessions]
        if sessions[0].apart and not together(form):
            kept = configs[0].model_dump(include={"width", "height", "backend", "precision"})
            configs = [StreamConfig(**kept, **STANDING)]
            form = (LaneForm(Layout(STANDING["steps"], 1, form[0].layout.shape, STANDING["guidance"]), 1, 1),)
        return Base(form, lambda: _inputs(self._sessions(configs)), lambda: self._played(configs))

    def _sessions(self, configs: Iterable[StreamConfig]) -> list[Session]:
        return [Session(self.model, config, Params()) for config in configs]

    def computing(self, session: Session) -> str:
        """The name of what computes a session's ticks: its back end, or eager until that is built."""
        building = self.prepare(session)
        return session.config.backend if building is None or building.done() else EAGER

    def tick(self, entering: Mapping[Session, Sequence[Frame]]) -> dict[Session, list[Frame]]:
        """Take in at most `frame_buffer` frames per session (none is a bubble), and give what comes out of each.

        See `begin`.
        """
        return self.begin(entering)()

    @torch.inference_mode()
    def begin(self, entering: Mapping[Session, Sequence[Frame]]) -> Callable[[], dict[Session, list[Frame]]]:
        """Begin a tick: take in at most `frame_buffer` frames per session (none is a bubble).

        What it gives waits, when called, for what comes out of each. On a card the next tick may be begun before, so
        that the card computes on while the host does the rest; elsewhere the tick is done here.

        Sessions of one picture size and back end share the encoder, denoiser and decoder calls; others follow in their
        own. Pixels must have the session's size. Where every session `waits`, the first tick of a form takes as long
        as its back end builds. Raises ModelError when that fails; what waits raises it when the model's numbers are no
        picture.
        """
        begun: list[tuple[list[Session], Callable[[], list[list[Frame]]]]] = []
        for sessions in _agreeing(entering):
            built = self._wait_for_plan(sessions)  # before its turn: a build takes long, and others go on
            with self.turn():
                for session in sessions:
                    session.settle()
                groups = [session.take(entering[session]) for session in sessions]
                begun.append((sessions, self._begin(sessions, groups, built)))
        return lambda: {
            session: frames for sessions, finish in begun for session, frames in zip(sessions, finish(), strict=True)
        }

    def _begin(
        self, sessions: Sequence[Session], groups: Sequence[Group[Frame] | None], built: Plan | None
    ) -> Callable[[], list[list[Frame]]]:
        lanes = [session.lane for session in sessions]
        form, inputs = admit(lanes, groups), _inputs(sessions)
        # Until something is built, the graph as it is, with nothing in it that is not needed.
        plan = built or Plan(form, TickGraph(self.model, form))
        outputs = plan.run(inputs, [lane.occupied() for lane in lanes])
        leaving = advance(lanes, outputs)
        made = pictures(outputs, leaving, plan.form)
        return lambda: [finish(*each) for each in zip(leaving, made(), strict=True)]

    def _wait_for_plan(self, sessions: Sequence[Session]) -> Plan | None:
        """What is built for these sessions, or None until it is. Waits for it where all of them wait."""
        building = self.prepare(*sessions)
        if building and self._built(building, all(session.waits for session in sessions)):
            return Plan(tuple(session.whole for session in sessions), building.result())
        return None

    def _played(self, configs: Sequence[StreamConfig]) -> Iterator[Inputs]:
        """Inputs of a tick of such streams, over real pictures, each at every stage; latents of stage 0 alone count."""
        sessions = self._sessions(configs)
        for changes, picture in calibration.scenes(*sessions[0].size):
            update_alike(sessions, changes)
            for session in sessions:
                group = session.take([Frame(0, picture)] * session.layout.frames)
                assert group
                session.lane.fill(group)
            yield _inputs(sessions)

    def _weights(self) -> int:
        """Bytes of what a compiler copies; 0 where the networks are not loaded, for then it is built already."""
        networks = self.model.networks.done
        return weight_bytes(self.model) if networks.done() else 0

    def _built(self, building: Future[Run], waits: bool) -> bool:
        """Whether to go on with what is built. Eager takes its place only where that would not take longer still."""
        if building.done():  # as at nearly every tick, where `wait` would cost a tenth of what the engine does itself
            return True
        ready: list[Future[Any]] = [building] if waits else [building, self.model.networks.done]
        wait(ready, return_when=FIRST_COMPLETED)
        return building.done()


def resolve(config: StreamConfig, model: Model) -> StreamConfig:
    """Complete the size from the model's own, and back end and precision from what can run here.

    Raises BadInputError for a size that the model cannot take, ModelError for a back end that cannot run.
    """
    width, height = config.width or model.width, config.height or model.height
    for name, side in (("width", width), ("height", height)):
        if side % model.multiple:
            low = side // model.multiple * model.multiple
            near = f"{low} or {low + model.multiple}" if low else f"{model.multiple}"
            raise BadInputError(f"{name}: this model takes multiples of {model.multiple}; use {near} (got {side})")
    choice = choose(config.backend, config.precision, model.device, model.dtype, model.judged)
    complete = {"width": width, "height": height, "backend": choice.name, "precision": choice.precision}
    return config.model_copy(update=complete)


def _agreeing(sessions: Iterable[Session]) -> list[list[Session]]:
    """Sessions whose rows can share a call, always in the same order of their forms, so that they share a plan too."""
    ordered = sorted(sessions, key=lambda session: session.order)
    return [list(group) for _, group in groupby(ordered, key=lambda session: session.call)]


def _inputs(sessions: Sequence[Session]) -> Inputs:
    lanes = [session.lane for session in sessions]
    pixels = {place: session.pixels for place, session in enumerate(sessions) if session.pixels is not None}
    return Inputs(pixels, [lane.rows for lane in lanes], neighbours(lanes))


def _pixels(frame: Frame, session: Session) -> UInt8[np.ndarray, "h w 3"]:
    width, height = session.size
    if frame.pixels.shape != (height, width, 3):
        raise BadInputError(f"frame {frame.id}: expected {width}x{height} RGB, got shape {frame.pixels.shape}")
    return frame.pixels
