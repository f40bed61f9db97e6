"""What each part of the method is worth: the stream with it and without it, all else alike, in turns.

Each part is taken away through the engine as it is: by a configuration, by parameters that change before every frame
so that nothing computed ahead can be used again, or by a model whose own part is exchanged.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import count, cycle, product
from typing import NamedTuple

from diffusers import AutoencoderKL

from millstream.backends.choice import EAGER
from millstream.bench import systems
from millstream.bench.report import Row, Table
from millstream.bench.setup import PROMPT, Setup
from millstream.bench.systems import Case
from millstream.bench.timing import TURN, Batch, Place, System, race
from millstream.core.rows import Conditioning
from millstream.feed import Feed, offline
from millstream.frame import Frame, Pixels
from millstream.models import Model
from millstream.models.codec import Codec
from millstream.models.model import loaded
from millstream.models.quiet import quiet
from millstream.params import Blend
from millstream.queues import ahead

NAME = "ablation"
STEPS = 2
WITH, WITHOUT = "with", "without"
WORDS = 6  # in a prompt; of two words each this makes 64 prompts, more than the engine keeps
READ = 16  # frames read in one go
STILL = 22  # frames of a still scene in one go: twice as many as the filter skips, and those that it lets through
KL_WIDTHS = (128, 256, 512, 512)  # of Stable Diffusion's own autoencoder
ABOUT = (
    "Each part of the method taken away alone. A part's two systems differ in nothing else; other parts are as a "
    "stream has them, on the fastest back end unless the case says eager."
)
NOTES = (
    "stream batch, eager: without it, a plain loop, one denoiser call after another.",
    "residual guidance: self-negative; without it, full guidance.",
    "cached keys and values: without them, every layer computes them from the prompt in every tick.",
    "prompt embedding: without it, every frame has a prompt not seen lately, so text encoder and keys are run again.",
    "coefficients and noise: without them, every frame has a seed of its own; both are computed again.",
    "queues: the source is read in a thread beside the engine; without them, in turn with it.",
    "tiny autoencoder, eager: without it, an AutoencoderKL of Stable Diffusion's widths with random weights, which "
    "says something of time alone.",
    "similarity filter: a scene that stands still; without it, every frame is processed.",
)
NO_BACK_END = "compiled back end: left out, for none can run here."
NO_TINY = "tiny autoencoder: left out, for this model has none."


class Pair(NamedTuple):
    """The stream with a part and without it, and how many times each is timed."""

    part: str
    having: System
    lacking: System
    times: int


def measure(setup: Setup) -> Table:
    """Every part that this model and machine have."""
    rows = [row for pair in pairs(setup) for row in _race(setup, pair)]
    return Table(NAME, ABOUT, WITHOUT, rows, [*NOTES, *_left_out(setup)])


def pairs(setup: Setup) -> Iterator[Pair]:
    """The parts, one after another, so that no more than two systems are in memory."""
    frames, batches = setup.plan.frames, max(1, setup.plan.frames // TURN)
    eager, best = setup.case(STEPS, EAGER), setup.case(STEPS, setup.fastest)
    yield Pair("stream batch, eager", _with(eager), replace(systems.sequential(eager), name=WITHOUT), frames)
    yield Pair("residual guidance", _with(_guided(setup, "self-negative")), _without(_guided(setup, "full")), frames)
    if setup.fastest != EAGER:
        yield Pair("compiled back end", _with(best), _without(eager), frames)
    yield Pair("cached keys and values", _with(best), _without(_computing_keys(best)), frames)
    yield Pair("prompt embedding", _with(best), systems.millstream(best, WITHOUT, _prompts()), frames)
    seeds = ({"seed": seed} for seed in count())
    yield Pair("coefficients and noise", _with(best), systems.millstream(best, WITHOUT, seeds), frames)
    yield Pair("queues", _reading(setup, best, WITH), _reading(setup, best, WITHOUT), batches)
    if _is_tiny(setup.model):
        # Fewer frames, for one can take seconds.
        yield Pair("tiny autoencoder, eager", _with(eager), _without(_full_autoencoder(eager)), batches)
    yield Pair("similarity filter", _still(setup, WITH), _still(setup, WITHOUT), batches)


def _race(setup: Setup, pair: Pair) -> list[Row]:
    return race(Place(NAME, STEPS, pair.part), [pair.having, pair.lacking], setup.pictures[:1], pair.times).rows


def _left_out(setup: Setup) -> list[str]:
    there = {NO_BACK_END: setup.fastest != EAGER, NO_TINY: _is_tiny(setup.model)}
    return [note for note, found in there.items() if not found]


def _with(case: Case) -> System:
    return systems.millstream(case, WITH)


def _without(case: Case) -> System:
    return systems.millstream(case, WITHOUT)


def _guided(setup: Setup, guidance: str) -> Case:
    return setup.case(STEPS, setup.fastest, {"guidance_scale": 1.4}, guidance=guidance)


class ComputingKeys(Model):
    """A model that gives the prompt alone, so that its network computes keys and values from it in every call."""

    def condition(
        self, prompt: Blend, guidance_scale: float = 1.0, size: tuple[int, int] | None = None
    ) -> Conditioning:
        """One row of conditioning, without keys and values."""
        whole = super().condition(prompt, guidance_scale, size)
        return {name: value for name, value in whole.items() if not name.startswith(("keys.", "values."))}


def _computing_keys(case: Case) -> Case:
    return replace(case, model=systems.recast(case.model, ComputingKeys))


def _prompts() -> Iterator[dict[str, str]]:
    """Prompts of the same words in ever other orders: known to every model, and too many to be kept."""
    for words in cycle(product(PROMPT.split(), repeat=WORDS)):
        yield {"prompt": " ".join(words)}


def _reading(setup: Setup, case: Case, name: str) -> Batch:
    """The source's first frames, from reading to picture; with queues read ahead."""
    engine, session = systems.opened(case)

    def process(_: Pixels) -> None:
        frames = setup.moving(READ)
        with ahead(frames) if name == WITH else nullcontext(frames) as read:
            _run(offline(Feed(engine, session, late=engine.asynchronous), read))

    return Batch(name, process, READ)


def _still(setup: Setup, name: str) -> Batch:
    """A scene that stands still, from its first frame on."""
    engine, session = systems.opened(setup.case(STEPS, setup.fastest, {"similarity_filter": name == WITH}))

    def process(pixels: Pixels) -> None:
        _run(offline(Feed(engine, session, late=engine.asynchronous), (Frame(i, pixels) for i in range(STILL))))

    return Batch(name, process, STILL)


def _run(outputs: Iterable[Frame]) -> None:
    for _ in outputs:
        pass


def _is_tiny(model: Model) -> bool:
    return not isinstance(model.codec.vae, AutoencoderKL)


def _full_autoencoder(case: Case) -> Case:
    """The case with an autoencoder of Stable Diffusion's widths, as deep and with as many channels as the model's."""
    model = case.model
    widths = [KL_WIDTHS[min(level, len(KL_WIDTHS) - 1)] for level in range(model.factor.bit_length())]
    vae = AutoencoderKL(
        latent_channels=model.channels,
        block_out_channels=widths,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        layers_per_block=2,
    )
    with quiet():
        vae.to(model.device, model.dtype).eval().requires_grad_(False)
    networks = loaded(replace(model.networks(), codec=Codec(vae)))
    return replace(case, model=replace(model, networks=networks, known_print=None))
