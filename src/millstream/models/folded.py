"""AutoencoderDC in fewer steps: each block that halves a picture's sides as one convolution, each that doubles them
with one shuffle.

Such a block (DC-AE, arXiv 2410.10733, section 3.2) moves pixels into channels, or back, twice: once behind its
convolution and once beside it, and adds the two. On a processor these moves cost as much as the convolutions.
"""

import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle


class Doubling(nn.Module):
    """A DCUpBlock2d that adds before it shuffles: the same sums, bit for bit."""

    def __init__(self, block: DCUpBlock2d) -> None:
        super().__init__()
        self.conv, self.repeats = block.conv, block.repeats

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c_ h_ w_"]:
        """Twice the sides."""
        return pixel_shuffle(self.conv(x) + x.repeat_interleave(self.repeats, dim=1), 2)


def fold(vae: AutoencoderDC) -> None:
    """Replace the blocks of an autoencoder; what it computes stays the same, but for the rounding of sums."""
    for parent in list(vae.modules()):
        for name, block in parent.named_children():
            if isinstance(block, DCDownBlock2d):
                setattr(parent, name, halving(block))
            elif isinstance(block, DCUpBlock2d) and block.shortcut and not block.interpolate:
                setattr(parent, name, Doubling(block))


@torch.no_grad()
def halving(block: DCDownBlock2d) -> nn.Conv2d:
    """The block as a convolution of 4x4 pixels around every second: it is linear, and reaches no further.

    Where pixels become channels, channel 4k + 2y + x is the convolution's k-th at pixel (y, x) of each 2x2; and beside
    it every output is the mean of `group_size` such channels of the input.
    """
    conv, channels = block.conv, block.conv.in_channels
    outputs = conv.out_channels * (4 if block.downsample else 1)
    kernel = conv.weight.new_zeros(outputs, channels, 4, 4)
    if block.downsample:
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
            kernel[2 * y + x :: 4, :, y : y + 3, x : x + 3] = conv.weight
    else:
        kernel[..., :3, :3] = conv.weight
    if block.shortcut:
        moved = torch.eye(4 * channels).to(kernel)  # pixels into channels, as a kernel
        kernel[..., 1:3, 1:3] += moved.view(outputs, block.group_size, channels, 2, 2).mean(1)
    made = nn.Conv2d(channels, outputs, 4, stride=2, padding=1)
    made.weight.copy_(kernel)
    made.bias.copy_(conv.bias.repeat_interleave(outputs // conv.out_channels))  # type: ignore[union-attr]
    return made
