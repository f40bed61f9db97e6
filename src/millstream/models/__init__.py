"""Models from their files: the only room that knows diffusers and transformers."""

from millstream.models.model import Model
from millstream.models.start import load_model

__all__ = ["Model", "load_model"]
