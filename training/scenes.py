"""Scenes, all of them by one name: objects in places, drawn clean, drawn in a hurry, described."""

from training import places
from training.compose import Layout, Scene, canonical, draw, sample
from training.roughen import roughen, roughened, sketch
from training.scenecaptions import caption, unheard, words
from training.things import THINGS

OBJECTS = {name: thing.phrases for name, thing in THINGS.items()}
PLACES = {name: place.phrases for name, place in places.PLACES.items()}

__all__ = [
    "OBJECTS",
    "PLACES",
    "Layout",
    "Scene",
    "canonical",
    "caption",
    "draw",
    "roughen",
    "roughened",
    "sample",
    "sketch",
    "unheard",
    "words",
]
