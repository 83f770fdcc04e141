"""MathAPI: arithmetic on what the agent writes, with bounds where Python would compute for ever."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal
from forge_envs.worlds.bfcl.backends.logarithms import quotient_of_logs

TOO_LONG = 10**4300
"""The least integer that Python does not write out; the official simulators answer with its complaint."""
TOO_LONG_TEXT = (
    "Exceeds the limit (4300 digits) for integer string conversion;"
    " use sys.set_int_max_str_digits() to increase the limit"
)
LONGEST_ROOT = 10_000
"""Digits of a root; the official simulator fills the memory with as many as are asked for."""
METRES = {"km": 1000, "m": 1, "cm": 0.01, "mm": 0.001, "um": 1e-6, "nm": 1e-9}
FACTORS = {
    "cm_to_in": 0.393701,
    "in_to_cm": 2.54,
    "m_to_ft": 3.28084,
    "ft_to_m": 0.3048,
    "m_to_yd": 1.09361,
    "yd_to_m": 0.9144,
    "km_to_miles": 0.621371,
    "miles_to_km": 1.60934,
    "kg_to_lb": 2.20462,
    "lb_to_kg": 0.453592,
}
"""What a value is multiplied by, beside temperatures."""
NOT_NUMBERS = "Both inputs must be numbers"
NOT_A_LIST = "All elements in the list must be numbers"
TOO_LARGE = "Conversion resulted in a value too large to represent"
NO_ROOT = "Input must be a number or computation resulted in an invalid operation"


class MathAPI(Backend):
    """Functions without a state; whatever a configuration holds is of no effect."""

    # -- two numbers -----------------------------------------------------------------------------------------

    def add(self, a: float, b: float) -> Answer:
        """A sum."""
        return _result(lambda: a + b, NOT_NUMBERS)

    def subtract(self, a: float, b: float) -> Answer:
        """A difference."""
        return _result(lambda: a - b, NOT_NUMBERS)

    def multiply(self, a: float, b: float) -> Answer:
        """A product of numbers, and of nothing else."""
        if not isinstance(a, int | float) or not isinstance(b, int | float):
            return refusal(NOT_NUMBERS)
        return _result(lambda: a * b, NOT_NUMBERS)

    def divide(self, a: float, b: float) -> Answer:
        """A quotient."""
        return refusal("Cannot divide by zero") if b == 0 else _result(lambda: a / b, NOT_NUMBERS)

    def percentage(self, part: float, whole: float) -> Answer:
        """A part in percent of the whole."""
        if whole == 0:
            return refusal("Whole value cannot be zero")
        return _result(lambda: (part / whole) * 100, NOT_NUMBERS)

    def power(self, base: float, exponent: float) -> Answer:
        """A power; one with too many digits to be written is not computed."""
        if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
            least = (abs(base).bit_length() - 1) * exponent  # the power has more bits than that
            if least >= TOO_LONG.bit_length():
                raise ValueError(TOO_LONG_TEXT)
        return _result(lambda: base**exponent, NOT_NUMBERS)

    # -- one number ------------------------------------------------------------------------------------------

    def absolute_value(self, number: float) -> Answer:
        """A number without its sign."""
        return _result(lambda: abs(number), "Input must be a number")

    def round_number(self, number: float, decimal_places: int = 0) -> Answer:
        """A number rounded; a negative number of places rounds to tens, hundreds, and so on."""
        if isinstance(number, int) and isinstance(decimal_places, int) and -decimal_places > 5000:
            number, decimal_places = 0, 0  # it has fewer digits than that, and the power of ten need not be
        problem = "First input must be a number, second input must be an integer"
        return _result(lambda: round(number, decimal_places), problem)

    def square_root(self, number: float, precision: int) -> Answer:
        """A root with so many digits."""
        try:
            if number < 0:
                return refusal("Cannot calculate square root of a negative number")
            context = Context()
            context.prec = precision
            if precision > LONGEST_ROOT:
                return refusal(NO_ROOT)
            return {"result": Decimal(number).sqrt(context)}
        except (TypeError, InvalidOperation):
            return refusal(NO_ROOT)

    def logarithm(self, value: float, base: float, precision: int) -> Answer:
        """A logarithm with so many digits, complex for negative numbers."""
        try:
            return {"result": quotient_of_logs(value, base, precision)}
        except Exception as error:  # whatever goes wrong is the published answer
            return refusal(str(error))

    # -- lists -----------------------------------------------------------------------------------------------

    def mean(self, numbers: list[float]) -> Answer:
        """The mean."""
        if not numbers:
            return refusal("Cannot calculate mean of an empty list")
        return _result(lambda: sum(numbers) / len(numbers), NOT_A_LIST)

    def standard_deviation(self, numbers: list[float]) -> Answer:
        """The standard deviation of a whole population."""
        if not numbers:
            return refusal("Cannot calculate standard deviation of an empty list")
        return _result(lambda: _deviation(numbers), NOT_A_LIST)

    def min_value(self, numbers: list[float]) -> Answer:
        """The least."""
        if not numbers:
            return refusal("Cannot find minimum of an empty list")
        return _result(lambda: min(numbers), NOT_A_LIST)

    def max_value(self, numbers: list[float]) -> Answer:
        """The greatest."""
        if not numbers:
            return refusal("Cannot find maximum of an empty list")
        return _result(lambda: max(numbers), NOT_A_LIST)

    def sum_values(self, numbers: list[float]) -> Answer:
        """The sum."""
        if not numbers:
            return refusal("Cannot calculate sum of an empty list")
        return _result(lambda: sum(numbers), NOT_A_LIST)

    # -- units -----------------------------------------------------------------------------------------------

    def si_unit_conversion(self, value: float, unit_in: str, unit_out: str) -> Answer:
        """A length in another unit."""
        if not isinstance(value, int | float):
            return refusal("Value must be a number")
        if unit_in not in METRES or unit_out not in METRES:
            return refusal(f"Conversion from '{unit_in}' to '{unit_out}' is not supported")
        try:
            return {"result": value * METRES[unit_in] * (1 / METRES[unit_out])}
        except OverflowError:
            return refusal(TOO_LARGE)

    def imperial_si_conversion(self, value: float, unit_in: str, unit_out: str) -> Answer:
        """A length, a weight or a temperature in a unit of the other system."""
        if not isinstance(value, int | float):
            return refusal("Value must be a number")
        if unit_in == unit_out:
            return {"result": _written(value)}
        pair = f"{unit_in}_to_{unit_out}"
        try:
            if pair == "celsius_to_fahrenheit":
                return {"result": value * 1.8 + 32}
            if pair == "fahrenheit_to_celsius":
                return {"result": (value - 32) * (5 / 9)}
            if pair in FACTORS:
                return {"result": value * FACTORS[pair]}
        except OverflowError:
            return refusal(TOO_LARGE)
        return refusal(f"Conversion from '{unit_in}' to '{unit_out}' is not supported")


def _result(compute: Callable[[], Any], problem: str) -> Answer:
    """What comes out, or the problem when the arguments are of a wrong type."""
    try:
        return {"result": _written(compute())}
    except TypeError:
        return refusal(problem)


def _written(value: Any) -> Any:
    if isinstance(value, int) and abs(value) >= TOO_LONG:
        raise ValueError(TOO_LONG_TEXT)
    return value


def _deviation(numbers: list[float]) -> float:
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))
