"""Ten thousand logistic regressions in one call: standard errors by the bootstrap, beside those of the theory.

The scores of two exams and who was admitted (openclassroom_data.py). A resample is a vector of weights: how often each
student was drawn; X and y are shared by all fits. Of fewer students, some resamples separate the admitted from the
others: no estimate exists, and the status says so. They are counted and left out.

python examples/bootstrap.py
"""

import jax
import numpy as np
import openclassroom_data as data

import jaxnewton as jn

RESAMPLES = 10_000


def bootstrap(X, y, present):
    """Print what the theory says beside what the resamples do; return the share that has an estimate."""
    counts = np.random.default_rng(0).multinomial(present.sum(), present / present.sum(), size=RESAMPLES)
    fit = jn.regression.logistic(X, y, weights=present)
    resampled = jn.regression.logistic(X, y, weights=counts)

    numbers = zip(*np.unique(resampled.status, return_counts=True), strict=True)
    statuses = ", ".join(f"{jn.Status(status).name} {number}" for status, number in numbers)
    print(f"{fit.rows} students, {RESAMPLES} fits: {statuses}; trips: mean {resampled.nit.mean():.1f}")
    print(f"{'':8} {'estimate':>9} {'standard error':>15} {'by bootstrap':>13} {'95 % of resamples':>20}")
    estimated = np.asarray(resampled.success)
    for j, name in enumerate(("exam 1", "exam 2")):
        drawn = np.asarray(resampled.params)[estimated, j]
        low, high = np.quantile(drawn, [0.025, 0.975])
        errors = f"{fit.stderr[j]:15.4f} {drawn.std(ddof=1):13.4f}"
        print(f"{name:8} {fit.params[j]:9.4f} {errors}     [{low:.4f}, {high:.4f}]")
    print()
    return estimated.mean()


def main():
    jax.config.update("jax_enable_x64", True)
    X, y = np.column_stack([data.SCORE_1, data.SCORE_2]), np.array(data.ADMITTED)
    everyone, every_second = np.ones(len(y)), np.arange(len(y)) % 2 == 0
    assert bootstrap(X, y, everyone) == 1
    assert 0.99 < bootstrap(X, y, every_second) < 1


if __name__ == "__main__":
    main()
