"""Real-time image generation: a camera, a drawing or a video in, pictures that follow a prompt out."""

from typing import TYPE_CHECKING, Any

from millstream.errors import BadInputError, MillstreamError, ModelError, OutputError
from millstream.frame import Frame
from millstream.params import ModelConfig, Params, StreamConfig, WeightedPrompt

if TYPE_CHECKING:
    from millstream.pipeline import Stream

__all__ = [
    "BadInputError",
    "Frame",
    "MillstreamError",
    "ModelConfig",
    "ModelError",
    "OutputError",
    "Params",
    "Stream",
    "StreamConfig",
    "WeightedPrompt",
]


def __getattr__(name: str) -> Any:
    """Import the stream, and with it torch and diffusers, when it is first asked for."""
    if name == "Stream":
        from millstream.pipeline import Stream  # noqa: PLC0415

        return Stream
    raise AttributeError(f"module 'millstream' has no attribute '{name}'")
