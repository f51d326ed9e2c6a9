"""Folded weights come back from a file, on the command line too."""

from pathlib import Path

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from onesigma._errors import ModelError
from onesigma.cli.fold import fold
from onesigma.norm import fold_
from onesigma.norm.fold import load_folded_, save_folded


def small_net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    parts = [
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 5, 3, padding=1),
    ]
    model = nn.Sequential(*parts)
    for norm in (model[1], model[3]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.2, 3)
        nn.init.normal_(norm.bias)
    return model.eval()


def test_a_fresh_model_takes_the_folded_weights(tmp_path: Path) -> None:
    model, x = small_net(0), torch.randn(2, 3, 8, 8)
    edits = fold_(model, x)
    assert len(edits.applied) == 2
    save_folded(model, edits, path=tmp_path / "folded.pt")
    other = load_folded_(small_net(1), tmp_path / "folded.pt")
    assert torch.equal(other(x), model(x))
    assert not other.training


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "folded.pt"
    torch.save({"weight": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match="wanted a file of save_folded"):
        load_folded_(small_net(0), file)
    file.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        load_folded_(small_net(0), file)
    model = small_net(0)
    save_folded(model, fold_(model, torch.randn(2, 3, 8, 8)), path=file)
    with pytest.raises(ModelError, match="another model"):
        load_folded_(nn.Sequential(nn.Linear(3, 4)), file)


MODEL = """
from torch import nn

def build(num_features):
    return nn.Sequential(nn.Linear(num_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
"""


def test_the_command_writes_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODEL)
    x = torch.randn(50, 3)
    Path("table.csv").write_text("\n".join(["a,b,c", *(",".join(map(str, row)) for row in x.tolist())]))
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    model(x)
    torch.save(model.state_dict(), "model.pt")
    app = typer.Typer()
    app.command()(fold)
    arguments = ["net.py:build", "--data", "table.csv", "--state", "model.pt", "-o", "folded.pt"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 norms folded, 0 stay" in result.output
    fresh = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)).eval()
    torch.testing.assert_close(load_folded_(fresh, "folded.pt")(x), model.eval()(x))
    arguments[4] = "missing.pt"
    with pytest.raises(ModelError, match=r"missing\.pt"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
