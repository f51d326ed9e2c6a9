"""The public names, and what `import onesigma` must not load."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import onesigma

ROOT = Path(__file__).parents[1]

# DESIGN: names that tests and documents rely on.
PROMISED = {
    "gain", "activation_moments", "critical_point", "fan", "init", "initialize_", "measure", "check",
    "norm", "standardize", "inputs", "predict",
}  # fmt: skip

OPTIONAL = ("datasketches", "onnx", "onnxruntime", "onnxscript", "PIL", "polars", "duckdb", "dask", "ray", "pyspark")


def test_the_promised_names_are_there() -> None:
    assert set(onesigma.__all__) >= PROMISED
    assert all(hasattr(onesigma, name) for name in onesigma.__all__)
    assert {"insert_", "strip_biases_"} <= set(onesigma.norm.__all__)
    assert {"StandardScaler", "MinMaxScaler", "load"} <= set(onesigma.inputs.__all__)


@pytest.mark.parametrize("package", ["", ".inputs"])
def test_names_imported_when_asked_are_those_the_type_checker_sees(package: str) -> None:
    module = importlib.import_module(f"onesigma{package}")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    (seen,) = (node for node in tree.body if isinstance(node, ast.If))
    names = {alias.name for line in seen.body if isinstance(line, ast.ImportFrom) for alias in line.names}
    assert names == set(vars(module)["_places"]) | set(vars(module)["_rooms"])
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"module 'onesigma{package}' has no attribute 'Standardizer'"):
        _ = module.Standardizer


def test_a_function_keeps_its_name_when_the_room_of_that_name_is_imported() -> None:
    code = "import onesigma.measure.watcher, onesigma.inputs.standardize as f; print(onesigma.measure.__name__, f)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("measure <function standardize")


def test_the_first_use_of_a_name_draws_no_random_number() -> None:
    code = (
        "import random, onesigma; state = random.getstate(); [getattr(onesigma, name) for name in onesigma.__all__]; "
        "print(random.getstate() == state)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "True\n"


def test_a_check_of_tensors_loads_nothing_that_reads_tables() -> None:
    code = (
        "import sys, torch, onesigma; model = torch.nn.Linear(4, 3); "
        "onesigma.check(model, (torch.randn(8, 4), torch.randn(8, 3)), loss='mse'); "
        "print([name for name in ('pyarrow', 'pandas', 'sklearn') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def test_a_pass_over_a_table_loads_no_torch() -> None:
    code = (
        "import sys, onesigma; from onesigma.inputs import StandardScaler; "
        "onesigma.standardize({'a': [1.0, 2.0]}).transform([[1.5]]); StandardScaler().fit([[1.0], [2.0]]); "
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"


def test_import_loads_no_engine_and_no_optional_dependency() -> None:
    code = f"import sys, onesigma; print([name for name in {OPTIONAL!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)
    # The last line printed is how far the farthest pre-activation std is from 1.
    assert float(capsys.readouterr().out.split()[-1]) < 1e-3


def test_every_link_of_the_docs_leads_to_a_file_and_a_heading() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = []
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_file_is_longer_than_400_lines() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    long = [
        name
        for name in listed
        if name.startswith("src") and name.endswith(".py") and len((ROOT / name).read_text().splitlines()) > 400
    ]
    assert long == []
