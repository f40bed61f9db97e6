"""PyPI's streamdiffusion behind a pipe: one JSON object a line in, one out.

Runs as a script in an environment of its own, which is older than this project's: it imports nothing of millstream.
Requests, in order: `model`, `case`, `frame`. A frame travels as base64 of its uint8 RGB bytes.

    {"model": {"path", "device", "dtype", "threads", "autoencoder"}} -> {"notes": [...]}
    {"case": {"width", "height", "t_index", "prompt", "seed"}} -> {}
    {"frame": "..."}                                           -> {"seconds": 0.1, "frame": "..."}

`autoencoder` is null, or {"encoder", "decoder", "config"}: files of TorchScript in place of the model's own, of a kind
that diffusers does not know here. A fault is answered with {"error": "one line"}. Notes say what had to be mended so
that upstream runs this model.
"""

import json
import os
import sys
import warnings
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, TextIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

NETWORKS = ("unet", "vae", "text_encoder")
PARTS = (*NETWORKS, "tokenizer", "scheduler")


class Event:
    """A CUDA event's interface over the processor's clock."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.moment = 0.0

    def record(self) -> None:
        """Note the time."""
        self.moment = perf_counter()

    def elapsed_time(self, end: "Event") -> float:
        """Give milliseconds from this event to `end`."""
        return (end.moment - self.moment) * 1e3


class EpsilonUNet(nn.Module):
    """A UNet that predicts the clean sample or v, turned into one that predicts the noise, as upstream assumes."""

    def __init__(self, unet: nn.Module, alphas_cumprod: Tensor, prediction: str) -> None:
        super().__init__()
        self.unet = unet
        self.a = alphas_cumprod.sqrt()
        self.b = (1 - alphas_cumprod).sqrt()
        self.prediction = prediction

    def forward(self, x: Tensor, t: Tensor, **kwargs: Any) -> tuple[Tensor]:
        """Predict the noise in x (rows, c, h, w) at timesteps t (rows,), as with `return_dict=False`."""
        a, b = (each[t].to(x)[:, None, None, None] for each in (self.a, self.b))
        return (to_epsilon(self.prediction, x, self.unet(x, t, **kwargs)[0], a, b),)


def to_epsilon(prediction: str, x: Tensor, output: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Noise in x = a*x0 + b*eps from a network's output: x0 for `sample`, a*eps - b*x0 for `v_prediction`."""
    return (x - a * output) / b if prediction == "sample" else a * output + b * x


class Scripted(nn.Module):
    """An autoencoder made of TorchScript, called as diffusers calls an AutoencoderTiny."""

    def __init__(self, files: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.decoder = (_script(files[name]) for name in ("encoder", "decoder"))
        self.config = SimpleNamespace(**files["config"])

    @property
    def dtype(self) -> torch.dtype:
        """Its numbers."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    def encode(self, x: Tensor) -> SimpleNamespace:
        """Latents of pictures, under the name that upstream looks for."""
        return SimpleNamespace(latents=self.encoder(x))

    def decode(self, z: Tensor, return_dict: bool) -> tuple[Tensor]:
        """Pictures of latents."""
        return (self.decoder(z),)


class Worker:
    """Answers requests; holds the pipeline, and the stream of the present case."""

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request, a dictionary of one key."""
        ((name, value),) = request.items()
        answers: dict[str, Callable[[Any], dict[str, Any]]] = {
            "model": self.model,
            "case": self.case,
            "frame": self.frame,
        }
        return answers[name](value)

    def model(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Load the model, once."""
        torch.set_num_threads(wanted["threads"])
        if wanted["device"] == "cpu":
            torch.cuda.Event, torch.cuda.synchronize = Event, lambda device=None: None  # type: ignore[misc, assignment]
        self.dtype = getattr(torch, wanted["dtype"])
        pipe, renamed = load_pipeline(wanted["path"], self.dtype, wanted["autoencoder"])
        self.pipe = pipe.to(wanted["device"])
        return {"notes": self._notes(renamed)}

    def case(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Lay out a stream."""
        from streamdiffusion import StreamDiffusion  # noqa: PLC0415

        self.width, self.height = wanted["width"], wanted["height"]
        self.stream = StreamDiffusion(
            self.pipe, wanted["t_index"], self.dtype, width=self.width, height=self.height, cfg_type="none"
        )
        self.stream.prepare(wanted["prompt"], seed=wanted["seed"])
        if self._prediction != "epsilon":
            alphas_cumprod = self.pipe.scheduler.alphas_cumprod.to(self.pipe.device)
            self.stream.unet = EpsilonUNet(self.stream.unet, alphas_cumprod, self._prediction)
        if self._channels != 4:
            remake_buffers(self.stream, self._channels, wanted["seed"])
        return {}

    def frame(self, encoded: str) -> dict[str, Any]:
        """Send one picture through, and time it from array to array."""
        pixels = np.frombuffer(b64decode(encoded), np.uint8).reshape(self.height, self.width, 3)
        start = perf_counter()
        result = to_pixels(self.stream(Image.fromarray(pixels)))
        return {"seconds": perf_counter() - start, "frame": b64encode(result.tobytes()).decode()}

    @property
    def _prediction(self) -> str:
        return str(self.pipe.scheduler.config.prediction_type)

    @property
    def _channels(self) -> int:
        return int(self.pipe.vae.config.latent_channels)

    def _notes(self, renamed: bool) -> list[str]:
        mended = {
            "autoencoder given as TorchScript": isinstance(self.pipe.vae, Scripted),
            "weights of the text encoder renamed for transformers 4": renamed,
            f"{self._prediction} prediction turned into the noise it assumes": self._prediction != "epsilon",
            f"buffers made for {self._channels} latent channels in place of 4": self._channels != 4,
            "CUDA events replaced by the processor's clock": self.pipe.device.type == "cpu",
        }
        versions = ", ".join(f"{name} {version(name)}" for name in ("streamdiffusion", "diffusers", "torch"))
        return [versions, *(note for note, applies in mended.items() if applies)]


def load_pipeline(path: str, dtype: torch.dtype, autoencoder: dict[str, Any] | None) -> tuple[Any, bool]:
    """Load the model from its parts; say whether its text encoder's weights had to be renamed.

    transformers 5 writes them without the prefix that transformers 4 looks for, which would draw them at random.
    """
    from diffusers import StableDiffusionPipeline  # noqa: PLC0415
    from diffusers.utils.logging import disable_progress_bar  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    disable_progress_bar()
    given = {"vae": Scripted(autoencoder)} if autoencoder else {}
    pipe = StableDiffusionPipeline(**load_parts(path, dtype, given), requires_safety_checker=False)
    file = Path(path, "text_encoder", "model.safetensors")
    weights = load_file(file) if file.exists() else {}
    renamed = any(name.startswith("embeddings.") for name in weights)
    if renamed:
        pipe.text_encoder.load_state_dict({f"text_model.{name}": weight for name, weight in weights.items()})
    return pipe, renamed


def load_parts(path: str, dtype: torch.dtype, given: dict[str, Any]) -> dict[str, Any]:
    """Load every part that the model's index names, but for those given, and no safety checker."""
    from diffusers import DiffusionPipeline  # noqa: PLC0415

    parts = dict.fromkeys(("safety_checker", "feature_extractor")) | given
    index = {name: kind for name, kind in DiffusionPipeline.load_config(path).items() if name in PARTS}
    for name, (library, kind) in index.items():
        if name not in parts:
            numbers = {"torch_dtype": dtype, "use_safetensors": True} if name in NETWORKS else {}
            parts[name] = getattr(import_module(library), kind).from_pretrained(path, subfolder=name, **numbers)
    return parts


def _script(file: str) -> nn.Module:
    module: nn.Module = torch.jit.load(file)  # type: ignore[no-untyped-call]
    return module


def remake_buffers(stream: Any, channels: int, seed: int) -> None:
    """Make anew, for `channels`, the noise and latents that `prepare` makes for 4."""
    stages, _, height, width = stream.init_noise.shape
    noise = torch.randn((stages, channels, height, width), generator=torch.Generator().manual_seed(seed))
    stream.init_noise = noise.to(stream.init_noise)
    stream.stock_noise = torch.zeros_like(stream.init_noise)
    if stages > 1:
        stream.x_t_latent_buffer = torch.zeros_like(stream.init_noise[1:])


def to_pixels(signal: Tensor) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Pixels (h, w, 3) of upstream's output (1, 3, h, w), -1 to 1."""
    scaled = (signal[0] / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().byte().permute(1, 2, 0).cpu().numpy()


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Answer every line of `requests` until they end."""
    worker = Worker()
    for line in requests:
        try:
            reply = worker.answer(json.loads(line))
        except Exception as error:  # whatever fails here, the other side must hear of it
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve standard input and output; what libraries print goes to standard error."""
    warnings.simplefilter("ignore")
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "critical")
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
