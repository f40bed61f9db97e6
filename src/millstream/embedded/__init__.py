"""The model that ships with the package: a small img2img diffusion model of styles, in diffusers' own format."""

from pathlib import Path

NAME = "embedded"


def path() -> Path:
    """The folder of the model, for `DiffusionPipeline.from_pretrained` or as the engine's model."""
    return Path(__file__).parent / "model"
