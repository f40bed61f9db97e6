"""The model card: what the model is, from what it was made, how good it is; written from the lists and the figures."""

import json
from pathlib import Path
from typing import Any

from training import (
    attribution,
    autoencoder,
    batches,
    captions,
    denoiser,
    latents,
    page,
    phases,
    places,
    scenes,
    shapes,
    styles,
)
from training import text as text_encoder

HEAD = """---
license: apache-2.0
library_name: diffusers
tags: [image-to-image, style, cpu]
---
# The embedded model

A small latent diffusion model, for one to four steps: it redraws a picture in one of {styles} styles{scenes}. It is
what the program runs when no checkpoint is named: no download, no GPU. It is not Stable Diffusion: it knows the words
below and nothing else. Bigger checkpoints are one option away.

Weights: Apache-2.0, as the program. Nothing was taken from other models; every weight was trained from random numbers.

## Shape

256x256 is what it was trained for; any multiple of 32 works. Autoencoder (AutoencoderDC): {scale}-fold, {channels}
latent channels. Denoiser (UNet2DConditionModel): {millions:.1f} million parameters, predicts the clean latent
(`sample`). Text encoder (CLIPTextModel): two layers, {words} tokens. Noise: betas of its own, much gentler than Stable
Diffusion's.
Every part is a class of diffusers or transformers; diffusers' Stable Diffusion pipelines, though, call an autoencoder
in a way that AutoencoderDC does not take, so use the parts, or this program.

Use it as image to image at strength 0.5 and one or two steps (timesteps 499 and 259), without guidance. The first
step, at a timestep of {source} or above, turns the source into what the prompt says; steps below refine. With the
prompt left empty, or "a photo", the picture comes back as it is.

## Vocabulary

{vocabulary}

Words outside it are cut into pieces that mean nothing to the model and are mostly ignored.
"""

SCENES = ", makes a clean scene of a rough drawing, and paints such a scene from text alone"

TRAINING = """
## Training

`python -m training` makes everything anew: crops and procedural styles (OpenCV and NumPy), scenes of drawn objects in
painted places, the autoencoder ({ae_steps} steps of {ae_batch} patches of {side}x{side}), the text encoder
({text_steps} steps of {text_batch} captions, by itself: it learns to name what they ask for), then the denoiser
({steps} steps of {styles} pictures in styles, {drawings} scenes of rough drawings and {texts} of text alone; two cores
are asked for {taught} of {drawn} objects). The weights that ship came of such steps in several runs, between which
numbers and shapes were changed. The last ones began with weights that knew eleven objects
(`python -m training.shipped`): each of the denoiser's transformers got a second layer, which added nothing at first,
and a text encoder of all {drawn} objects took the place of one of 36. Then came 3,146 steps of 640 examples on a GPU,
asked for all objects, in 6 minutes, and 9,000 on two cores, asked for {taught}, in two hours; between these a mean of
both, 0.85 of two cores' weights and 0.15 of the GPU's. 36 objects passed. Last the denoiser's first level became twice
as wide, each channel and a copy of it, which pass on what was one's in random shares, so that little changed at first;
and 4,500 steps of {many} examples on a GPU followed, asked for all objects, in 7 minutes (scenes' first steps asked for
the mean in the first 0.3; the rate's cosine was broken off at 0.9 of its way), and 1,380 on two cores at 0.4 times the
rate, in 18 minutes, asked for the 67 objects that had passed or nearly, half of the scenes of these and of the weakest.

On two cores of an Intel Xeon with AMX, by the pace of some steps of each: text encoder 5 minutes, judge 13, a step of
the denoiser {seconds} seconds, so {hours:.1f} hours; pictures, styles and their latents 9 minutes. The autoencoder took
20 minutes on two cores of an AMD EPYC. On a GPU (H100, with 16 cores) pictures, styles, latents and scenes take a
minute and a half, and a step of the denoiser 0.085 seconds, in which the network computes for 0.05: {gpu_steps} steps
would take half an hour, and were not done to their end yet.
"""

SECONDS = 0.8  # a step of the denoiser, on two cores

LIMITS = """
## Limits

It was trained to make scenes of drawings and of text too, but an object ships only where a judge that was trained apart
names what it made of it; the table above says which do. Fine lines and patterns are soft.
Faces and small text lose detail: the autoencoder keeps one number for six of a picture's. Styles imitate the
procedural filters of `training.styles`, not the works of artists. Few photographs were at hand ({photographs}), so
unusual pictures may come out worse.
Patterns (halftone, tiles, leads, grids) hang on the screen, not on what is shown.
"""


def text(figures: Path | None = None) -> str:
    """The card, as Markdown; without `figures` it says that none were measured."""
    found = json.loads(figures.read_text()) if figures else None
    measured = _figures(found) if found else "\n## Figures\n\nNot measured yet.\n"
    head = _head(found["scenes"]["passed"] if found else list(scenes.OBJECTS))
    return head + _training() + measured + LIMITS.format(photographs=_photographs()) + "\n" + attribution.table()


def _head(objects: list[str]) -> str:
    lines = [f"- {style}: {', '.join(phrases)}" for style, phrases in captions.PHRASES.items()]
    lines.append(f"- as it is: {', '.join(repr(phrase) for phrase in captions.NEUTRAL)}")
    if objects:
        lines.append(f"- objects: {'; '.join(', '.join(scenes.OBJECTS[name]) for name in objects)}")
        lines.append(f"- places: {'; '.join(', '.join(place.names) for place in places.PLACES.values())}")
    return HEAD.format(
        styles=len(styles.STYLES),
        scenes=SCENES if objects else "",
        scale=shapes.SCALE,
        channels=shapes.LATENT_CHANNELS,
        words=shapes.WORDS,
        millions=sum(weight.numel() for weight in shapes.denoiser().parameters()) / 1e6,
        source=batches.SOURCE_FROM,
        vocabulary="\n".join(lines),
    )


def _training() -> str:
    most, gpu = phases.ON_CPU[0], phases.ON_GPU[0]
    return TRAINING.format(
        ae_steps=autoencoder.PLAN.steps,
        ae_batch=autoencoder.BATCH,
        side=autoencoder.SIDE,
        steps=denoiser.ON_CPU.steps,
        text_steps=text_encoder.PLAN.steps,
        text_batch=text_encoder.BATCH,
        styles=most.styles,
        drawings=most.drawings,
        texts=most.texts,
        taught=len(latents.EASY),
        drawn=len(scenes.OBJECTS),
        many=gpu.styles + gpu.drawings + gpu.texts,
        gpu_steps=f"{denoiser.ON_GPU.steps:,}",
        seconds=SECONDS,
        hours=SECONDS * denoiser.ON_CPU.steps / 3600,
    )


def _photographs() -> str:
    return "10 photographs, 15 panoramas, 33 film frames"


def _figures(measured: dict[str, Any]) -> str:
    parts = [
        "\n## Figures\n\nAll gates and sheets: docs/embedded-model.md.",
        page.styles_table(measured),
        page.objects_table(measured),
    ]
    return "\n\n".join(parts).replace("\n## Styles", "\n### Styles").replace("\n## Objects", "\n### Objects") + "\n"
