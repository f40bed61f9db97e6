"""`python -m training.latents`: part of the pool as latents, encoded once by the frozen autoencoder.

pool/latents.npy (count, 1 + PER_CROP, c, 32, 32) in float16: the crop first, its styled versions after it. They are in
the engine's scale: multiplied by the scaling factor that brings crops to unit variance, kept in pool/scaling.npy.
"""

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray

from training import autoencoder, loop, pools, shapes

LATENTS = pools.POOL / "latents.npy"
SCALING = pools.POOL / "scaling.npy"
COUNT = 600  # crops encoded, from the start of the pool


@torch.inference_mode()
def encode(model: AutoencoderTiny, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Unscaled latents of uint8 (b, h, w, 3)."""
    with loop.autocast():
        latents = model.encoder(autoencoder.to_tensor(pictures))
    return np.asarray(latents.to("cpu", torch.float16))


def scaling_factor(model: AutoencoderTiny, pictures: NDArray[np.uint8]) -> float:
    """One over the standard deviation of these pictures' latents."""
    return float(1 / encode(model, pictures).astype(np.float32).std())


def main() -> None:
    """Encode the first COUNT crops and their styled versions."""
    model = autoencoder.trained()
    crop_file, styled_file, _ = pools.load()
    scaling = scaling_factor(model, crop_file[:128])
    side = crop_file.shape[1] // shapes.SCALE
    shape = (min(COUNT, len(crop_file)), 1 + pools.PER_CROP, shapes.LATENT_CHANNELS, side, side)
    file = np.lib.format.open_memmap(LATENTS, "w+", np.float16, shape)
    for index in range(len(file)):
        file[index] = encode(model, np.concatenate([crop_file[index : index + 1], styled_file[index]])) * scaling
    np.save(SCALING, scaling)
    print(f"{len(file)} crops, scaling factor {scaling:.4f}")


if __name__ == "__main__":
    main()
