"""PyPI's streamdiffusion in an environment of its own, driven over a pipe."""

import json
import warnings
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC

from millstream.bench.systems import Case
from millstream.bench.timing import Timed
from millstream.core.schedule import GRID
from millstream.errors import ModelError
from millstream.frame import Pixels
from millstream.models import Model
from millstream.models.files import fetch
from millstream.models.parts import load_autoencoder

WORKER = Path(__file__).parent / "streamdiffusion_worker.py"
CURE = "see docs/benchmarks/README.md for its environment"


class Worker:
    """The other process. `notes` say what had to be mended there for this model to run."""

    def __init__(self, process: Popen[str]) -> None:
        self._process = process
        self.notes: list[str] = []

    def load(self, path: str, model: Model, size: tuple[int, int]) -> None:
        """Load the model there, on the same device, in the same numbers, with as many threads.

        `size` is the width and height of the pictures. The libraries there know no AutoencoderDC; it is given as code,
        as diffusers has it: how it is folded here is of the engine, not of its peers.
        """
        wanted = {
            "path": path,
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "autoencoder": None,
        }
        with TemporaryDirectory(prefix="millstream-autoencoder-") as folder:
            if isinstance(model.codec.vae, AutoencoderDC):
                vae = load_autoencoder(fetch(path, ["vae/config.json", "vae/*.safetensors"]) / "vae")
                wanted["autoencoder"] = script(vae.to(model.device, model.dtype), size, Path(folder))
            self.notes = self.ask(model=wanted)["notes"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for the reply. Raises ModelError where the worker could not do it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise ModelError(f"streamdiffusion: its process ended; {CURE}") from None
        line = self._process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in reply:
            raise ModelError(f"streamdiffusion: {reply['error']}; {CURE}")
        return reply


@contextmanager
def open_worker(python: str) -> Iterator[Worker]:
    """Start the worker under the interpreter `python`, and end it. Raises ModelError where it does not start."""
    try:
        process = Popen([python, "-I", str(WORKER)], stdin=PIPE, stdout=PIPE, text=True)
    except OSError as error:
        raise ModelError(f"streamdiffusion: cannot start {python} ({error.strerror}); {CURE}") from None
    assert process.stdin is not None
    with process:
        try:
            yield Worker(process)
        finally:
            process.kill()
            with suppress(BrokenPipeError):  # what it did not read before it ended would hide why it did
                process.stdin.close()


@torch.no_grad()
def script(vae: AutoencoderDC, size: tuple[int, int], folder: Path) -> dict[str, Any]:
    """Write encoder and decoder as TorchScript for pictures of this size; give their files and configuration."""
    pictures = torch.zeros(1, 3, size[1], size[0], device=vae.device, dtype=vae.dtype)
    files = {"encoder": str(folder / "encoder.pt"), "decoder": str(folder / "decoder.pt")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes as constants, which they are meant to be
        for name, example in (("encoder", pictures), ("decoder", vae.encoder(pictures))):
            traced = torch.jit.trace(getattr(vae, name), example)  # type: ignore[no-untyped-call]
            traced.save(files[name])
    config = {
        "block_out_channels": list(vae.config.encoder_block_out_channels),
        "latent_channels": vae.config.latent_channels,
        "scaling_factor": vae.config.scaling_factor,
    }
    return files | {"config": config}


@dataclass(frozen=True)
class StreamDiffusion:
    """Upstream's stream batch for one case. Times are taken there, without the pipe."""

    worker: Worker
    delay: int
    name: str = "streamdiffusion"

    def process(self, pixels: Pixels) -> Timed:
        """Send one picture through, and time it. Until `delay` pictures are in, what comes out means nothing."""
        reply = self.worker.ask(frame=b64encode(pixels.tobytes()).decode())
        result = np.frombuffer(b64decode(reply["frame"]), np.uint8).reshape(pixels.shape)
        return Timed(reply["seconds"], result)


def streamdiffusion(case: Case, worker: Worker) -> StreamDiffusion:
    """Lay out upstream's stream at the timesteps of the case."""
    levels = [int(t) for t in case.prepared.stages.t]
    worker.ask(
        case={
            "width": case.config.width,
            "height": case.config.height,
            "t_index": t_index_list(levels, len(case.model.schedule.a)),
            "prompt": case.prompt,
            "seed": case.params.seed,
        }
    )
    return StreamDiffusion(worker, delay=case.config.steps - 1)


def t_index_list(levels: Sequence[int], count: int = 1000) -> list[int]:
    """Places of `levels` in the schedule of 50 steps that upstream counts in, 0 the noisiest; the nearest ones.

    For consistency models, whose levels lie on that schedule, they are exact.
    """
    return [round((count - 1 - level) / (count // GRID)) for level in levels]
