"""Drawings made by hand, that training never sees: a few plain shapes each, as a person would set them down.

They are made by another way than training.roughen's, so that they show whether the model takes to real drawings.
"""

from dataclasses import dataclass

from training.brushes import Canvas, Points, box, oval, polygon, sky

Shape = tuple[str, Points]
"""A colour with two points, an ellipse's middle and half axes, or with more, a polygon's corners."""


@dataclass(frozen=True)
class Drawing:
    """A drawing of `obj` in `place`, with its prompt: one colour above the horizon, one below, and shapes upon them."""

    prompt: str
    obj: str
    place: str
    above: str
    below: str
    shapes: tuple[Shape, ...]
    horizon: float = 0.65

    def picture(self) -> Canvas:
        """The drawing, uint8 (256, 256, 3), RGB."""
        canvas = sky(self.above, self.above)
        box(canvas, (0, self.horizon, 1, 1), self.below)
        for colour, points in self.shapes:
            if len(points) == 2:
                oval(canvas, points[0], points[1], colour)
            else:
                polygon(canvas, points, colour)
        return canvas


DRAWINGS = (
    Drawing(
        "an apple in a meadow",
        "apple",
        "meadow",
        "9fdcff",
        "7dc850",
        (
            ("e02020", [(0.5, 0.57), (0.25, 0.24)]),
            ("1fa050", [(0.48, 0.34), (0.4, 0.2), (0.55, 0.24)]),
        ),
    ),
    Drawing(
        "a cat on a beach",
        "cat",
        "beach",
        "70c8f0",
        "f5dea5",
        (
            ("30b0d0", [(0, 0.45), (1, 0.45), (1, 0.62), (0, 0.62)]),
            ("ffb030", [(0.5, 0.55), (0.27, 0.23)]),
            ("ffb030", [(0.26, 0.5), (0.27, 0.22), (0.46, 0.36)]),
            ("ffb030", [(0.74, 0.5), (0.73, 0.22), (0.54, 0.36)]),
            ("402020", [(0.4, 0.5), (0.03, 0.04)]),
            ("402020", [(0.6, 0.5), (0.03, 0.04)]),
            ("d03080", [(0.5, 0.64), (0.07, 0.05)]),
        ),
    ),
    Drawing(
        "a penguin in the snow",
        "penguin",
        "snow",
        "b0bfe8",
        "f0f5ff",
        (
            ("403060", [(0.5, 0.52), (0.22, 0.32)]),
            ("ffffff", [(0.5, 0.6), (0.14, 0.22)]),
            ("ffffff", [(0.5, 0.33), (0.1, 0.08)]),
            ("ff8020", [(0.46, 0.36), (0.54, 0.36), (0.5, 0.43)]),
            ("ff8020", [(0.38, 0.86), (0.1, 0.03)]),
            ("ff8020", [(0.62, 0.86), (0.1, 0.03)]),
        ),
    ),
    Drawing(
        "a cactus in the desert",
        "cactus",
        "desert",
        "ffd898",
        "df9d50",
        (
            ("60c030", [(0.43, 0.9), (0.43, 0.25), (0.57, 0.25), (0.57, 0.9)]),
            ("60c030", [(0.25, 0.62), (0.25, 0.35), (0.33, 0.35), (0.33, 0.54), (0.45, 0.54), (0.45, 0.62)]),
            ("60c030", [(0.75, 0.7), (0.75, 0.42), (0.67, 0.42), (0.67, 0.62), (0.55, 0.62), (0.55, 0.7)]),
        ),
    ),
    Drawing(
        "a whale in the sea",
        "whale",
        "sea",
        "35a5b5",
        "1a5a90",
        (
            ("10a0e8", [(0.43, 0.55), (0.27, 0.22)]),
            ("10a0e8", [(0.6, 0.72), (0.83, 0.5), (0.78, 0.28), (0.66, 0.3), (0.7, 0.5), (0.58, 0.55)]),
            ("10a0e8", [(0.62, 0.24), (0.74, 0.36), (0.9, 0.25), (0.74, 0.22)]),
            ("a8d8ff", [(0.36, 0.64), (0.18, 0.12)]),
        ),
    ),
    Drawing(
        "a rocket in space",
        "rocket",
        "space",
        "1c1440",
        "2c1c58",
        (
            ("f0eef5", [(0.28, 0.62), (0.62, 0.28), (0.8, 0.2), (0.72, 0.38), (0.38, 0.72)]),
            ("d01850", [(0.8, 0.2), (0.63, 0.26), (0.74, 0.37)]),
            ("d01850", [(0.2, 0.6), (0.38, 0.42), (0.34, 0.62)]),
            ("d01850", [(0.4, 0.8), (0.58, 0.62), (0.38, 0.66)]),
            ("60b0e0", [(0.58, 0.42), (0.06, 0.06)]),
            ("ff8030", [(0.3, 0.64), (0.36, 0.7), (0.2, 0.8)]),
        ),
    ),
    Drawing(
        "a house in the mountains",
        "house",
        "mountains",
        "a5c5e8",
        "5a7550",
        (
            ("7082a8", [(0.1, 0.65), (0.45, 0.1), (0.8, 0.65)]),
            ("f0b870", [(0.27, 0.52), (0.73, 0.52), (0.73, 0.86), (0.27, 0.86)]),
            ("e83030", [(0.2, 0.54), (0.5, 0.26), (0.8, 0.54)]),
            ("8a5038", [(0.34, 0.62), (0.46, 0.62), (0.46, 0.86), (0.34, 0.86)]),
            ("80c8ff", [(0.55, 0.62), (0.67, 0.62), (0.67, 0.73), (0.55, 0.73)]),
        ),
    ),
    Drawing(
        "a car in the city",
        "car",
        "city",
        "f5b8c0",
        "50536a",
        (
            ("80789f", [(0, 0.35), (0.25, 0.35), (0.25, 0.7), (0, 0.7)]),
            ("80789f", [(0.7, 0.25), (0.95, 0.25), (0.95, 0.7), (0.7, 0.7)]),
            ("e82838", [(0.2, 0.6), (0.82, 0.6), (0.82, 0.8), (0.2, 0.8)]),
            ("e82838", [(0.32, 0.6), (0.38, 0.44), (0.74, 0.44), (0.78, 0.6)]),
            ("50b8f0", [(0.38, 0.59), (0.42, 0.48), (0.7, 0.48), (0.72, 0.59)]),
            ("302030", [(0.35, 0.81), (0.08, 0.08)]),
            ("302030", [(0.67, 0.81), (0.08, 0.08)]),
        ),
        horizon=0.7,
    ),
    Drawing(
        "a mushroom in a forest",
        "mushroom",
        "forest",
        "4a8a60",
        "507535",
        (
            ("ffd8a0", [(0.42, 0.5), (0.58, 0.5), (0.62, 0.84), (0.38, 0.84)]),
            ("e83030", [(0.22, 0.54), (0.28, 0.34), (0.5, 0.24), (0.72, 0.34), (0.78, 0.54)]),
            ("ffb8b0", [(0.5, 0.4), (0.07, 0.06)]),
        ),
        horizon=0.75,
    ),
    Drawing(
        "a teapot in a room",
        "teapot",
        "room",
        "f3dcb8",
        "b07848",
        (
            ("e82020", [(0.52, 0.6), (0.22, 0.2)]),
            ("e82020", [(0.36, 0.66), (0.16, 0.42), (0.24, 0.4), (0.42, 0.56)]),
            ("c01850", [(0.72, 0.58), (0.12, 0.12)]),
            ("f3dcb8", [(0.74, 0.58), (0.06, 0.07)]),
            ("e82020", [(0.52, 0.37), (0.05, 0.04)]),
        ),
        horizon=0.72,
    ),
    Drawing(
        "a sunflower in a meadow",
        "sunflower",
        "meadow",
        "a5dcfa",
        "80c550",
        (
            ("408a20", [(0.47, 0.6), (0.53, 0.6), (0.53, 0.88), (0.47, 0.88)]),
            ("408a20", [(0.4, 0.83), (0.12, 0.04)]),
            ("408a20", [(0.6, 0.83), (0.12, 0.04)]),
            ("ffd040", [(0.5, 0.42), (0.24, 0.24)]),
            ("704830", [(0.5, 0.42), (0.12, 0.12)]),
        ),
    ),
    Drawing(
        "a fox in the snow",
        "fox",
        "snow",
        "b5c2e8",
        "eef3fd",
        (
            ("ff8028", [(0.2, 0.56), (0.24, 0.2), (0.42, 0.36), (0.58, 0.36), (0.76, 0.2), (0.8, 0.56), (0.5, 0.84)]),
            ("ffe0a8", [(0.2, 0.58), (0.8, 0.58), (0.5, 0.86)]),
            ("202020", [(0.38, 0.56), (0.025, 0.035)]),
            ("202020", [(0.62, 0.56), (0.025, 0.035)]),
            ("202020", [(0.5, 0.72), (0.04, 0.03)]),
        ),
    ),
)


def load() -> list[tuple[Canvas, str, str, str]]:
    """Every drawing, with its object, its place and its prompt."""
    return [(drawing.picture(), drawing.obj, drawing.place, drawing.prompt) for drawing in DRAWINGS]
