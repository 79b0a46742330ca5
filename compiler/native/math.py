"""f32 math functions as arithmetic, so that kernels never call libm.

`expand_math` replaces every math op on f32, a scalar or a vector of any shape, in place. NaN and infinities give what
PyTorch gives; exp and exp2 flush results below 2^-125 to zero. Worst errors against float64, in units of the last
place (tests/compiler/native/test_math.py holds them):

| op | method | ulp |
| --- | --- | --- |
| exp, exp2, expm1 | reduction by ln 2 in two parts, Cephes' polynomial | 1.5 |
| log, log2, log10, log1p | mantissa in [2/3, 4/3), polynomial of N. Juffa; Kahan's correction for log1p | 2.5 |
| tanh, erf | clamp and rational function, coefficients of Eigen and XLA | 6 |
| sin, cos, tan | f64 reduction by pi/2 in two parts (abs x up to 1e9), Cephes' polynomials | 3 |
| rsqrt | 1 / sqrt | 1.5 |
| powf | products for small constant exponents, else exp2(y log2 abs x) in f64 | 1 |
"""

from __future__ import annotations

import math as scalar_math
from collections.abc import Callable

from compiler.native.lanes import Lanes, element_type
from passes.mlir import arith, ir, math

_MAGIC = 12582912.0
"""1.5 * 2^23: adding it leaves round(x) in the low mantissa bits."""
_MAGIC64 = 6755399441055744.0
_INF = float("inf")


def _horner(x: Lanes, *coefficients: float) -> Lanes:
    """The polynomial with the highest power first."""
    result = x.like(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result.fma(x, coefficient)
    return result


def _exp_parts(x: Lanes, log2_of_base: float, high: float, low: float) -> tuple[Lanes, Lanes]:
    """(expm1(r), 2^(n - 1)) with base^x = exp(r) 2^n; the power is 0 for n = -126. `high` + `low` = ln 2 / ln base."""
    k = x.fma(log2_of_base, _MAGIC)
    n = k - _MAGIC
    r = n.fma(-high, x)
    if low:
        r = n.fma(-low, r)
    else:
        r = r * scalar_math.log(2.0)
    p = _horner(r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
    power = k.bits().integer(arith.shli, 23).integer(arith.addi, 126 << 23).floats(x)
    return p.fma(r * r, r), power


def exp(x: Lanes) -> Lanes:
    m, power = _exp_parts(x.clamp(-87.34, 88.8), 1.4426950408889634, 0.693359375, -2.12194440e-4)
    return _scale(m + 1.0, power)


def exp2(x: Lanes) -> Lanes:
    m, power = _exp_parts(x.clamp(-126.0, 128.0), 1.0, 1.0, 0.0)
    return _scale(m + 1.0, power)


def _scale(y: Lanes, power: Lanes) -> Lanes:
    return (y + y) * power


def expm1(x: Lanes) -> Lanes:
    m, half = _exp_parts(x.clamp(-87.34, 88.8), 1.4426950408889634, 0.693359375, -2.12194440e-4)
    y = m.fma(half, half - 0.5)
    return x.equals(0.0).where(x, y + y)


def log(x: Lanes) -> Lanes:
    tiny = x < 1.1754943508222875e-38
    normal = tiny.where(x * 8388608.0, x)
    bits = normal.bits()
    exponent = bits.integer(arith.subi, 0x3F2AAAAB).integer(arith.andi, -0x800000)
    f = bits.integer(arith.subi, exponent).floats(x) - 1.0
    i = exponent.cast(arith.sitofp, element_type(x.value.type)).fma(
        1.1920928955078125e-7, tiny.where(-23.0, x.like(0.0))
    )
    s = f * f
    r = s.like(-0.130310059).fma(s, -0.121483512)
    t = s.like(0.140869141).fma(s, 0.139814854)
    r = r.fma(s, -0.166846126)
    t = t.fma(s, 0.200120345)
    r = r.fma(s, -0.249996200)
    r = t.fma(f, r).fma(f, 0.333331972).fma(f, -0.5).fma(s, f)
    r = i.fma(scalar_math.log(2.0), r)
    r = (x < _INF).where(r, x + x)
    return x.equals(0.0).where(-_INF, (x < 0.0).where(float("nan"), r))


def log2(x: Lanes) -> Lanes:
    return log(x) * scalar_math.log2(scalar_math.e)


def log10(x: Lanes) -> Lanes:
    return log(x) * scalar_math.log10(scalar_math.e)


def log1p(x: Lanes) -> Lanes:
    u = x + 1.0
    corrected = log(u) * (x / (u - 1.0))
    return u.equals(1.0).where(x, u.equals(_INF).where(u, corrected))


def tanh(x: Lanes) -> Lanes:
    c = x.clamp(-9.0, 9.0)
    s = c * c
    p = _horner(
        s,
        *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
        *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
    )
    q = _horner(s, 1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
    return c * p / q


def erf(x: Lanes) -> Lanes:
    c = x.clamp(-3.832506856900711, 3.832506856900711)
    s = c * c
    p = _horner(
        s,
        *(0.00022905065861350646, 0.0034082910107109506, 0.050955695062380861, 0.18520832239976145),
        1.128379143519084,
    )
    q = _horner(
        s,
        *(-1.1791602954361697e-7, 0.000023547966471313185, 0.0010179625278914885, 0.014070470171167667),
        *(0.11098505178285362, 0.49746925110067538, 1.0),
    )
    return c * p / q


def _quadrant(x: Lanes) -> tuple[Lanes, Lanes]:
    """(x reduced to [-pi/4, pi/4], the quadrant's number as i32)."""
    f64, i32 = ir.F64Type.get(), ir.IntegerType.get_signless(32)
    wide = x.cast(arith.extf, f64)
    k = wide.fma(2.0 / scalar_math.pi, _MAGIC64)
    n = k - _MAGIC64
    r = n.fma(-1.5707963267948966, wide)
    r = n.fma(-6.123233995736766e-17, r).clamp(-0.7854, 0.7854)
    return r.cast(arith.truncf, element_type(x.value.type)), k.bits().cast(arith.trunci, i32)


def _sin_cos(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    r, quadrant = _quadrant(x)
    s = r * r
    sine = _horner(s, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1).fma(s * r, r)
    cosine = _horner(s, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2).fma(s, -0.5).fma(s, 1.0)
    return sine, cosine, quadrant


def _by_quadrant(even: Lanes, odd: Lanes, quadrant: Lanes) -> Lanes:
    """`even` or `odd` by the low bit, negated if the second bit is set."""
    is_odd = quadrant.integer(arith.andi, 1).cast(arith.trunci, ir.IntegerType.get_signless(1))
    sign = quadrant.integer(arith.andi, 2).integer(arith.shli, 30)
    chosen = is_odd.where(odd, even)
    return chosen.bits().integer(arith.xori, sign).floats(chosen)


def sin(x: Lanes) -> Lanes:
    sine, cosine, quadrant = _sin_cos(x)
    return x.equals(0.0).where(x, _by_quadrant(sine, cosine, quadrant))


def cos(x: Lanes) -> Lanes:
    sine, cosine, quadrant = _sin_cos(x)
    return _by_quadrant(cosine, -sine, quadrant)


def tan(x: Lanes) -> Lanes:
    return sin(x) / cos(x)


def rsqrt(x: Lanes) -> Lanes:
    return x.like(1.0) / Lanes(math.sqrt(x.value))


def powf(x: Lanes, y: Lanes) -> Lanes:
    exponent = _splat(y.value)
    if exponent in _PRODUCTS:
        return _PRODUCTS[exponent](x)
    f64, f32 = ir.F64Type.get(), element_type(x.value.type)
    magnitude = Lanes(math.absf(x.value))
    wide = y.cast(arith.extf, f64)
    result = _exp2_wide(_log2_wide(magnitude.cast(arith.extf, f64)) * wide).cast(arith.truncf, f32)
    half = y * 0.5
    odd = _both(_is_whole(y), _not(_is_whole(half)))
    result = _both(_is_negative(x), odd).where(-result, result)
    result = _both(_both(x < 0.0, x > -_INF), _not(_is_whole(y))).where(float("nan"), result)
    one = _both(magnitude.equals(1.0), Lanes(math.absf(y.value)).equals(_INF))
    return _either(one, _either(y.equals(0.0), x.equals(1.0))).where(1.0, result)


def _splat(value: ir.Value) -> float | None:
    """The number that fills a constant, if `value` is one."""
    owner = value.owner
    if not isinstance(owner, ir.OpView | ir.Operation) or owner.name != "arith.constant":
        return None
    attribute = owner.attributes["value"]
    if isinstance(attribute, ir.DenseElementsAttr):
        dense = ir.DenseElementsAttr(attribute)
        if not dense.is_splat:
            return None
        attribute = dense.get_splat_value()
    return float(ir.FloatAttr(attribute).value) if isinstance(attribute, ir.FloatAttr) else None


_PRODUCTS: dict[float | None, Callable[[Lanes], Lanes]] = {
    1.0: lambda x: x,
    2.0: lambda x: x * x,
    3.0: lambda x: x * x * x,
    4.0: lambda x: (x * x) * (x * x),
    -1.0: lambda x: x.like(1.0) / x,
    -2.0: lambda x: x.like(1.0) / (x * x),
    0.5: lambda x: Lanes(math.sqrt(x.value)),
    -0.5: rsqrt,
}


def _both(a: Lanes, b: Lanes) -> Lanes:
    return Lanes(arith.andi(a.value, b.value))


def _either(a: Lanes, b: Lanes) -> Lanes:
    return Lanes(arith.ori(a.value, b.value))


def _not(a: Lanes) -> Lanes:
    return a.integer(arith.xori, -1)


def _is_negative(x: Lanes) -> Lanes:
    """By the sign bit: -0 is negative."""
    bits = x.bits()
    return Lanes(arith.cmpi(arith.CmpIPredicate.slt, bits.value, bits.like(0).value))


def _is_whole(y: Lanes) -> Lanes:
    return y.equals(Lanes(math.floor(y.value)))


def _log2_wide(x: Lanes) -> Lanes:
    """log2 of a non-negative f64, relative error below 2^-38: the series of atanh."""
    bits = x.bits()
    exponent = bits.integer(arith.subi, 0x3FE5555555555555).integer(arith.andi, -(1 << 52))
    m = bits.integer(arith.subi, exponent).floats(x)
    i = exponent.integer(arith.shrsi, 52).cast(arith.sitofp, element_type(x.value.type))
    t = (m - 1.0) / (m + 1.0)
    series = _horner(t * t, *(2.0 * scalar_math.log2(scalar_math.e) / k for k in range(17, 0, -2)))
    result = series.fma(t, i)
    result = (x < _INF).where(result, x + x)
    return x.equals(0.0).where(-_INF, result)


def _exp2_wide(x: Lanes) -> Lanes:
    """2^x in f64 with f32's range, relative error below 2^-38."""
    c = x.clamp(-200.0, 200.0)
    k = c + _MAGIC64
    r = (c - (k - _MAGIC64)) * scalar_math.log(2.0)
    p = _horner(r, *(1.0 / scalar_math.factorial(i) for i in range(10, -1, -1)))
    power = k.bits().integer(arith.shli, 52).integer(arith.addi, 1023 << 52).floats(x)
    return p * power


_EXPANSIONS: dict[str, Callable[[Lanes], Lanes]] = {
    "math.exp": exp,
    "math.exp2": exp2,
    "math.expm1": expm1,
    "math.log": log,
    "math.log2": log2,
    "math.log10": log10,
    "math.log1p": log1p,
    "math.tanh": tanh,
    "math.erf": erf,
    "math.sin": sin,
    "math.cos": cos,
    "math.tan": tan,
    "math.rsqrt": rsqrt,
}


def expand_math(module: ir.Module) -> None:
    """Replace the math ops on f32 in `module` by arithmetic; others (f64, atan, ...) are left to libm."""
    found: list[ir.OpView] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name in _EXPANSIONS or op.name in ("math.powf", "math.fpowi"):
            found.append(op.opview)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    for op in found:
        if isinstance(element_type(op.operands[0].type), ir.F32Type):
            with ir.InsertionPoint(op), op.location:
                result = _expanded(op)
            op.results[0].replace_all_uses_with(result.value)
            op.operation.erase()


def _expanded(op: ir.OpView) -> Lanes:
    x = Lanes(op.operands[0])
    if op.operation.name in _EXPANSIONS:
        return _EXPANSIONS[op.operation.name](x)
    y = Lanes(op.operands[1])
    if op.operation.name == "math.fpowi":
        y = y.cast(arith.sitofp, element_type(x.value.type))
    return powf(x, y)
