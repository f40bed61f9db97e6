"""Errors that a user can mend: one clear line that names the cure."""


class MillstreamError(Exception):
    """What the user can mend. The message is one line and names the cure; `exit_code` is the command line's."""

    exit_code = 2


class BadInputError(MillstreamError):
    """A file, picture or parameter that cannot be used as it is."""


class ModelError(MillstreamError):
    """A model that cannot be loaded, or that gave numbers that are no picture."""

    exit_code = 3


class TooLargeError(ModelError):
    """What does not fit into the memory that is free."""


class OutputError(MillstreamError):
    """A result that cannot be written: no space, no permission, an unknown container."""

    exit_code = 4
