"""A tick as a pure function of tensors: encode, noise, one denoiser call, guide, move on, decode.

StreamDiffusion (arXiv 2312.12491), section 3.1 (Stream Batch) and 3.3 (residual classifier-free guidance). Nothing
here writes, branches on a value or waits for the device, and every count is known from the form: so the whole tick can
be traced, compiled and replayed, and runs as it is where it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from millstream.core.guidance import Weights
from millstream.core.rows import Conditioning, Denoiser, Layout, Rows
from millstream.core.schedule import Stages


class LaneForm(NamedTuple):
    """What a tick does with one lane: its layout, how many pictures enter, and how many leave."""

    layout: Layout
    entering: int
    leaving: int


Form = tuple[LaneForm, ...]
Occupied = Sequence[Sequence[bool]]  # by lanes, for every row whether a frame is in it


class Networks(Protocol):
    """What a tick calls. Pictures are whatever `encode` takes and `decode` gives."""

    def encode(self, pixels: Shaped[Tensor, "frames ..."]) -> Float[Tensor, "frames c h w"]:
        """Give clean latents of pictures."""
        ...

    def denoise(
        self, x: Float[Tensor, "rows c h w"], t: Float[Tensor, "rows"], cond: Conditioning
    ) -> Float[Tensor, "rows c h w"]:
        """Predict. See `millstream.core.rows.Denoiser`."""
        ...

    def decode(self, latents: Float[Tensor, "frames c h w"]) -> Shaped[Tensor, "frames ..."]:
        """Give pictures of clean latents."""
        ...


@dataclass(frozen=True)
class Latents:
    """Networks without an autoencoder: what enters and leaves are clean latents."""

    denoise: Denoiser

    def encode(self, pixels: Tensor) -> Tensor:
        """Give the latents that enter."""
        return pixels

    def decode(self, latents: Tensor) -> Tensor:
        """Give the latents that leave."""
        return latents


class Inputs(NamedTuple):
    """All that a tick reads.

    `entering` holds pictures, (frames or more, ...), by the place of their lane; nothing for a lane that none enters.
    `attention` is what cross-frame attention needs to know of the rows; empty where no stream uses it.
    """

    entering: dict[int, Tensor]
    lanes: list[Rows]
    attention: Conditioning

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in the order of PyTorch's trees, whose own walk takes ten times as long."""
        rows = [tensor for lane in self.lanes for tensor in lane.tensors]
        return [*self.entering.values(), *rows, *self.attention.values()]


class Outputs(NamedTuple):
    """All that a tick makes: the pictures that leave, lane by lane; clean estimates f, next latents and references."""

    pictures: Shaped[Tensor, "leaving ..."] | None
    latents: Float[Tensor, "rows c h w"]
    x_next: Float[Tensor, "rows c h w"]
    reference: Float[Tensor, "rows c h w"]


@dataclass(frozen=True)
class TickGraph:
    """The tick of streams of one form. Rows of all lanes stand one lane behind the other."""

    networks: Networks
    form: Form

    def __call__(self, inputs: Inputs, occupied: Occupied | None = None) -> Outputs:
        """Compute, every row whether occupied or not; nothing that is passed in changes."""
        f, x_next, reference = self.latents(inputs)
        leave = any(lane.leaving for lane in self.form)
        return Outputs(self.pictures(f) if leave else None, f, x_next, reference)

    def latents(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """All but the pictures: f, x_next and reference, each (rows, c, h, w)."""
        rows = self._enter(join(inputs.lanes), inputs.entering)
        output = self._call(rows, inputs.attention)
        own = sum(self._rows)
        reference = self._refer(rows, output[own:])
        f, x_next = moved(
            rows.x, rows.noise, rows.coefficients, estimate(rows.x, rows.coefficients, output[:own]), reference
        )
        return f, x_next, reference

    def pictures(self, f: Float[Tensor, "rows c h w"]) -> Shaped[Tensor, "leaving ..."]:
        """The pictures of the clean estimates that leave."""
        counts = [lane.leaving for lane in self.form]
        last = [part[-lane.layout.frames :] for part, lane in zip(torch.split(f, self._rows), self.form, strict=True)]
        return self.networks.decode(
            torch.cat([part[:count] for part, count in zip(last, counts, strict=True) if count])
        )

    @property
    def _rows(self) -> list[int]:
        return [lane.layout.rows for lane in self.form]

    @property
    def _negative(self) -> list[int]:
        return [lane.layout.negative_rows for lane in self.form]

    def _enter(self, rows: Rows, entering: dict[int, Tensor]) -> Rows:
        """Put what enters on the rows of stage 0: x = a*z + b*noise, and z for the reference."""
        counts = [lane.entering for lane in self.form]
        if not any(counts):
            return rows
        pictures = torch.cat([entering[place][:count] for place, count in enumerate(counts) if count])
        z = self.networks.encode(pictures).to(rows.x)
        noise = heads(rows.entry_noise, [lane.layout.frames for lane in self.form], counts)
        entered = noised(z, noise, heads(rows.coefficients, self._rows, counts))
        x = with_heads(rows.x, self._rows, entered, counts)
        reference = with_heads(rows.reference, self._rows, z, counts)
        # The encoder may give another layout; convolutions are faster in this one.
        return rows._replace(x=x.contiguous(memory_format=torch.channels_last), reference=reference)

    def _call(self, rows: Rows, attention: Conditioning) -> Float[Tensor, "all_rows c h w"]:
        """Run the rows, and behind them the companions once more under the negative prompt."""
        x, t, cond = rows.x, rows.t, rows.cond
        if any(self._negative):
            x, t = (torch.cat([each, heads(each, self._rows, self._negative)]) for each in (x, t))
            cond = {name: torch.cat([value, rows.negative[name]]) for name, value in cond.items()}
        return self.networks.denoise(x, t, cond | attention).to(rows.x)

    def _refer(self, rows: Rows, output: Tensor) -> Tensor:
        """The references, those of the companions made anew by what the negative prompt gave."""
        if not any(self._negative):
            return rows.reference
        x, coefficients = (heads(each, self._rows, self._negative) for each in (rows.x, rows.coefficients))
        clean = estimate(x, coefficients, output)
        return with_heads(rows.reference, self._rows, clean, self._negative)


def noised(
    z: Float[Tensor, "rows c h w"], noise: Float[Tensor, "rows c h w"], coefficients: Float[Tensor, "rows columns"]
) -> Float[Tensor, "rows c h w"]:
    """Clean latents at the noise level at which they enter, x = a*z + b*noise."""
    c, _ = columns(coefficients)
    return c.a * z + c.b * noise


def estimate(
    x: Float[Tensor, "rows c h w"], coefficients: Float[Tensor, "rows columns"], output: Float[Tensor, "rows c h w"]
) -> Float[Tensor, "rows c h w"]:
    """The clean latents that the network's output means."""
    c, _ = columns(coefficients)
    return c.p_x * x + c.p_o * output


def moved(
    x: Float[Tensor, "rows c h w"],
    noise: Float[Tensor, "rows c h w"],
    coefficients: Float[Tensor, "rows columns"],
    clean: Float[Tensor, "rows c h w"],
    reference: Float[Tensor, "rows c h w"],
) -> tuple[Float[Tensor, "rows c h w"], Float[Tensor, "rows c h w"]]:
    """Guide, apply the boundary, move on: f, and the next stage's latents."""
    c, g = columns(coefficients)
    guided = g.g_c * clean + g.g_r * reference + g.g_x * x
    f = c.c_out * guided + c.c_skip * x
    return f, c.k_f * f + c.k_noise * noise + c.k_eps * (x - c.a * guided) / c.b


def columns(coefficients: Float[Tensor, "rows columns"]) -> tuple[Stages, Weights]:
    """Coefficients of the rows, each (rows, 1, 1, 1)."""
    each = coefficients[:, :, None, None, None].unbind(1)
    return Stages(*each[: len(Stages._fields)]), Weights(*each[len(Stages._fields) :])


def heads(value: Tensor, rows: list[int], counts: list[int]) -> Tensor:
    """The first `counts[i]` of the `rows[i]` rows of each lane."""
    return torch.cat([part[:count] for part, count in zip(torch.split(value, rows), counts, strict=True) if count])


def with_heads(value: Tensor, rows: list[int], new: Tensor, counts: list[int]) -> Tensor:
    """`value` with the first `counts[i]` rows of each lane taken from `new`."""
    pieces: list[Tensor] = []
    for old, first, total, count in zip(torch.split(value, rows), torch.split(new, counts), rows, counts, strict=True):
        pieces += ([first] if count else []) + ([old[count:]] if count < total else [])
    return torch.cat(pieces)


def join(lanes: Sequence[Rows]) -> Rows:
    """The rows of all lanes as one; a single lane's own tensors where there is one."""
    if len(lanes) == 1:
        return lanes[0]
    return Rows(
        x=torch.cat([lane.x for lane in lanes]),
        reference=torch.cat([lane.reference for lane in lanes]),
        noise=torch.cat([lane.noise for lane in lanes]),
        entry_noise=torch.cat([lane.entry_noise for lane in lanes]),
        coefficients=torch.cat([lane.coefficients for lane in lanes]),
        cond=_concatenate([lane.cond for lane in lanes]),
        negative=_concatenate([lane.negative for lane in lanes if lane.negative]),
    )


def _concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}
