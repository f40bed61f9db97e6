"""All latents that the denoiser is trained on, where the network is; a batch says which."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from training import autoencoder, latents, loop
from training.batches import Batch
from training.examples import Drawings, Styles, Texts
from training.fresh import Fresh

OBJECT = 2.0  # how much more an error counts where a drawing has its object: a third of the picture, the harder one


class Examples(NamedTuple):
    """A batch on the device. `counts` is how much an error counts, `again` are those with a second step."""

    source: Float[Tensor, "b c h w"]
    target: Float[Tensor, "b c h w"]
    counts: Float[Tensor, "b h w"]
    scene: Bool[Tensor, "b"]  # not a style
    text_only: Bool[Tensor, "b"]
    first: Int[Tensor, "b"]
    second: Int[Tensor, "b"]
    teacher: Bool[Tensor, "b"]
    again: Int[Tensor, "s"]


class Bank:
    """Crops with their styled versions, scenes with their drawings, canonical scenes: one tensor, in this order.

    Channels lie last in memory, as the network wants them.
    """

    def __init__(self) -> None:
        parts = [_flat(np.load(file)) for file in (latents.LATENTS, latents.DRAWN, latents.CANONICAL)]
        crops, scenes, _ = map(len, parts)
        self.styles, self.drawings, self.texts = Styles(0), Drawings(crops, scenes // 2), Texts(crops + scenes)
        self.latents: Float[Tensor, "n h w c"] = torch.cat(parts)
        self.covers: UInt8[Tensor, "n h w"] = torch.from_numpy(np.load(latents.COVERS)).to(loop.DEVICE)
        self.encoder, self.scaling = autoencoder.trained(), float(np.load(latents.SCALING))

    def renew(self, fresh: Fresh) -> None:
        """Put these scenes in the place of older ones."""
        places = on_device(fresh.places)
        pictures = on_device(fresh.pictures).flatten(0, 1).permute(0, 3, 1, 2) / 127.5 - 1
        made = self.scaling * latents.encoded(self.encoder, pictures).permute(0, 2, 3, 1)
        rows = self.drawings.begin + 2 * places
        self.latents[torch.stack([rows, rows + 1], dim=1).flatten()] = made
        self.covers[places] = on_device(fresh.covers)

    def examples(self, batch: Batch) -> Examples:
        """The batch with its latents, in float32."""
        rows = (batch.source, batch.target)
        source, target = (self.latents[on_device(row)].permute(0, 3, 1, 2).float() for row in rows)
        drawn = on_device(batch.cover >= 0)[:, None, None]
        counts = 1 + OBJECT * drawn * self.covers[on_device(batch.cover.clip(0))].float()
        scene = batch.text_only | (batch.cover >= 0)
        marks = (scene, batch.text_only, batch.first, batch.second, batch.teacher, np.flatnonzero(batch.second >= 0))
        return Examples(source, target, counts, *(on_device(mark) for mark in marks))


def on_device(array: np.ndarray | Tensor) -> Tensor:
    """The array as a tensor where the network is; a GPU is not waited for."""
    tensor = torch.as_tensor(array)
    return tensor.pin_memory().to(loop.DEVICE, non_blocking=True) if loop.GPU else tensor


def _flat(file: np.ndarray) -> Float[Tensor, "n h w c"]:
    """Every latent of a file, (..., c, h, w), channels last."""
    return torch.from_numpy(file).to(loop.DEVICE).flatten(0, -4).permute(0, 2, 3, 1).contiguous()
