"""Live agreement with statsmodels on the data sets that it ships.

Every set is cut to three columns and filled up with rows of no weight, so that the fits of one family share a program.
Where statsmodels differs by convention:
- its GLM refers to the normal distribution also where a dispersion is estimated, unless told ``use_t``; we, as its OLS
  and as R, to Student's t there;
- its ``df_model`` does not count the constant, and ``bic`` is by default of the deviance: ``bic_llf`` is ours.
"""

import numpy as np
import pytest

from jaxnewton import regression

sm = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")

ROWS = 1024
ALPHA = 0.4


def table(name, columns, step=1):
    """The observed and three columns of a data set, or every ``step``-th row of them."""
    data = getattr(sm.datasets, name).load().data.iloc[::step]
    return data, data[columns.split()].to_numpy(float)


SETS = {  # name: family, link, what is observed, its columns, step
    "spector": ("binomial", "logit", "GRADE", "GPA TUCE PSI", 1),
    "fair": ("binomial", "probit", "affairs", "rate_marriage age yrs_married", 7),
    "star98": ("binomial", "logit", "NABOVE", "LOWINC PERASIAN PERBLACK", 1),
    "randhie": ("poisson", "log", "mdvis", "lncoins idp physlm", 20),
    "cpunish": ("poisson", "log", "EXECUTIONS", "INCOME PERPOVERTY PERBLACK", 1),
    "committee": ("negative-binomial", "log", "BILLS104", "SIZE SUBS STAFF", 1),
    "scotland": ("gamma", "inverse", "YES", "COUTAX UNEMPF MOR", 1),
    "ccard": ("inverse-gaussian", "log", "AVGEXP", "AGE INCOME OWNRENT", 1),
    "copper": ("gaussian", "identity", "WORLDCONSUMPTION", "COPPERPRICE INCOMEINDEX ALUMPRICE", 1),
    "longley": ("ols", "", "TOTEMP", "GNP UNEMP ARMED", 1),
    "stackloss": ("ols", "", "STACKLOSS", "AIRFLOW WATERTEMP ACIDCONC", 1),
    "statecrime": ("wls", "", "murder", "urban poverty hs_grad", 1),
}
OURS = {"negative-binomial": regression.NegativeBinomial(ALPHA)}
THEIRS = {
    "binomial": sm.families.Binomial,
    "poisson": sm.families.Poisson,
    "gamma": sm.families.Gamma,
    "gaussian": sm.families.Gaussian,
    "inverse-gaussian": sm.families.InverseGaussian,
    "negative-binomial": lambda link: sm.families.NegativeBinomial(link, alpha=ALPHA),
}
LINKS = {
    "logit": sm.families.links.Logit(),
    "probit": sm.families.links.Probit(),
    "log": sm.families.links.Log(),
    "inverse": sm.families.links.InversePower(),
    "identity": sm.families.links.Identity(),
}


def filled(X, y, weights):
    """With rows of no weight: the first, again and again."""
    more = ROWS - len(y)
    return (
        np.vstack([X, np.tile(X[:1], (more, 1))]),
        np.append(y, np.full(more, y[0])),
        np.append(weights, np.zeros(more)),
    )


@pytest.mark.filterwarnings("ignore:The InversePower link function does not respect the domain")
@pytest.mark.parametrize("name", SETS)
def test_agrees_with_statsmodels(name):
    family, link, observed, columns, step = SETS[name]
    data, X = table(name, columns, step)
    y, weights = data[observed].to_numpy(float), np.ones(len(X))
    D = sm.add_constant(X, has_constant="add")
    if name == "fair":
        y = np.sign(y)
    endog = y
    if name == "star98":
        lost = data["NBELOW"].to_numpy(float)
        endog, weights = np.column_stack([y, lost]), y + lost
        y = y / weights
    if name == "statecrime":
        weights = 1 / (1 + data["single"].to_numpy(float))
    filled_X, filled_y, filled_weights = filled(X, y, weights)
    if family in ("ols", "wls"):
        theirs = sm.WLS(y, D, weights).fit() if family == "wls" else sm.OLS(y, D).fit()
        ours = regression.linear(filled_X, filled_y, weights=filled_weights)
        deviance, bic = theirs.ssr, theirs.bic
    else:
        theirs = sm.GLM(endog, D, THEIRS[family](LINKS[link])).fit(
            tol=1e-13, maxiter=200, use_t=family in ("gamma", "gaussian", "inverse-gaussian")
        )
        chosen = OURS.get(family, family)
        ours = regression.glm(filled_X, filled_y, family=chosen, link=link, weights=filled_weights)
        deviance, bic = theirs.deviance, theirs.bic_llf
    assert ours.success
    theta = np.array([ours.intercept, *ours.params])
    np.testing.assert_allclose((theta - theirs.params) / theirs.bse, 0, atol=1e-6)
    for got, want, rtol in (
        ([ours.intercept_stderr, *ours.stderr], theirs.bse, 1e-6),
        ([ours.intercept_pvalue, *ours.pvalues], theirs.pvalues, 1e-5),
        (np.transpose(ours.conf_int(0.9)), theirs.conf_int(0.1)[1:], 1e-5),
        (ours.joint_covariance, theirs.cov_params(), 1e-5),
        (ours.loglik, theirs.llf, 1e-9),
        (ours.deviance, deviance, 1e-8),
        (ours.dispersion, theirs.scale, 1e-8),
        (ours.aic, theirs.aic, 1e-9),
        (ours.bic, bic, 1e-9),
        (ours.predict(X), theirs.predict(D), 1e-6),
        (ours.df_residual, theirs.df_resid, 0),
    ):
        np.testing.assert_allclose(got, want, rtol=rtol)


def test_multinomial_logit():
    data = sm.datasets.anes96.load()
    X, y = data.exog[["selfLR", "age", "educ"]].to_numpy(float), data.endog.to_numpy(int)
    theirs = sm.MNLogit(y, sm.add_constant(X)).fit(disp=0, tol=1e-12, maxiter=100, method="newton")
    X_, y_, weights = filled(X, y, np.ones(len(y)))
    ours = regression.softmax(X_, y_, weights=weights)
    assert ours.success
    for got, want in (
        (np.vstack([ours.intercept[None], ours.params]), theirs.params),
        (np.vstack([ours.intercept_stderr[None], ours.stderr]), theirs.bse),
        (np.vstack([ours.intercept_pvalue[None], ours.pvalues]), theirs.pvalues),
        (ours.joint_covariance, theirs.cov_params()),
        ([ours.loglik, ours.aic, ours.bic], [theirs.llf, theirs.aic, theirs.bic]),
        (ours.predict(X), theirs.predict()),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6)
