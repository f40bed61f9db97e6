"""The systems of this process: the engine, a plain loop over the same model, and diffusers' own pipeline."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from itertools import count
from math import ceil
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import AutoencoderDC, AutoPipelineForImage2Image, DDIMScheduler, DiffusionPipeline, LCMScheduler
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from PIL import Image
from torch import Tensor

from millstream import embedded
from millstream.bench.timing import Local
from millstream.core.rows import Prepared
from millstream.engine import Engine, Session
from millstream.feed import Feed
from millstream.frame import Frame, Pixels
from millstream.models import Model
from millstream.models.quiet import quiet
from millstream.params import Params, StreamConfig

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Case:
    """What every system does alike: the model, the picture size, the steps, the prompt, the seed."""

    model: Model
    config: StreamConfig
    params: Params

    @property
    def prompt(self) -> str:
        """The prompt's text."""
        return self.params.prompt[0].text

    @property
    def label(self) -> str:
        """The engine's column in the report: its back end and the numbers that computes in."""
        return f"millstream {self.config.backend} {self.config.precision}"

    @property
    def prepared(self) -> Prepared:
        """Stages, noise and conditioning as the engine has them."""
        return Engine(self.model).open(self.config, self.params).prepared


def model_path(name: str) -> str:
    """Name the folder or hub id that diffusers reads for the model `name`."""
    return str(embedded.path()) if name == embedded.NAME else name


def recast(model: Model, kind: type[M], **more: Any) -> M:
    """The same model as one of another kind, which does something of it in its own way."""
    return kind(**{part.name: getattr(model, part.name) for part in fields(Model)}, **more)


def millstream(case: Case, name: str = "", changes: Iterator[Mapping[str, Any]] | None = None) -> Local:
    """The engine as a stream drives it: one tick a frame, its picture `steps - 1` ticks later; on a card one more.

    `changes` are of parameters, one before every frame. What the back end builds is built here, outside every
    measurement; raises ModelError where it cannot be.
    """
    engine, session = opened(case)
    feed, ids = Feed(engine, session, late=engine.asynchronous), count()

    def process(pixels: Pixels) -> Pixels | None:
        if changes is not None:
            session.update(next(changes))
        finished = feed.take(Frame(next(ids), pixels))
        return finished[0].pixels if finished else None

    return Local(name or case.label, process, delay=case.config.steps - 1 + engine.asynchronous)


def opened(case: Case) -> tuple[Engine, Session]:
    """An engine with the session of a case, and with what its back end builds. Raises ModelError where that fails."""
    engine = Engine(case.model)
    session = engine.open(case.config, case.params)
    if building := engine.prepare(session):
        building.result()
    return engine, session


def sequential(case: Case) -> Local:
    """A plain loop over the same parts: encode, one denoiser call a step, decode, then the next frame."""
    model, prepared = case.model, case.prepared

    @torch.inference_mode()
    def process(pixels: Pixels) -> Pixels:
        z = model.encode(torch.from_numpy(pixels).to(model.device)[None])
        picture: Pixels = model.decode(denoise(model, prepared, z))[0].cpu().numpy()
        return picture

    return Local("sequential", process)


def denoise(model: Model, prepared: Prepared, z: Tensor) -> Tensor:
    """Take one clean latent, (1, c, h, w), through all its stages one after another."""
    stages, noise = prepared.stages, prepared.noise
    x = float(stages.a[0]) * z + float(stages.b[0]) * noise[0]
    for i in range(len(stages.t)):
        output = model.denoise(x, stages.t[i : i + 1].to(x), prepared.cond).to(x)
        clean = float(stages.p_x[i]) * x + float(stages.p_o[i]) * output
        f = float(stages.c_out[i]) * clean + float(stages.c_skip[i]) * x
        eps = (x - float(stages.a[i]) * clean) / float(stages.b[i])
        fresh = noise[min(i + 1, len(noise) - 1)]
        x = float(stages.k_f[i]) * f + float(stages.k_noise[i]) * fresh + float(stages.k_eps[i]) * eps
    return f


class TinyFormed(AutoencoderDC):  # type: ignore[misc]
    """An AutoencoderDC that is called as diffusers' Stable Diffusion pipelines call an AutoencoderTiny."""

    def encode(self, x: Tensor) -> AutoencoderTinyOutput:
        """Latents of pictures, under the name that the pipelines look for."""
        return AutoencoderTinyOutput(latents=super().encode(x).latent)

    def decode(self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None) -> Any:
        """Pictures of latents; there is nothing to draw at random."""
        return super().decode(z, return_dict=return_dict)


def load_pipeline(path: str, model: Model) -> DiffusionPipeline:
    """Load diffusers' image-to-image pipeline, stepped by the rule that the engine recognised."""
    with quiet():
        pipeline = AutoPipelineForImage2Image.from_pretrained(
            path, torch_dtype=model.dtype, safety_checker=None, use_safetensors=True
        ).to(model.device)
    pipeline.set_progress_bar_config(disable=True)
    if isinstance(pipeline.vae, AutoencoderDC):
        pipeline.vae.__class__ = TinyFormed
    if model.rule == "lcm":
        pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    if model.rule == "ode":
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    return pipeline


def _encoded(case: Case, pipeline: DiffusionPipeline) -> dict[str, Tensor]:
    """The prompt's embeddings; those of Stable Diffusion XL are four, of which two are of a negative prompt."""
    made = pipeline.encode_prompt(
        prompt=case.prompt, device=case.model.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return dict(zip(("prompt_embeds", "pooled_prompt_embeds"), made[::2], strict=False))


def diffusers(case: Case, pipeline: DiffusionPipeline) -> Local:
    """The pipeline with the prompt encoded once, and as many UNet calls as the case has steps.

    The pipeline runs the last int(num_inference_steps * strength) of its steps; at a strength of 1/2 this is exact.
    """
    call = partial(
        pipeline,
        **_encoded(case, pipeline),
        num_inference_steps=ceil(case.config.steps / case.params.strength),
        strength=case.params.strength,
        guidance_scale=1.0,
    )

    def process(pixels: Pixels) -> Pixels:
        generator = torch.Generator().manual_seed(case.params.seed)
        return np.asarray(call(image=Image.fromarray(pixels), generator=generator).images[0])

    return Local("diffusers", process)
