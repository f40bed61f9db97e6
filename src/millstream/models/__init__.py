"""Models from their files: the only room that knows diffusers and transformers."""

from millstream.models.load import load_model
from millstream.models.model import Model

__all__ = ["Model", "load_model"]
