"""Everything is a row: one latent at one noise level under one conditioning.

A `Lane` holds the rows of one stream in tensors whose addresses never change, stage-major: the m frames that
entered i ticks ago are rows i*m .. (i+1)*m - 1. What a frame entered with (`Prepared`) moves on with its rows; where
the next frame entered with the same, nothing is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from millstream.core.guidance import Mode, Weights, guidance_weights, negative_rows
from millstream.core.noise import frame_noise, mix_noise
from millstream.core.schedule import Stages

Tag = TypeVar("Tag")

# Named tensors, rows first: prompt embeddings, and whatever else this model's network is conditioned on.
Conditioning = dict[str, Tensor]


class Denoiser(Protocol):
    """The network, raw: any callable from noisy latents, times and conditioning to its prediction."""

    def __call__(
        self, x: Float[Tensor, "rows c h w"], t: Float[Tensor, "rows"], cond: Conditioning
    ) -> Float[Tensor, "rows c h w"]:
        """One call over all rows, each with its own time and conditioning."""
        ...


@dataclass(frozen=True)
class Layout:
    """The form of one stream's rows. A change here needs a new lane."""

    stages: int
    frames: int
    shape: tuple[int, int, int]
    guidance: Mode = "none"
    cross_frame: bool = False

    @property
    def rows(self) -> int:
        """Rows of the stream itself, without their negative companions."""
        return self.stages * self.frames

    @property
    def negative_rows(self) -> int:
        """Rows, from the first, that are run a second time under the negative prompt."""
        return negative_rows(self.guidance, self.stages, self.frames)


@dataclass(frozen=True)
class Prepared:
    """One version of a stream's parameters, computed once: what a frame enters with and keeps.

    `noise` has shape (stages, c, h, w); `cond` and `negative` hold tensors of one row.
    """

    version: int
    stages: Stages
    noise: Float[Tensor, "stages c h w"]
    cond: Conditioning
    negative: Conditioning
    gamma: float = 1.0
    delta: float = 1.0
    seed: int = 0
    correlation: float = 1.0

    def steered_by(self, other: "Prepared") -> "Prepared":
        """Take prompt and guidance from `other`; noise levels stay, for the latent is already noised to them."""
        return replace(
            self,
            version=other.version,
            cond=other.cond,
            negative=other.negative,
            gamma=other.gamma,
            delta=other.delta,
        )

    def noise_of(self, frame: int, stage: int) -> Float[Tensor, "c h w"]:
        """Noise of a frame at a stage: fixed, shared or independent, as the correlation has it."""
        base = self.noise[stage]
        if self.correlation == 1:
            return base
        c, h, w = base.shape
        own = frame_noise(self.seed, frame, stage, (c, h, w))
        return mix_noise(base, _sent(own, base), self.correlation)


@dataclass(frozen=True)
class Group(Generic[Tag]):
    """The m frames that enter together. `tags` are the caller's own, `ids` number the frames for their noise.

    `z` holds what enters the graph, clean latents or pictures that it encodes, at least one per tag; None for text to
    image. A last, incomplete group has fewer tags than frames.
    """

    tags: Sequence[Tag]
    ids: Sequence[int]
    z: Shaped[Tensor, "frames ..."] | None
    prepared: Prepared


@dataclass(frozen=True)
class Leaving(Generic[Tag]):
    """Frames that passed their last stage: their tags and clean latents, in order."""

    tags: Sequence[Tag]
    latents: Float[Tensor, "frames c h w"]
    version: int


class Rows(NamedTuple):
    """Tensors of the rows of one stream or of several; the first dimension counts rows."""

    x: Float[Tensor, "rows c h w"]
    reference: Float[Tensor, "rows c h w"]
    noise: Float[Tensor, "rows c h w"]
    """What the next stage's latent gets."""
    entry_noise: Float[Tensor, "frames c h w"]
    """What the frames get that enter at stage 0."""
    coefficients: Float[Tensor, "rows columns"]
    """The fields of `Stages`, then those of `Weights`."""
    cond: Conditioning
    negative: Conditioning

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in the order of the fields."""
        latents = [self.x, self.reference, self.noise, self.entry_noise]
        return [*latents, self.coefficients, *self.cond.values(), *self.negative.values()]

    @property
    def t(self) -> Float[Tensor, "rows"]:
        """The network's time of every row."""
        return self.coefficients[:, 0]

    def move_on(self, layout: Layout, x_next: Tensor, reference: Tensor) -> None:
        """Put what a tick made of every row where the next tick reads it, one stage on."""
        m = layout.frames
        self.x[m:] = x_next[:-m]
        if layout.guidance != "none":  # which reads none
            self.reference[m:] = reference[:-m].clone()  # without negative rows it is this very tensor


class Lane(Generic[Tag]):
    """The rows of one stream, and who is in them."""

    def __init__(self, layout: Layout, prepared: Prepared, device: torch.device | str = "cpu") -> None:
        """Lay out the rows as bubbles: finite, harmless, and never given to a caller."""
        if layout.negative_rows and not prepared.negative:
            raise ValueError(f"guidance {layout.guidance} needs the negative prompt's conditioning")
        self.layout = layout
        self.groups: list[Group[Tag] | None] = [None] * layout.stages
        self._loaded: list[Prepared | None] = [None] * layout.stages
        rows, c, h, w = layout.rows, *layout.shape

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, device=device, dtype=prepared.noise.dtype)

        def latents(count: int) -> Tensor:
            # Convolutions are faster so, and keep it; the encoder's output comes so too.
            return zeros(count, c, h, w).contiguous(memory_format=torch.channels_last)

        def like(cond: Conditioning, count: int) -> Conditioning:
            return {k: v.to(device).repeat(count, *[1] * (v.ndim - 1)) for k, v in cond.items()}

        self.rows = Rows(
            x=latents(rows),
            reference=latents(rows),
            noise=latents(rows),
            entry_noise=latents(layout.frames),
            coefficients=zeros(rows, len(Stages._fields) + len(Weights._fields)),
            cond=like(prepared.cond, rows),
            negative=like(prepared.negative, layout.negative_rows),
        )
        for stage in range(layout.stages):
            self._load(stage, prepared, ids=())

    @property
    def busy(self) -> bool:
        """Whether a frame is in flight."""
        return any(self.groups)

    @property
    def entering(self) -> int:
        """How many pictures enter at the next tick; for text to image none do."""
        first = self.groups[0]
        return 0 if first is None or first.z is None else len(first.tags)

    @property
    def leaving(self) -> int:
        """How many frames leave at the next tick."""
        return len(self.groups[-1].tags) if self.groups[-1] else 0

    def admit(self, group: Group[Tag] | None) -> None:
        """Take in the next group, or a bubble, at stage 0, and bring every stage to what its frames entered with."""
        if group is not None and len(group.ids) > self.layout.frames:
            raise ValueError(f"a group of {len(group.ids)} frames in a lane for {self.layout.frames}")
        self.groups[0] = group
        for stage, present in enumerate(self.groups):
            if present is not None:
                self._load(stage, present.prepared, present.ids)
        if group is not None and group.z is None:
            self.rows.x[: self.layout.frames] = self.rows.entry_noise

    def fill(self, group: Group[Tag]) -> None:
        """Put a group at every stage. Latents beyond stage 0 stay what they are, until as many ticks are computed."""
        self.groups = [group] * self.layout.stages
        self.admit(group)

    def advance(self, latents: Tensor, x_next: Tensor, reference: Tensor) -> Leaving[Tag] | None:
        """Move every row one stage on; give what left the last stage, or None where that was a bubble."""
        last = self.groups[-1]
        leaving = None if last is None else self._leave(last, latents[-self.layout.frames :])
        self.rows.move_on(self.layout, x_next, reference)
        self.groups = [None, *self.groups[:-1]]
        return leaving

    def steer(self, prepared: Prepared) -> None:
        """Let a change of prompt or guidance reach the frames in flight."""
        self.groups = [
            None if group is None else replace(group, prepared=group.prepared.steered_by(prepared))
            for group in self.groups
        ]

    def clear(self) -> None:
        """Make bubbles of all frames in flight."""
        self.groups = [None] * self.layout.stages

    def occupied(self) -> list[bool]:
        """For every row, whether a frame is in it."""
        m = self.layout.frames
        return [group is not None and place < len(group.tags) for group in self.groups for place in range(m)]

    def _leave(self, group: Group[Tag], latents: Tensor) -> Leaving[Tag]:
        return Leaving(group.tags, latents[: len(group.tags)].clone(), group.prepared.version)

    def _load(self, stage: int, prepared: Prepared, ids: Sequence[int]) -> None:
        """Write what the frames at `stage` entered with into its rows, unless it stands there already."""
        m, loaded, shared = self.layout.frames, self._loaded[stage] is prepared, prepared.correlation == 1
        if not (loaded and shared):
            self._load_noise(stage, prepared, range(m) if shared else ids)
        if loaded:
            return
        rows = slice(stage * m, (stage + 1) * m)
        self.rows.coefficients[rows] = _sent(self._coefficients(prepared, stage), self.rows.coefficients)
        for name, value in prepared.cond.items():
            self.rows.cond[name][rows] = value
        if rows.stop <= self.layout.negative_rows:
            for name, value in prepared.negative.items():
                self.rows.negative[name][rows] = value
        self._loaded[stage] = prepared

    def _load_noise(self, stage: int, prepared: Prepared, ids: Sequence[int]) -> None:
        for place, frame in enumerate(ids):
            if stage == 0:
                self.rows.entry_noise[place] = prepared.noise_of(frame, 0)
            if stage + 1 < self.layout.stages:
                self.rows.noise[stage * self.layout.frames + place] = prepared.noise_of(frame, stage + 1)

    def _coefficients(self, prepared: Prepared, stage: int) -> Float[Tensor, "columns"]:
        level = Stages(*(column[stage : stage + 1] for column in prepared.stages))
        weights = guidance_weights(self.layout.guidance, prepared.gamma, prepared.delta, level.a)
        return torch.cat([*level, *weights])


def _sent(values: Tensor, place: Tensor) -> Tensor:
    """The values in the numbers of `place` and on its device; a card is sent them through pinned memory, unwaited."""
    values = values.to(place.dtype)
    return values.pin_memory().to(place.device, non_blocking=True) if place.is_cuda else values
