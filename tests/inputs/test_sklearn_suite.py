"""scikit-learn's own tests of its scalers, run against ours, and its checks of estimators."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
from sklearn.utils.estimator_checks import check_estimator

from onesigma.inputs import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from onesigma.inputs.scalers import ColumnScaler


@pytest.mark.slow
@pytest.mark.skipif(not sklearn.__version__.startswith("1.9."), reason="the tests of scikit-learn 1.9 are meant")
def test_scikit_learns_own_scaler_tests_pass_with_our_classes_in_place_of_its(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # its settings, not ours
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        tmp_path / "pytest.ini",
        "-p",
        "sklearn_swap",
        "-q",
        "-W",
        "ignore",
    ]
    command += ["-p", "no:cacheprovider", "--pyargs", "sklearn.preprocessing.tests.test_data"]
    command += ["-k", "scaler or scale or one_to_one or cold_start or fit_transform", "--durations=5"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTEST_ADDOPTS": ""}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|declined)", run.stdout)}
    with capsys.disabled():
        passed, failed, declined = (counts.get(word, 0) for word in ("passed", "failed", "declined"))
        sys.stdout.write(f"\nscikit-learn's own scaler tests: {passed} of {passed + failed + declined} pass, ")
        sys.stdout.write(f"{declined} are declined with a reason\n")
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert passed >= 285


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        MinMaxScaler(),
        MinMaxScaler(feature_range=(-1, 1), clip=True),
        MaxAbsScaler(),
        MaxAbsScaler(clip=True),
        RobustScaler(),
        RobustScaler(with_centering=False),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore")
def test_every_check_of_scikit_learn_for_estimators_passes(scaler: ColumnScaler) -> None:
    results = check_estimator(scaler, on_fail=None, on_skip=None)
    failed = [result["check_name"] for result in results if result["status"] == "failed"]
    assert failed == []
    assert sum(result["status"] == "passed" for result in results) >= 45
