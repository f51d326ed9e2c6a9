"""A pytest plugin: scikit-learn's own tests meet our classes under its names. Not collected; see test_sklearn_suite."""

from fnmatch import fnmatch

import pytest
from sklearn import preprocessing
from sklearn.preprocessing import _data

from onesigma.inputs import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

DECLINED = {
    "test_standard_scaler_near_constant_features[*-float64-*": (
        "wants a column such as 1 ± 1e-15 to count as constant: a rounded variance cannot tell, an exact one can"
    ),
    "test_standard_scaler_callback_support[*": "an experiment of scikit-learn 1.9; we support 1.6 as well",
    "test_robust_scaler_unit_variance": "wants the median of 10^6 values within 0.04 % of the ranks; a sketch: 0.14 %",
}
"""What we do not promise, by the name of the test, and why."""

_NUM_DECLINED = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Swap the classes before anything is collected, and not when this file is only imported."""
    for scaler in (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler):
        setattr(preprocessing, scaler.__name__, scaler)
        setattr(_data, scaler.__name__, scaler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    declined = [item for item in items if any(fnmatch(item.name, _literal(pattern)) for pattern in DECLINED)]
    config.stash[_NUM_DECLINED] = len(declined)
    items[:] = [item for item in items if item not in declined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"{config.stash[_NUM_DECLINED]} declined")


def _literal(pattern: str) -> str:
    return pattern.replace("[", "[[]", 1)
