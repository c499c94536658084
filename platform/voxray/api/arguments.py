"""Checks of the arguments of public functions, whose callers may not check types."""

from voxray.errors import ConfigError


def check_instance(name: str, value: object, kind: type, remedy: str) -> None:
    """Raise ConfigError unless a value is of a class."""
    if not isinstance(value, kind):
        raise ConfigError(name, f"expected {kind.__name__}, got {type(value).__name__}", remedy)


def check_integer(name: str, value: object, lowest: int) -> None:
    """Raise ConfigError unless a value is an integer, of Python or NumPy, and not below `lowest`."""
    is_integer = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_integer or int(value) < lowest:  # type: ignore[call-overload]
        raise ConfigError(name, f"expected an integer from {lowest}, got {value!r:.80}", "Correct it")
