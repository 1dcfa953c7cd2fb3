"""Expressions such as "2 * 100" or "(1 + 2) / 4"."""

from decimal import Decimal
from math import isinf, isnan


class ExpressionError(ValueError):
    """What is wrong with an expression, and at which column."""


def evaluate(text: str) -> str:
    """Give the value of an expression as people write numbers."""
    parser = _Parser(text)
    try:
        value = parser.sum()
    except RecursionError:
        raise ExpressionError("too many parentheses") from None
    if parser.peek():
        raise parser.error("unexpected character")
    return _written(value)


def _written(value: float) -> str:
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    # The shortest digits that mean this value, without an exponent.
    digits = format(Decimal(repr(value)), "f")
    return digits.removesuffix(".0")


class _Parser:
    """Reads one expression by recursive descent; `position` is the next character to look at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def error(self, message: str) -> ExpressionError:
        return ExpressionError(f"{message} at column {self.position + 1}")

    def peek(self) -> str:
        """The next character that is no blank, or nothing at the end."""
        while self.text[self.position : self.position + 1] in (" ", "\t"):
            self.position += 1
        return self.text[self.position : self.position + 1]

    def take(self, wanted: str) -> str:
        """Go past the next character if it is one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            return ""
        self.position += 1
        return found

    def sum(self) -> float:
        value = self.product()
        while operator := self.take("+-"):
            if operator == "+":
                value += self.product()
            else:
                value -= self.product()
        return value

    def product(self) -> float:
        value = self.factor()
        while operator := self.take("*/"):
            factor = self.factor()
            if operator == "*":
                value *= factor
            elif factor == 0:
                raise self.error("division by zero")
            else:
                value /= factor
        return value

    def factor(self) -> float:
        if self.take("-"):
            return -self.factor()
        if self.take("("):
            value = self.sum()
            if not self.take(")"):
                raise self.error("missing )")
            return value
        return self.number()

    def number(self) -> float:
        self.peek()
        start = end = self.position
        while self.text[end : end + 1] and self.text[end] in "0123456789.":
            end += 1
        if start == end:
            raise self.error("expected a number")
        try:
            value = float(self.text[start:end])
        except ValueError:
            value = float("inf")
        if isinf(value):
            raise self.error("not a number")
        self.position = end
        return value
