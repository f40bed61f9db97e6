"""A tick in parts, each a module from plain tensors to plain tensors.

Rows do not need each other within the denoiser: where they come out even over the processor's threads, each share
of them is computed by itself, and the tick is cut around that. In all other ticks only the decoder is apart, a
quarter of the embedded model's work at one step: where nothing leaves it need not run, and when a session takes over
from another, its first ticks are of that kind and run beside those of the one that is shown.

Latents lie channels last between the parts, as streams and convolutions have them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from millstream.backends.plain import Parts, Plain, Signature
from millstream.core.graph import Between, Form, TickGraph, join
from millstream.core.rows import Rows

TICK, DECODE = "tick", "decode"
ENCODE, ENTER, DENOISE, STEP = "encode", "enter", "denoise", "step"
ARITHMETIC = (ENTER, STEP)
KEPT = 4  # tensors of what `enter` makes that are for `step`: the last

Tensors = tuple[Tensor, ...]


def shares(form: Form, threads: int) -> int:
    """How many shares the rows of a form's tick make, all of one size: at most one a thread.

    With cross-frame attention rows need each other.
    """
    if any(lane.layout.cross_frame for lane in form):
        return 1
    rows = sum(lane.layout.rows + lane.layout.negative_rows for lane in form)
    return max(count for count in range(1, min(rows, threads) + 1) if rows % count == 0)


@dataclass(frozen=True)
class Apart:
    """The parts of a form's tick, for inputs of a signature and so many shares of its rows."""

    form: Form
    signature: Signature
    shares: int

    @property
    def names(self) -> Sequence[str]:
        """The parts, in the order in which they run."""
        if self.shares == 1:
            return TICK, DECODE
        return *((ENCODE,) if self._between.enters else ()), ENTER, DENOISE, STEP, DECODE

    def part(self, name: str, networks: Parts) -> Plain:
        """The part of that name, as a module."""
        computes: dict[str, Callable[..., Tensors]] = {
            TICK: lambda *inputs: self._tick(networks, inputs),
            ENCODE: lambda *inputs: self._encode(networks, inputs),
            ENTER: lambda *given: tuple(each for each, place in self.entered(*given) if place is None),
            DENOISE: lambda *asked: self._denoise(networks, *asked),
            STEP: self._step,
            DECODE: lambda f: (networks.decode(self._between.leaving(channels_first(f))),),
        }
        return Plain(networks, computes[name])

    def given(self, networks: Parts, inputs: Tensors) -> dict[str, Tensors]:
        """What each part is given in a tick over these inputs; the denoiser is given the rows of all its shares."""
        if self.shares == 1:
            return {TICK: inputs, DECODE: self._tick(networks, inputs)[:1]}
        z = self._encode(networks, inputs) if self._between.enters else ()
        entered = [each for each, _ in self.entered(*z, *inputs)]
        step = *self._denoise(networks, *entered[:-KEPT]), *entered[-KEPT:]
        made = {ENTER: (*z, *inputs), DENOISE: tuple(entered[:-KEPT]), STEP: step, DECODE: self._step(*step)[:1]}
        return {ENCODE: inputs} | made if z else made

    def entered(self, *given: Tensor) -> list[tuple[Tensor, int | None]]:
        """What `enter` makes of clean latents and the inputs behind them: what the denoiser is given, the conditioning
        by its names, and the rows. With each of them its place among the inputs, where it is one of them as it is.
        """
        z, plain = given[: -len(self.signature.shapes)], given[-len(self.signature.shapes) :]
        inputs = self.signature.unflatten(plain)
        rows = join(inputs.lanes)
        x, reference, noise, entry = map(channels_last, (rows.x, rows.reference, rows.noise, rows.entry_noise))
        # Arithmetic is the same in either order.
        rows = Rows(x, reference, noise, entry, rows.coefficients, rows.cond, rows.negative)
        rows = self._between.mix(rows, *z) if z else rows
        x, t, cond = self._between.asked(rows, inputs.attention)
        kept = rows.x, rows.reference, rows.noise, rows.coefficients
        return [(each, _place(each, plain)) for each in (x, t, *(cond[name] for name in sorted(cond)), *kept)]

    def passed(self) -> list[int | None]:
        """For all that `enter` makes, its place among the inputs, where it is one of them as it is."""
        count, (c, h, w) = sum(lane.entering for lane in self.form), self.form[0].layout.shape
        z = (torch.zeros(count, h, w, c),) if count else ()
        return [place for _, place in self.entered(*z, *self.signature.zeros())]

    @property
    def _between(self) -> Between:
        return Between(self.form)

    def _tick(self, networks: Parts, inputs: Tensors) -> Tensors:
        made = TickGraph(networks, self.form)(self.signature.unflatten(inputs), decodes=False)
        return tuple(map(channels_last, (made.latents, made.x_next, made.reference)))

    def _encode(self, networks: Parts, inputs: Tensors) -> Tensors:
        return (channels_last(networks.encode(self._between.entering(self.signature.unflatten(inputs)))),)

    def _denoise(self, networks: Parts, x: Tensor, t: Tensor, *cond: Tensor) -> Tensors:
        inputs = self.signature.unflatten(self.signature.zeros())
        names = sorted(inputs.lanes[0].cond | inputs.attention)
        return (channels_last(networks.denoise(channels_first(x), t, dict(zip(names, cond, strict=True)))),)

    def _step(self, output: Tensor, x: Tensor, reference: Tensor, noise: Tensor, coefficients: Tensor) -> Tensors:
        return self._between.step(Rows(x, reference, noise, noise, coefficients, {}, {}), output)


def channels_last(latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w c"]:
    """Latents as a contiguous tensor."""
    return latents.permute(0, 2, 3, 1).contiguous()


def channels_first(latents: Float[Tensor, "b h w c"]) -> Float[Tensor, "b c h w"]:
    """The same in the order of PyTorch's convolutions."""
    return latents.permute(0, 3, 1, 2)


def _place(tensor: Tensor, among: Tensors) -> int | None:
    """Where a tensor, or another view of all of it, stands among these."""
    same = (i for i, each in enumerate(among) if each.data_ptr() == tensor.data_ptr() and each.shape == tensor.shape)
    return next(same, None)
