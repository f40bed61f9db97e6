"""Presets: settings as YAML files in a folder of the server, under names that the server makes."""

import re
import unicodedata
from pathlib import Path
from secrets import token_hex

import yaml

from millstream.errors import BadInputError, OutputError
from millstream.params import Settings, load_preset
from millstream.server.recordings import explained

MAX_NAME = 48
NAME = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{MAX_NAME - 1}}})", re.ASCII)


class Presets:
    """The presets in one folder."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most

    def names(self) -> list[str]:
        """What is there, in order."""
        found = self._folder.glob("*.yaml") if self._folder.is_dir() else []
        return sorted(path.stem for path in found if NAME.fullmatch(path.stem))

    def load(self, name: str) -> Settings:
        """Read one. Raises BadInputError."""
        return load_preset(self._find(name))

    def save(self, title: str, settings: Settings) -> str:
        """Write one, over another of the same name; give the name that the title has become. Raises OutputError."""
        name = name_of(title)
        if name not in self.names() and len(self.names()) >= self._most:
            raise OutputError(f"there are {self._most} presets; delete one first")
        text = yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True)
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(name, text)
        return name

    def delete(self, name: str) -> None:
        """Remove one. Raises BadInputError, or OutputError where it cannot be removed."""
        with explained(self._folder):
            self._find(name).unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        """Under a name of its own first, for another may be saved as the same at this moment."""
        part = self._folder / f".{name}-{token_hex(4)}.part"
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(self._folder / f"{name}.yaml")
        finally:
            part.unlink(missing_ok=True)

    def _find(self, name: str) -> Path:
        if name not in self.names():
            raise BadInputError("there is no preset of that name; see the list")
        return self._folder / f"{name}.yaml"


def name_of(title: str) -> str:
    """A file's name from what a user typed: small letters, digits and dashes. Raises BadInputError for nothing."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME].strip("-")
    if not name:
        raise BadInputError("name: needs a letter or a digit from a to z, 0 to 9")
    return name
