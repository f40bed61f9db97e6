"""The model card: what the model is, from what it was made, how good it is; written from the lists and the figures."""

import json
from pathlib import Path
from typing import Any

from training import attribution, autoencoder, captions, decoder, denoiser, shapes, styles

HEAD = """---
license: apache-2.0
library_name: diffusers
tags: [image-to-image, style, cpu]
---
# The embedded model

A small latent diffusion model that redraws a picture in one of {styles} styles, in one to four steps. It is what the
program runs when no checkpoint is named: no download, no GPU. It is not Stable Diffusion: it knows the styles below and
nothing else, invents no objects, and makes no picture from text alone. Bigger checkpoints are one option away.

Weights: Apache-2.0, as the program. Nothing was taken from other models; every weight was trained from random numbers.

## Shape

256x256 is what it was trained for; any multiple of 32 works. Autoencoder (AutoencoderTiny): {scale}-fold, {channels}
latent channels. Denoiser (UNet2DConditionModel): 8.6 million parameters, predicts noise (`epsilon`). Text
encoder (CLIPTextModel): two layers, {words} tokens. Noise: linear betas 1e-4 to 2.5e-3, much gentler than Stable
Diffusion's.

Use it as image to image at strength 0.5 and two steps (timesteps 499 and 259), without guidance. The first step, at a
timestep of {always} or above, turns the photograph into the styled picture; steps below {source} refine. Between the
two it may do either, so strengths below 0.3 style little. With the prompt left empty, or "a photo", the picture comes
back as it is.

## Vocabulary

{vocabulary}

Words outside it are cut into pieces that mean nothing to the model and are mostly ignored.
"""

TRAINING = """
## Training

`python -m training` makes everything anew: crops and procedural styles (OpenCV and NumPy), the autoencoder ({ae_steps}
steps of {ae_batch} patches of {side}x{side}), its decoder alone ({decoder_steps} steps), then denoiser and text encoder
together ({steps} steps of {batch} latents). This first version had about an hour and a half on two busy CPU cores:
styles are softer than their targets, and fine texture is lost. Its recipe was settled on the way: the first 500 steps
of the autoencoder used patches of 128x128, the halftone, tiles and scan lines were made coarser at its step 3000, and
the denoiser's plan was made longer at steps 2600 and 6000, with the learning rate's cosine begun again; a few words of
the vocabulary changed their numbers there.
"""

LIMITS = """
## Limits

Faces and small text lose detail: the autoencoder keeps one number for eight pixels' values. Styles imitate the
procedural filters of `training.styles`, not the works of artists. Few photographs were at hand ({photographs}), so
unusual pictures may come out worse.
Patterns (halftone, tiles, leads, grids) hang on the screen, not on what is shown.
"""


def text(figures: Path | None = None) -> str:
    """The card, as Markdown; without `figures` it says that none were measured."""
    measured = _figures(json.loads(figures.read_text())) if figures else "\n## Figures\n\nNot measured yet.\n"
    return _head() + _training() + measured + LIMITS.format(photographs=_photographs()) + "\n" + attribution.table()


def _head() -> str:
    lines = [f"- {style}: {', '.join(phrases)}" for style, phrases in captions.PHRASES.items()]
    lines.append(f"- as it is: {', '.join(repr(phrase) for phrase in captions.NEUTRAL)}")
    return HEAD.format(
        styles=len(styles.STYLES),
        scale=shapes.SCALE,
        channels=shapes.LATENT_CHANNELS,
        words=shapes.WORDS,
        always=denoiser.SOURCE_ALWAYS,
        source=denoiser.SOURCE_FROM,
        vocabulary="\n".join(lines),
    )


def _training() -> str:
    return TRAINING.format(
        ae_steps=autoencoder.PLAN.steps,
        ae_batch=autoencoder.BATCH,
        side=autoencoder.SIDE,
        decoder_steps=decoder.PLAN.steps,
        steps=denoiser.PLAN.steps,
        batch=denoiser.BATCH,
    )


def _photographs() -> str:
    return "10 photographs, 15 panoramas, 33 film frames"


def _figures(measured: dict[str, Any]) -> str:
    mean, coded, same = measured["mean"], measured["autoencoder"], measured["identity"]
    lines = [
        "\n## Figures\n",
        f"On {measured['pictures']} held-out pictures, PSNR in dB to the procedural target.\n",
        f"Autoencoder: photographs {coded['photographs']:.1f}, styled pictures {coded['styled']:.1f}. "
        f'"a photo": one step {same["1 steps"]:.1f}, two steps {same["2 steps"]:.1f}. '
        f"Right style nearest of all: {mean['retrieved']:.0%} at two steps; "
        f"phrases never heard in training: {mean['paraphrase retrieved']:.0%}.\n",
        "Flicker is the change between consecutive frames of a film over that of the procedural filter.\n",
        "| style | untouched | one step | two steps | retrieved | flicker |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {style} | {row['untouched']:.1f} | {row['one step']:.1f} | {row['two steps']:.1f} | {row['retrieved']:.0%} "
        f"| {measured['steadiness'][style]:.2f} |"
        for style, row in measured["styles"].items()
    ]
    lines.append(f"| mean | {mean['untouched']:.1f} | {mean['one step']:.1f} | {mean['two steps']:.1f} | | |")
    return "\n".join(lines) + "\n"
