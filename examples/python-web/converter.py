"""Converts values between units of length, mass and temperature."""

import math
from typing import NamedTuple


class Unit(NamedTuple):
    """A value in this unit is `value * factor + offset` in the first unit of its kind."""

    kind: str
    factor: float
    offset: float = 0.0


UNITS = {
    "m": Unit("length", 1),
    "km": Unit("length", 1000),
    "mi": Unit("length", 1609.344),
    "ft": Unit("length", 0.3048),
    "kg": Unit("mass", 1),
    "g": Unit("mass", 0.001),
    "lb": Unit("mass", 0.45359237),
    "K": Unit("temperature", 1),
    "C": Unit("temperature", 1, 273.15),
    "F": Unit("temperature", 5 / 9, 273.15 - 32 * 5 / 9),
}


class ConversionError(ValueError):
    """A question that has no answer; its text is meant for whoever asked."""


def unit(name: str) -> Unit:
    """The unit of this name."""
    try:
        return UNITS[name]
    except KeyError:
        known = ", ".join(UNITS)
        raise ConversionError(f"unknown unit `{name}`: known are {known}") from None


def convert(value: float, source: str, target: str) -> float:
    """`value` in the unit `source` as a value in the unit `target`."""
    here, there = unit(source), unit(target)
    if here.kind != there.kind:
        raise ConversionError(f"`{source}` is a {here.kind} and `{target}` a {there.kind}")
    result = (value * here.factor + here.offset - there.offset) / there.factor
    if not math.isfinite(result):
        raise ConversionError("the result is not a finite number")
    return round(result, 9)
