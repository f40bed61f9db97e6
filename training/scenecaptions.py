"""What people may say for a scene: an object in a place, an object, or a place.

No word here is one of a style's (captions.PHRASES), the smallest aside, and no place is named by what an object is: so
no stars to be under, nothing wintry, golden, small or white, no waves, leaves, windows, lights or sun.
"""

from collections.abc import Iterable

from numpy.random import Generator

from training import places
from training.crops import pick
from training.things import THINGS

BOTH = (
    "{a} {noun} {where}",
    "{a} {noun} {where}",
    "{a} {noun} {where}",
    "{noun} {where}",
    "{noun}, {name}",
    "{a} {noun}, {name}",
    "{a} {noun} and {name}",
    "a picture of {a} {noun} {where}",
    "{where}, {a} {noun}",
    "there is {a} {noun} {where}",
)
OBJECT = ("{a} {noun}", "{a} {noun}", "{noun}", "a picture of {a} {noun}", "there is {a} {noun}")
PLACE = ("{name}", "{name}", "{where}", "a picture of {name}")

HELD_OUT = (
    "{where} there is {a} {noun}",
    "a picture of {name} and {a} {noun}",
    "{name} and {a} {noun}",
)
"""Templates never used in training, of words that are: for the gate on paraphrases."""

HABIT = 0.5  # how often the usual name is used although there are others


def caption(obj: str | None, place: str | None, rng: Generator) -> str:
    """One of the ways of asking for the object in the place; either may be None, then it is not spoken of."""
    templates = BOTH if obj and place else OBJECT if obj else PLACE
    return _filled(pick(templates, rng), obj, place, rng)


def unheard(obj: str, place: str, rng: Generator) -> str:
    """A way of asking that training never uses."""
    return _filled(pick(HELD_OUT, rng), obj, place, rng)


def _filled(template: str, obj: str | None, place: str | None, rng: Generator) -> str:
    noun = _usual(THINGS[obj].phrases, rng) if obj else ""
    name = pick(places.PLACES[place].names, rng) if place else ""
    where = _usual(places.PLACES[place].phrases, rng) if place else ""
    return template.format(a=_article(noun), noun=noun, name=name, where=where)


def _article(noun: str) -> str:
    """The article of a noun by its first sound: unicorns and UFOs begin with none of the vowels."""
    return "an" if noun.startswith(tuple("aeiou")) and not noun.startswith(("uni", "ufo")) else "a"


def _usual(phrases: tuple[str, ...], rng: Generator) -> str:
    return phrases[0] if rng.random() < HABIT else pick(phrases, rng)


def words(of: Iterable[str] = tuple(THINGS)) -> list[str]:
    """Every word of the captions of these objects, in order of appearance."""
    texts = [phrase for obj in of for phrase in THINGS[obj].phrases]
    texts += [phrase for place in places.PLACES.values() for phrase in (*place.names, *place.phrases)]
    texts += [template.format(a="a an", noun="", name="", where="") for template in (*BOTH, *OBJECT, *PLACE)]
    return list(dict.fromkeys(" ".join(texts).replace(",", " , ").split()))
