"""Logarithms with as many digits as are asked for, written as the official simulator writes them.

That one answers with numbers of the mpmath library, so that the text an agent reads is `mpf('2.5')`, or
`mpc(real='1.0', imag='2.0')` for the logarithm of a negative number. Here they are computed with exact
fractions and the decimal module: rounded to as many bits as the digits need, written with three digits more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from fractions import Fraction
from typing import Any

MOST_DIGITS = 1_000
"""More digits than this are refused: the official simulator would be busy for ever with some of them."""
LONGEST = 4_300
"""Digits of an integer that Python reads from a text."""
BITS_PER_DIGIT = 3.3219280948873626
Real = Fraction | float
"""A finite number is a fraction; an infinite one, or none at all, is a float."""


@dataclass(frozen=True)
class Written:
    """A number that is known by how it is written."""

    text: str

    def __repr__(self) -> str:
        return self.text


def quotient_of_logs(value: Any, base: Any, digits: Any) -> Written:
    """The logarithm of a value to a base."""
    asked = int(digits)
    bits = max(1, round((min(asked, MOST_DIGITS) + 1) * BITS_PER_DIGIT))
    numbers = _number(value, bits), _number(base, bits)
    if asked > MOST_DIGITS:
        raise ValueError(f"a precision of more than {MOST_DIGITS} digits cannot be had")
    above, below = (_log(number, bits) for number in numbers)
    shown = max(1, round(bits / BITS_PER_DIGIT) - 1)
    shown = 17 if shown == 15 else shown + 3
    found = [_written(part, shown) for part in _divided(above, below, bits)]
    return Written(f"mpf('{found[0]}')" if len(found) == 1 else f"mpc(real='{found[0]}', imag='{found[1]}')")


def _number(value: Any, bits: int) -> Decimal | float:
    """What the agent wrote, exactly, or rounded to so many bits if it is a text."""
    if isinstance(value, int):
        return Decimal(int(value))
    if isinstance(value, float):
        return Decimal(value) if math.isfinite(value) else value
    if isinstance(value, str) and (found := _read(value, bits)) is not None:
        return found
    raise TypeError(f"cannot create mpf from {value!r}")


def _read(text: str, bits: int) -> Decimal | float | None:
    text = text.lower().strip()
    if text in ("inf", "+inf", "-inf", "nan"):
        return float(text)
    try:
        if "/" in text:
            above, below = (int(part) for part in text.split("/"))
            if not below:
                raise ZeroDivisionError
            return _decimal(_rounded(Fraction(above, below), bits))
        text = text.rstrip("l")
        float(text)
        found = Decimal(text)
        if not found.is_finite() or len(found.as_tuple().digits) > LONGEST:
            return None
        return found if abs(found.adjusted()) > 400 else _decimal(_rounded(Fraction(found), bits))
    except ValueError:
        return None


def _decimal(value: Fraction) -> Decimal:
    """A fraction of a power of two, exactly."""
    places = value.denominator.bit_length() - 1
    return Decimal(value.numerator * 5**places).scaleb(-places, Context(prec=10**9))


def _log(value: Decimal | float, bits: int) -> list[Real]:
    """The natural logarithm: one part, or two for a negative number."""
    if isinstance(value, float):
        return [value] if not value < 0 else [math.inf, _rounded(_pi(bits), bits)]
    if not value:
        return [-math.inf]
    context = Context(prec=int(bits / BITS_PER_DIGIT) + 12, Emax=10**17, Emin=-(10**17))
    real = _rounded(Fraction(value.copy_abs().ln(context)), bits)
    return [real] if value > 0 else [real, _rounded(_pi(bits), bits)]


def _pi(bits: int) -> Fraction:
    """Machin's formula in integers, some bits more than asked for."""
    unit = 1 << (bits + 32)

    def arctan_of_one_over(number: int) -> int:
        power = unit // number
        total, divisor = power, 1
        while power:
            power = -power // (number * number)
            divisor += 2
            total += power // divisor
            if abs(power) <= 1:
                break
        return total

    return Fraction(4 * (4 * arctan_of_one_over(5) - arctan_of_one_over(239)), unit)


# -- rounding ------------------------------------------------------------------------------------------


def _rounded(value: Fraction, bits: int, down: bool = False) -> Fraction:
    """The nearest number with so many bits, or the next one towards zero."""
    if not value:
        return value
    size = abs(value)
    shift = bits - size.numerator.bit_length() + size.denominator.bit_length()
    scaled = _shifted(size, shift)  # has as many bits before the point as wanted, or one less
    if scaled < 1 << (bits - 1):
        shift, scaled = shift + 1, scaled * 2
    elif scaled >= 1 << bits:
        shift, scaled = shift - 1, scaled / 2
    whole = math.floor(scaled) if down else round(scaled)
    return _shifted(Fraction(whole if value > 0 else -whole), -shift)


def _shifted(value: Fraction, places: int) -> Fraction:
    return value * (1 << places) if places >= 0 else value / (1 << -places)


# -- dividing ------------------------------------------------------------------------------------------


def _divided(above: list[Real], below: list[Real], bits: int) -> list[Real]:
    """A quotient of real or complex numbers; the steps on the way are cut to ten bits more."""
    if len(below) == 1:
        return [_over(part, below[0], bits) for part in above]
    real, imaginary = below
    size = _cut(_plus(_times(real, real), _times(imaginary, imaginary)), bits + 10)
    if len(above) == 1:
        parts = [_times(real, above[0]), _times(-1, _times(imaginary, above[0]))]
    else:
        one, two = above
        straight = _plus(_times(one, real), _times(two, imaginary))
        crossed = _plus(_times(two, real), _times(-1, _times(one, imaginary)))
        parts = [_cut(straight, bits + 10), _cut(crossed, bits + 10)]
    return [_over(part, size, bits) for part in parts]


def _cut(value: Real, bits: int) -> Real:
    return _rounded(value, bits, down=True) if isinstance(value, Fraction) else value


def _times(one: Real, two: Real) -> Real:
    if isinstance(one, Fraction | int) and isinstance(two, Fraction | int):
        return Fraction(one * two)
    return _sign(one) * _sign(two)


def _plus(one: Real, two: Real) -> Real:
    if isinstance(one, Fraction) and isinstance(two, Fraction):
        return one + two
    return _sign(one) + _sign(two)


def _over(above: Real, below: Real, bits: int) -> Real:
    if isinstance(above, Fraction) and isinstance(below, Fraction):
        if not below:
            raise ZeroDivisionError
        return _rounded(above / below, bits)
    if not below:
        raise ZeroDivisionError
    found = _sign(above) / _sign(below)
    return found if found else Fraction(0)


def _sign(value: Real) -> float:
    """An infinite number as it is, of a finite one only its sign."""
    return value if isinstance(value, float) else float((value > 0) - (value < 0))


# -- writing -------------------------------------------------------------------------------------------


def _written(value: Real, shown: int) -> str:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else "+inf" if value > 0 else "-inf"
    if not value:
        return "0.0"
    digits, exponent = _digits(abs(value), shown)
    leading = 1
    if min(-(shown // 3), -5) < exponent < shown:
        digits = "0" * -exponent + digits
        leading, exponent = max(exponent, 0) + 1, 0
    text = f"{digits[:leading]}.{digits[leading:]}".rstrip("0")
    text = ("-" if value < 0 else "") + (f"{text}0" if text.endswith(".") else text)
    return text if exponent == 0 else f"{text}e{'+' if exponent > 0 else ''}{exponent}"


def _digits(size: Fraction, count: int) -> tuple[str, int]:
    """So many decimal digits, of which a next one from 5 on rounds up, and the power of ten of the first."""
    cutting = Context(prec=count + 1, rounding=ROUND_DOWN)
    found = cutting.divide(Decimal(size.numerator), Decimal(size.denominator))
    exponent = found.adjusted()
    figures = "".join(map(str, found.as_tuple().digits)).ljust(count + 1, "0")
    digits = figures[:count]
    if figures[count] >= "5":
        up = str(int(digits) + 1)
        exponent += len(up) - count
        digits = up[:count]
    return digits, exponent
