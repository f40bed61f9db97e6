"""What people may say for each style, the templates around it, and phrases kept back to test paraphrases.

Subjects ("a photo of a street as …") carry no information about the picture: they teach the text encoder that words it
has no style for change nothing. None of them is an object or a place of the scenes.
"""

from string import ascii_lowercase

from numpy.random import Generator

NEUTRAL = (
    "",
    "a photo",
    "photo",
    "a photograph",
    "photograph",
    "realistic",
    "a realistic photo",
    "natural",
    "unchanged",
    "original",
    "real life",
    "a picture",
    "as it is",
)

PHRASES: dict[str, tuple[str, ...]] = {
    "pencil sketch": ("pencil sketch", "pencil drawing", "graphite sketch", "sketch", "drawn with a pencil", "pencil"),
    "ink drawing": ("ink drawing", "black ink", "pen and ink", "ink", "manga lines", "brush and ink", "lineart"),
    "oil painting": ("oil painting", "oil on canvas", "painting", "oil paint", "thick brush strokes", "van gogh"),
    "watercolour": ("watercolour", "watercolor", "watercolor painting", "aquarelle", "wet paint wash"),
    "comic": ("comic", "comic book", "cartoon", "comic with halftone", "halftone", "pop art", "graphic novel"),
    "pixel art": ("pixel art", "pixels", "8 bit game", "retro video game", "pixelated", "low resolution pixels"),
    "mosaic": ("mosaic", "mosaic tiles", "roman mosaic", "ceramic tiles", "made of small tiles"),
    "stained glass": ("stained glass", "church window", "stained glass window", "coloured glass", "leaded glass"),
    "neon": ("neon", "neon outlines", "glowing neon lines", "cyberpunk", "neon lights", "neon glow"),
    "night": ("night", "at night", "moonlight", "dark night", "midnight", "nighttime"),
    "golden light": ("golden light", "golden hour", "sunset", "warm sunlight", "evening sun", "sunset light"),
    "thermal": ("thermal", "thermal camera", "heat map", "infrared", "heat vision", "infrared camera"),
    "emboss": ("emboss", "embossed", "relief", "grey stone relief", "carved in stone", "embossed paper"),
    "sepia": ("sepia", "old photo", "vintage photo", "sepia tone", "antique photograph", "vintage"),
    "black and white": ("black and white", "monochrome", "film noir", "greyscale", "grayscale", "noir"),
    "poster": ("poster", "silk screen poster", "propaganda poster", "screen print", "retro poster", "vintage poster"),
    "blueprint": ("blueprint", "technical drawing", "architect plan", "blueprint drawing", "white lines on blue"),
    "pastel": ("pastel", "soft pastel", "pastel colours", "pastel colors", "chalk pastel", "pale dreamy colours"),
    "frost": ("frost", "ice", "frozen", "winter", "icy", "covered in ice", "frozen in ice", "cold winter frost"),
    "vaporwave": ("vaporwave", "synthwave", "purple and pink", "eighties", "retro wave", "pink and cyan"),
    "negative": ("negative", "inverted", "inverted colours", "inverted colors", "film negative", "colour negative"),
    "autumn": ("autumn", "fall colours", "fall colors", "autumn leaves", "in autumn", "orange leaves"),
    "chalkboard": ("chalkboard", "blackboard", "chalk drawing", "chalk", "chalk on a blackboard", "white chalk"),
    "gold": ("gold", "golden statue", "made of gold", "bronze", "gold statue", "metal", "cast in gold"),
}

HELD_OUT: dict[str, tuple[str, ...]] = {
    "pencil sketch": ("a sketch drawn in graphite pencil",),
    "ink drawing": ("a drawing in black pen and ink",),
    "oil painting": ("painted in oil with thick strokes",),
    "watercolour": ("a wash of watercolor paint",),
    "comic": ("a page of a halftone comic book",),
    "pixel art": ("a retro 8 bit pixel game",),
    "mosaic": ("small ceramic mosaic",),
    "stained glass": ("a window of coloured stained glass",),
    "neon": ("glowing neon city lights",),
    "night": ("a dark night in the moonlight",),
    "golden light": ("warm golden evening light",),
    "thermal": ("seen by an infrared heat camera",),
    "emboss": ("an embossed stone",),
    "sepia": ("an antique sepia photograph",),
    "black and white": ("monochrome film noir photo",),
    "poster": ("a retro silk screen print",),
    "blueprint": ("an architect's technical blueprint",),
    "pastel": ("pale soft chalk pastel colours",),
    "frost": ("frozen in cold ice",),
    "vaporwave": ("eighties synthwave in pink",),
    "negative": ("a photo negative with inverted colours",),
    "autumn": ("orange autumn colours",),
    "chalkboard": ("drawn with chalk on a chalkboard",),
    "gold": ("a statue cast in metal gold",),
}

TEMPLATES = (
    "{}",
    "{}",
    "{}",
    "a {}",
    "{} style",
    "in {} style",
    "in the style of {}",
    "a picture in {} style",
    "make it {}",
    "turn it into {}",
    "{} of {subject}",
    "a {} of {subject}",
    "{subject}, {}",
    "{subject} as {}",
    "{subject} in {} style",
    "{}, {quality}",
    "{subject}, {}, {quality}",
)

NEUTRAL_TEMPLATES = ("{}", "{}", "{} of {subject}", "{subject}", "{subject}, {quality}")

QUALITY = ("high quality", "detailed", "highly detailed", "beautiful", "masterpiece", "best quality", "4k")

SUBJECTS = (
    "a man",
    "a woman",
    "a person",
    "people",
    "a child",
    "a face",
    "a portrait",
    "a bird",
    "an animal",
    "a motorcycle",
    "a building",
    "an office",
    "a kitchen",
    "a table",
    "a chair",
    "a garden",
    "a river",
    "the sky",
    "clouds",
    "a park",
    "a road",
    "a bridge",
    "food",
    "a cup of coffee",
    "fruit",
    "a landscape",
    "a village",
    "an astronaut",
    "a webcam picture",
    "me",
    "a friend",
    "a girl",
    "a boy",
    "a hand",
    "hands",
    "a crowd",
    "a dancer",
    "a singer",
    "a shop",
    "a wall",
)


def caption(style: str | None, rng: Generator) -> str:
    """One of the ways of asking for `style`; None asks for the picture as it is."""
    phrases = NEUTRAL if style is None else PHRASES[style]
    templates = NEUTRAL_TEMPLATES if style is None else TEMPLATES
    phrase, template = _pick(phrases, rng), _pick(templates, rng)
    if phrase == "":
        return ""
    return template.format(phrase, subject=subject(rng), quality=_pick(QUALITY, rng))


def subject(rng: Generator) -> str:
    """A known subject, or one time in six a word of random letters, so that unknown words disturb little."""
    if rng.random() < 5 / 6:
        return _pick(SUBJECTS, rng)
    return "".join(rng.choice(list(ascii_lowercase), rng.integers(3, 9)))


def _pick(options: tuple[str, ...], rng: Generator) -> str:
    return options[rng.integers(len(options))]


def words() -> list[str]:
    """Every word that captions use, held-out phrases aside, in order of appearance."""
    texts = [*NEUTRAL, *TEMPLATES, *NEUTRAL_TEMPLATES, *QUALITY, *SUBJECTS]
    texts += [phrase for phrases in PHRASES.values() for phrase in phrases]
    text = " ".join(texts).replace("{}", " ").replace("{subject}", " ").replace("{quality}", " ")
    return list(dict.fromkeys(text.replace(",", " , ").split()))
