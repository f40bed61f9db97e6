"""Which models a client may name: the embedded one, the one the server was started with, and those in its folder."""

from pathlib import Path, PurePath
from typing import Any

from millstream import embedded
from millstream.params import ModelConfig
from millstream.server.protocol import Id, ProtocolError

WEIGHTS = ".safetensors"
PLACES = ("name", "base", "vae")


class Catalogue:
    """Names for clients, and where they lead: a client never gives a path."""

    def __init__(self, folder: Path, own: ModelConfig) -> None:
        self._folder, self._own = folder, own

    def names(self) -> list[str]:
        """What `change` may name, the server's own first."""
        return list(self._places())

    def resolve(self, wanted: dict[str, Any], id: Id | None = None) -> dict[str, Any]:
        """The fields with paths in place of names. Raises ProtocolError for a name that is not in the catalogue."""
        places = self._places()
        found = dict(wanted)
        for field in PLACES:
            if wanted.get(field) is not None:
                found[field] = _look_up(places, wanted[field], field, id)
        config = ModelConfig.model_validate(wanted)
        if "lora" in wanted:
            found["lora"] = [
                {"path": _look_up(places, lora.path, "lora", id), "scale": lora.scale} for lora in config.lora
            ]
        return found

    def _places(self) -> dict[str, str]:
        own = [self._own.name, self._own.base, self._own.vae, *(lora.path for lora in self._own.lora)]
        places = {name: name for name in own if name} | {embedded.NAME: embedded.NAME}
        found = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        return places | {path.name: str(path) for path in found if path.is_dir() or path.suffix == WEIGHTS}


def without_folders(model: dict[str, Any]) -> dict[str, Any]:
    """The fields of a model, of each path its last name alone: where things lie on this machine is not for viewers."""
    short = {field: model[field] and PurePath(model[field]).name for field in PLACES}
    return model | short | {"lora": [lora | {"path": PurePath(lora["path"]).name} for lora in model["lora"]]}


def _look_up(places: dict[str, str], name: str, field: str, id: Id | None) -> str:
    if name in places:
        return places[name]
    known = ", ".join(list(places)[:8])
    raise ProtocolError(
        f"{field}: not a model of this server; known are {known}; put others into its models folder", field, id
    )
