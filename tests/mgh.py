"""The test problems of odd number of More, Garbow & Hillstrom as data: f = r'r, its start, and its known minima.

Source: More, Garbow & Hillstrom 1981, "Testing Unconstrained Optimization Software", ACM TOMS 7(1). Digits of the
minima beyond the paper's six, and the derivatives at the starts, are recomputed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Problem:
    number: int
    name: str
    residual: Callable
    m: int
    start: tuple[float, ...]
    f: float  # here and below: at the start
    gradient: tuple[float, ...]
    hessian: tuple[float, ...]  # as ``digest`` has it
    minima: tuple[float, ...]

    def __str__(self):
        return f"{self.name} {self.n}"

    @property
    def n(self):
        return len(self.start)

    def fun(self, x):
        return jnp.sum(self.residual(x) ** 2)


def digest(H):
    """A symmetric matrix in few numbers: up to n = 5 its lower triangle, above that trace, norm and H (1, ..., n)."""
    n = len(H)
    if n <= 5:
        return H[np.tril_indices(n)]
    return np.array([np.trace(H), np.linalg.norm(H), *(H @ np.arange(1.0, n + 1))])


GAUSSIAN = (0.0009, 0.0044, 0.0175, 0.054, 0.1295, 0.242, 0.3521, 0.3989)
GAUSSIAN += GAUSSIAN[-2::-1]
KOWALIK_OSBORNE = (0.1957, 0.1947, 0.1735, 0.16, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
KOWALIK_OSBORNE_U = (4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625)
# fmt: off
OSBORNE_1 = (  # thousandths, as OSBORNE_2
    844, 908, 932, 936, 925, 908, 881, 850, 818, 784, 751, 718, 685, 658, 628, 603, 580,
    558, 538, 522, 506, 490, 478, 467, 457, 448, 438, 431, 424, 420, 414, 411, 406,
)
OSBORNE_2 = (
    1366, 1191, 1112, 1013, 991, 885, 831, 847, 786, 725, 746, 679, 608, 655, 616, 606, 602, 626, 651, 724, 649, 649,
    694, 644, 624, 661, 612, 558, 533, 495, 500, 423, 395, 375, 372, 391, 396, 405, 428, 429, 523, 562, 607, 653,
    672, 708, 633, 668, 645, 632, 591, 559, 597, 625, 739, 710, 729, 720, 636, 581, 428, 292, 162, 98, 54,
)
# fmt: on


def extended_rosenbrock(x):
    odd, even = x[::2], x[1::2]
    return jnp.concatenate([10.0 * (even - odd**2), 1.0 - odd])


def powell_badly_scaled(x):
    a, b = x
    return jnp.stack([1e4 * a * b - 1.0, jnp.exp(-a) + jnp.exp(-b) - 1.0001])


def beale(x):
    a, b = x
    return jnp.stack([y - a * (1.0 - b**i) for i, y in enumerate((1.5, 2.25, 2.625), 1)])


def helical_valley(x):
    a, b, c = x
    turns = 0.25 + jnp.arctan2(-a, b) / (2.0 * math.pi)  # -1/4 to 3/4: with the cut where the paper has it
    return jnp.stack([10.0 * (c - 10.0 * turns), 10.0 * (jnp.sqrt(a**2 + b**2) - 1.0), c])


def gaussian(x):
    a, b, c = x
    t = (7.0 - jnp.arange(15, dtype=x.dtype)) / 2.0
    return a * jnp.exp(-b * (t - c) ** 2 / 2.0) - jnp.asarray(GAUSSIAN, x.dtype)


def gulf(x):
    a, b, c = x
    t = jnp.arange(1, 100, dtype=x.dtype) / 100.0
    y = 25.0 + (-50.0 * jnp.log(t)) ** (2.0 / 3.0)
    return jnp.exp(-(jnp.abs(y - b) ** c) / a) - t


def powell_singular(x):
    a, b, c, d = x
    return jnp.stack([a + 10.0 * b, 5.0**0.5 * (c - d), (b - 2.0 * c) ** 2, 10.0**0.5 * (a - d) ** 2])


def kowalik_osborne(x):
    a, b, c, d = x
    u = jnp.asarray(KOWALIK_OSBORNE_U, x.dtype)
    return jnp.asarray(KOWALIK_OSBORNE, x.dtype) - a * (u**2 + u * b) / (u**2 + u * c + d)


def osborne_1(x):
    a, b, c, d, e = x
    t = 10.0 * jnp.arange(33, dtype=x.dtype)
    return jnp.asarray(OSBORNE_1, x.dtype) / 1000.0 - (a + b * jnp.exp(-t * d) + c * jnp.exp(-t * e))


def osborne_2(x):
    t = jnp.arange(65, dtype=x.dtype) / 10.0
    bells = jnp.exp(-((t[:, None] - x[None, 8:]) ** 2) * x[None, 5:8])
    model = x[0] * jnp.exp(-t * x[4]) + jnp.sum(x[None, 1:4] * bells, axis=1)
    return jnp.asarray(OSBORNE_2, x.dtype) / 1000.0 - model


def penalty_1(x):
    return jnp.append(1e-5**0.5 * (x - 1.0), jnp.sum(x**2) - 0.25)


def variably_dimensioned(x):
    total = jnp.sum(jnp.arange(1, x.shape[0] + 1, dtype=x.dtype) * (x - 1.0))
    return jnp.concatenate([x - 1.0, jnp.stack([total, total**2])])


def brown_almost_linear(x):
    return jnp.append(x[:-1] + jnp.sum(x) - (x.shape[0] + 1.0), jnp.prod(x) - 1.0)


def discrete_integral_equation(x):
    h = 1.0 / (x.shape[0] + 1.0)
    t = np.arange(1, x.shape[0] + 1) * h
    kernel = np.minimum.outer(t, t) * (1.0 - np.maximum.outer(t, t))
    cubes = (x + jnp.asarray(t, x.dtype) + 1.0) ** 3
    return x + h / 2.0 * jnp.sum(jnp.asarray(kernel, x.dtype) * cubes[None, :], axis=1)


def broyden_banded(x):
    i = np.arange(x.shape[0])
    ahead = i[None, :] - i[:, None]
    near = jnp.asarray((ahead >= -5) & (ahead <= 1) & (ahead != 0), x.dtype)
    return x * (2.0 + 5.0 * x**2) + 1.0 - jnp.sum(near * (x * (1.0 + x))[None, :], axis=1)


def linear_rank_1(x):
    return jnp.arange(1, 101, dtype=x.dtype) * jnp.sum(jnp.arange(1, x.shape[0] + 1, dtype=x.dtype) * x) - 1.0


def chebyquad(x):
    n, y = x.shape[0], 2.0 * x - 1.0
    T = [jnp.ones_like(x), y]
    for _ in range(n - 1):
        T.append(2.0 * y * T[-1] - T[-2])
    return jnp.stack([jnp.mean(T[i]) + (0.0 if i % 2 else 1.0 / (i**2 - 1.0)) for i in range(1, n + 1)])


# Brown almost-linear: the paper's second value, f = 1 at (0, ..., 0, 11), is a saddle point's: along (t, ..., t,
# 11 - 10 t), f = (1 - t^9 (11 - 10 t))^2. Kowalik-Osborne: the second value is taken at infinity only.
# fmt: off
PROBLEMS = (
    Problem(1, "Rosenbrock", extended_rosenbrock, 2, (-1.2, 1.0), 24.2, (-215.6, -88.0), (1330.0, 480.0, 200.0), (0,)),
    Problem(
        3, "Powell badly scaled", powell_badly_scaled, 2, (0.0, 1.0), 1.135261717, (-20000.73556, -0.2705969906),
        (200000002.7, -19999.26424, 0.5412675571), (0,),
    ),
    Problem(5, "Beale", beale, 3, (1.0, 1.0), 14.203125, (0.0, 27.75), (0.0, 27.75, 68.5), (0,)),
    Problem(
        7, "Helical valley", helical_valley, 3, (-1.0, 0.0, 0.0), 2500.0, (0.0, -1591.549431, -1000.0),
        (200.0, -1591.549431, 506.6059182, 0.0, 318.3098862, 202.0), (0,),
    ),
    Problem(
        9, "Gaussian", gaussian, 15, (0.4, 1.0, 0.0), 3.888106991e-6, (0.007414284668, -0.0007441263922, 0.0),
        (7.089814947, -0.7108403896, 0.2132753422, 0.0, 0.0, 0.5657065978), (1.12793277e-8,),
    ),
    Problem(
        11, "Gulf research", gulf, 99, (5.0, 2.5, 0.15), 12.11070583, (2.087978357, 0.03457926197, -39.6766801),
        (-0.2249923805, 0.005949479856, 0.0008978396628, -3.032724849, 0.1347526082, 47.2341921), (0,),
    ),
    Problem(
        13, "Powell singular", powell_singular, 4, (3.0, -1.0, 0.0, 1.0), 215.0, (306.0, -144.0, -2.0, -310.0),
        (482.0, 20.0, 212.0, 0.0, -24.0, 58.0, -480.0, 0.0, -10.0, 490.0), (0,),
    ),
    Problem(
        15, "Kowalik-Osborne", kowalik_osborne, 11, (0.25, 0.39, 0.415, 0.39), 0.005313172272,
        (0.1335764533, -0.0007475349551, -0.009005561577, 0.01113553507),
        (5.647811873, 0.7979424709, 0.1730049519, -0.5777190342, -0.08672564506, 0.06376070504, -0.5584534524,
         -0.1356095334, 0.06069183015, 0.1013590089), (3.0750560385e-4, 1.02734e-3),
    ),
    Problem(
        17, "Osborne 1", osborne_1, 33, (0.5, 1.5, -1.0, 0.01, 0.02), 0.8790262935,
        (10.70995237, 3.064645176, 1.581064787, -411.6559667, 76.26173603),
        (66.0, 20.24150276, 11.01830177, 11.01830177, 7.716204649, 6.066478337, -2503.239149, -1013.495786,
         -330.6362904, 171709.1419, 492.7056501, 220.4241936, 47.08091339, -22146.16113, -1675.460438),
        (5.4648946975e-5,),
    ),
    Problem(
        19, "Osborne 2", osborne_2, 65, (1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5), 2.093419514,
        (1.630376986, 4.486186524, -0.9346409292, -1.184164015, -0.4129027257, -0.1005783864, 0.1575078221,
         0.1178320434, -2.818856693, 0.04249603754, -1.218405429),
        (121.1968462, 61.37717053, -89.71138531, -87.82119415, -20.11312842, 22.64405401, 108.9203194, 7.692453555,
         3.848993882, -2.420107981, 33.87635621, 74.80633712, 153.6342395), (4.0137736294e-2,),
    ),
    Problem(
        21, "Rosenbrock", extended_rosenbrock, 10, (-1.2, 1.0) * 5, 121.0, (-215.6, -88.0) * 5,
        (7650.0, 3368.753479, 2290.0, 880.0, 5910.0, 2240.0, 9530.0, 3600.0, 13150.0, 4960.0, 16770.0, 6320.0), (0,),
    ),
    Problem(
        23, "Penalty I", penalty_1, 5, (1.0, 2.0, 3.0, 4.0), 885.06264, (119.0, 238.00002, 357.00004, 476.00006),
        (127.00002, 16.0, 151.00002, 24.0, 48.0, 191.00002, 32.0, 64.0, 96.0, 247.00002), (2.2499775009e-5,),
    ),
    Problem(
        23, "Penalty I", penalty_1, 11, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0), 148032.56535,
        (1539.0, 3078.00002, 4617.00004, 6156.00006, 7695.00008, 9234.0001, 10773.00012, 12312.00014, 13851.00016,
         15390.00018),
        (18470.0002, 6530.838441, 4619.00002, 9238.00004, 13857.00006, 18476.00008, 23095.0001, 27714.00012,
         32333.00014, 36952.00016, 41571.00018, 46190.0002), (7.0876514671e-5,),
    ),
    Problem(
        25, "Variably dimensioned", variably_dimensioned, 12, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0),
        2198551.1625,
        (-228343.7, -456687.4, -685031.1, -913374.8, -1141718.5, -1370062.2, -1598405.9, -1826749.6, -2055093.3,
         -2283437.0),
        (6848785.0, 6848767.0, 6848767.0, 13697534.0, 20546301.0, 27395068.0, 34243835.0, 41092602.0, 47941369.0,
         54790136.0, 61638903.0, 68487670.0), (0,),
    ),
    Problem(
        27, "Brown almost-linear", brown_almost_linear, 10, (0.5,) * 10, 273.2480478,
        (-110.0039024,) * 9 + (-99.00390244,),
        (234.0000763, 218.0038838, 1191.578957, 1193.586761, 1195.594566, 1197.602371, 1199.610176, 1201.617981,
         1203.625786, 1205.633591, 1207.641396, 1079.6492), (0,),
    ),
    Problem(
        29, "Discrete integral equation", discrete_integral_equation, 10,
        tuple(j / 11 * (j / 11 - 1) for j in range(1, 11)), 0.06341684158,
        (-0.1011891515, -0.177606426, -0.2297486238, -0.2584606478, -0.2649213023, -0.2507433711, -0.2182081844,
         -0.1706603719, -0.1130729305, -0.05274509799),
        (21.30920675, 6.828456052, 3.513788927, 6.993616672, 10.44149902, 13.84326469, 17.15379906, 20.27671764,
         23.03669852, 25.14371732, 26.14999535, 25.40283326), (0,),
    ),
    Problem(
        31, "Broyden banded", broyden_banded, 10, (-1.0,) * 10, 360.0,
        (-264.0, -276.0, -276.0, -276.0, -276.0, -264.0, -252.0, -240.0, -228.0, -216.0),
        (10524.0, 3357.373974, 1926.0, 3356.0, 4802.0, 6288.0, 7790.0, 8728.0, 9574.0, 10326.0, 10984.0, 11196.0),
        (0,),
    ),
    Problem(
        33, "Linear rank 1", linear_rank_1, 100, (1.0,) * 5, 75977350.0,
        (10140400.0, 20280800.0, 30421200.0, 40561600.0, 50702000.0),
        (676700.0, 1353400.0, 2706800.0, 2030100.0, 4060200.0, 6090300.0, 2706800.0, 5413600.0, 8120400.0, 10827200.0,
         3383500.0, 6767000.0, 10150500.0, 13534000.0, 16917500.0), (100 * 99 / (2 * 201),),
    ),
    Problem(
        35, "Chebyquad", chebyquad, 10, tuple(j / 11 for j in range(1, 11)), 0.03376326546,
        (0.744619065, -0.424834733, 0.3221248265, -0.02469949512, -0.2126736056, 0.2126736056, 0.02469949512,
         -0.3221248265, 0.424834733, -0.744619065),
        (192.1493334, 94.36211821, -22.24412375, -1.339306198, 15.74757967, -23.20333205, -1.916780712, 25.52391008,
         -17.36318347, -14.20205132, 46.54050949, -73.14223561), (4.7727136964e-3, 6.5039548009e-3),
    ),
)
# fmt: on


@functools.cache
def any_of(problems):
    """fun(x, which): one function for all of them, so that they are compiled together; x may be longer than needed."""
    funs = [lambda x, problem=problem: problem.fun(x[: problem.n]) for problem in problems]
    return lambda x, which: jax.lax.switch(which, funs, x)
