"""Sessions on one device: each tick is one encoder, one denoiser and one decoder call for all that agree."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby, islice
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from millstream.core.guidance import guidance_weights
from millstream.core.noise import stage_noise
from millstream.core.rows import Conditioning, Group, Lane, Layout, Leaving, Prepared
from millstream.core.schedule import Rule, levels_from_strength, levels_from_t_index, make_stages
from millstream.core.tick import tick
from millstream.errors import BadInputError, MillstreamError, ModelError
from millstream.frame import Frame
from millstream.models import Model
from millstream.params import Params, StreamConfig, WeightedPrompt, check

KEPT_SEEDS = 4


class Session:
    """One stream on a device: its rows, and the parameters that the next frames enter with.

    `config` is complete: width and height are set. `version` counts the changes of parameters from 1.
    """

    def __init__(self, model: Model, config: StreamConfig, params: Params) -> None:
        self.model = model
        self.config = resolve(config, model)
        self.rule: Rule = model.rule if config.sampler == "auto" else config.sampler
        self.layout = Layout(
            stages=config.steps,
            frames=config.frame_buffer,
            shape=(model.channels, self.size[1] // model.factor, self.size[0] // model.factor),
            guidance=config.guidance,
            cross_frame=config.cross_frame,
        )
        self.params = params
        self._noise = lru_cache(KEPT_SEEDS)(self._draw_noise)
        self.prepared = self._prepare(params, version=1)
        self.lane: Lane[Frame] = Lane(self.layout, self.prepared, model.device)
        self._changing = Lock()
        self._claimed = Lock()
        self._steer = False

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

    def update(self, changes: Mapping[str, Any], in_flight: bool = False) -> int:
        """Change parameters for the frames that enter from now on; give the new version.

        With `in_flight` prompts and guidance reach the frames already taken in, at the next tick. May be called from
        any thread, never waits for the denoiser. Raises BadInputError, and then nothing has changed.
        """
        with self._changing:
            params = check(Params, self.params.model_dump() | dict(changes))
            self.prepared = self._prepare(params, self.version + 1)
            self.params = params
            self._steer = self._steer or in_flight
        return self.version

    def claim(self) -> None:
        """Take the session for one source of frames. Raises MillstreamError where another has it."""
        if not self._claimed.acquire(blocking=False):
            raise MillstreamError("the stream is in use: end the other run or close the live stream, or open a second")

    def release(self) -> None:
        """Let go of the frames in flight, and of the claim."""
        self.lane.clear()
        self._claimed.release()

    def group(self, frames: Sequence[Frame], z: Float[Tensor, "frames c h w"] | None) -> Group[Frame]:
        """The frames that enter together, under the parameters of this moment. `z` None: text to image."""
        return Group(frames, [frame.id for frame in frames], z, self.prepared)

    def settle(self) -> None:
        """Carry out what has to wait for the space between two ticks."""
        if self._steer:
            self._steer = False
            self.lane.steer(self.prepared)

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
            cond=self.model.condition(params.prompt, params.guidance_scale),
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
        if len(params.t_index) != steps:
            raise BadInputError(f"t_index: give {steps} values, one a step (got {len(params.t_index)})")
        return levels_from_t_index(params.t_index, levels)

    def _draw_noise(self, seed: int) -> Float[Tensor, "stages c h w"]:
        return stage_noise(seed, self.layout.stages, self.layout.shape).to(self.model.device)

    def _negative(self, params: Params) -> Conditioning:
        if not self.layout.negative_rows:
            return {}
        return self.model.condition((WeightedPrompt(text=params.negative_prompt),), params.guidance_scale)


class Engine:
    """The sessions of one model on one device."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def open(self, config: StreamConfig, params: Params) -> Session:
        """Open a session. Raises BadInputError where the model cannot serve it."""
        return Session(self.model, config, params)

    @torch.inference_mode()
    def tick(self, entering: Mapping[Session, Sequence[Frame]]) -> dict[Session, list[Frame]]:
        """Take in at most `frame_buffer` frames per session (none is a bubble), and give what comes out of each.

        Sessions of one picture size share the encoder, denoiser and decoder calls; others follow in their own.
        Pixels must have the session's size. Raises ModelError when the model's numbers are no picture.
        """
        done: dict[Session, list[Frame]] = {}
        for sessions in _agreeing(entering):
            for session in sessions:
                session.settle()
            groups = self._encode(sessions, entering)
            leaving = tick(self.model.denoise, [session.lane for session in sessions], groups)
            done |= zip(sessions, self._decode(leaving), strict=True)
        return done

    def _encode(
        self, sessions: Sequence[Session], entering: Mapping[Session, Sequence[Frame]]
    ) -> list[Group[Frame] | None]:
        pictured = [s for s in sessions if entering[s] and s.config.input == "image"]
        pixels = [_pixels(frame, session) for session in pictured for frame in entering[session]]
        latents = {}
        if pixels:
            z = self.model.encode(torch.from_numpy(np.stack(pixels)).to(self.model.device))
            latents = dict(zip(pictured, torch.split(z, [len(entering[s]) for s in pictured]), strict=True))
        return [
            session.group(entering[session], latents.get(session)) if entering[session] else None
            for session in sessions
        ]

    def _decode(self, leaving: Sequence[Leaving[Frame] | None]) -> list[list[Frame]]:
        latents = [each.latents for each in leaving if each is not None]
        if not latents:
            return [[] for _ in leaving]
        together = torch.cat(latents)
        pictures = iter(self.model.decode(together).cpu().numpy())
        if not bool(torch.isfinite(together).all()):
            raise ModelError("the model gave numbers that are no picture (NaN): run it with --dtype float32")
        return [[] if each is None else _finish(each, pictures) for each in leaving]


def resolve(config: StreamConfig, model: Model) -> StreamConfig:
    """Complete the size from the model's own, and refuse one that it cannot take."""
    width, height = config.width or model.width, config.height or model.height
    for name, side in (("width", width), ("height", height)):
        if side % model.multiple:
            low = side // model.multiple * model.multiple
            near = f"{low} or {low + model.multiple}" if low else f"{model.multiple}"
            raise BadInputError(f"{name}: this model takes multiples of {model.multiple}; use {near} (got {side})")
    return config.model_copy(update={"width": width, "height": height})


def _agreeing(sessions: Iterable[Session]) -> list[list[Session]]:
    """Sessions whose rows can share a call."""
    shape = {session: session.layout.shape for session in sessions}
    return [list(group) for _, group in groupby(sorted(shape, key=shape.__getitem__), key=shape.__getitem__)]


def _pixels(frame: Frame, session: Session) -> UInt8[np.ndarray, "h w 3"]:
    width, height = session.size
    if frame.pixels.shape != (height, width, 3):
        raise BadInputError(f"frame {frame.id}: expected {width}x{height} RGB, got shape {frame.pixels.shape}")
    return frame.pixels


def _finish(leaving: Leaving[Frame], pictures: Iterator[UInt8[np.ndarray, "h w 3"]]) -> list[Frame]:
    mine = islice(pictures, len(leaving.tags))
    return [
        replace(frame, pixels=pixels, version=leaving.version) for frame, pixels in zip(leaving.tags, mine, strict=True)
    ]
