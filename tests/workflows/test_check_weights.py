"""Weights that lie on a disk, judged without a model."""

import json
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import onesigma
from onesigma._errors import BatchError, ModelError, SourceError
from onesigma.cli import main
from onesigma.report.report import Report
from onesigma.workflows.check import check_weights


def trained() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
        for _ in range(40):
            model(torch.randn(16, 3, 8, 8))
        return model


def found(model: nn.Module) -> list[tuple[str, str, str]]:
    return [(each.code, each.severity, each.layer) for each in onesigma.check(model.state_dict()).findings]


def test_healthy_weights_are_clean() -> None:
    assert found(trained()) == []


def _nan(model: nn.Sequential) -> None:
    model[0].weight[2, 1] = math.nan


def _infinite(model: nn.Sequential) -> None:
    model[4].bias[0] = math.inf


def _alike(model: nn.Sequential) -> None:
    model[4].weight[3] = model[4].weight[1]


def _constant(model: nn.Sequential) -> None:
    model[4].weight[2] = 0.01


def _zero(model: nn.Sequential) -> None:
    model[4].weight.zero_()


def _fresh(model: nn.Sequential) -> None:
    model[1].reset_running_stats()


def _negative(model: nn.Sequential) -> None:
    model[1].running_var[3] = -0.1


def _huge(model: nn.Sequential) -> None:
    model[1].running_mean[3] = 1e9


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_nan, ("NUM901", "error", "0")),
        (_infinite, ("NUM901", "error", "4")),
        (_alike, ("INI204", "warning", "4")),
        (_constant, ("INI204", "warning", "4")),
        (_zero, ("INI204", "warning", "4")),
        (_fresh, ("NRM602", "warning", "1")),
        (_negative, ("NRM602", "error", "1")),
        (_huge, ("NRM602", "warning", "1")),
    ],
)
def test_what_is_wrong_is_found_at_its_layer(
    spoil: Callable[[nn.Sequential], None], expected: tuple[str, str, str]
) -> None:
    model = trained()
    with torch.no_grad():
        spoil(model)
    assert found(model) == [expected]


def test_pruned_rows_and_few_batches_are_no_warning() -> None:
    model = trained()
    with torch.no_grad():
        model[4].weight[:3] = 0
        model[1].num_batches_tracked.fill_(5)
    assert found(model) == [("NRM602", "info", "1")]


def test_a_file_is_judged_like_the_state_in_it_and_in_every_format(tmp_path: Path) -> None:
    model = trained()
    with torch.no_grad():
        _nan(model)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    report = check_weights(tmp_path / "weights.pt")
    assert report.findings == onesigma.check(model.state_dict()).findings
    assert Report.from_json(report.to_json()) == report
    for form in (report.to_text(), report.to_html(), report.to_sarif(), report.to_github(), report.to_junit()):
        assert "NUM901" in form


def test_the_shards_of_an_index_are_judged_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = trained()
    with torch.no_grad():
        _nan(model)
    state = model.state_dict()
    places = {name: f"model-{1 + (not name.startswith('0'))}-of-2.safetensors" for name in state}
    for shard in sorted(set(places.values())):
        save_file({name: tensor for name, tensor in state.items() if places[name] == shard}, tmp_path / shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert check_weights(index).findings == onesigma.check(state).findings
    with pytest.raises(SystemExit) as left:
        main(["check", str(index)])
    assert left.value.code == 1
    assert "NUM901" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ('{"weight_map": {"w": "absent.safetensors"}}', "absent.safetensors: there is no such file"),
        ('{"weight_map": {"w": "../here.safetensors"}}', "wanted a file of weights beside the index"),
        ('{"weight_map": {"w": "/etc/passwd"}}', "wanted a file of weights beside the index"),
        ('{"weight_map": {"w": "a.safetensors.index.json"}}', "wanted a file of weights beside the index"),
        ('{"weight_map": {"lost": "here.safetensors"}}', "here.safetensors should hold 'lost', and does not"),
        ('{"weight_map": ["w"]}', "wanted the index of a model in several files"),
        ("[]", "wanted the index of a model in several files"),
        ("{", "wanted the index of a model in several files"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(tmp_path: Path, index: str, said: str) -> None:
    save_file({"w": torch.randn(3, 3)}, tmp_path / "here.safetensors")
    path = tmp_path / "a.safetensors.index.json"
    path.write_text(index)
    with pytest.raises(SourceError, match=re.escape(said)):
        check_weights(path)


def test_every_model_of_a_file_is_judged_under_its_key() -> None:
    good, bad = trained(), trained()
    with torch.no_grad():
        _nan(bad)
    found = onesigma.check({"generator": good.state_dict(), "critic": bad.state_dict()}).findings
    assert [(finding.code, finding.layer) for finding in found] == [("NUM901", "critic.0")]
    found = onesigma.check({"a": {"state_dict": good.state_dict()}, "b": {"state_dict": bad.state_dict()}}).findings
    assert [finding.layer for finding in found] == ["b.state_dict.0"]


def test_an_optimizers_state_is_no_weights() -> None:
    model = trained()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(8, 3, 8, 8)).sum().backward()
    optimizer.step()
    with pytest.raises(ModelError, match="an optimizer's state, and no tensor by name"):
        onesigma.check(optimizer.state_dict())
    both = {"net_g": model.state_dict(), "optim": optimizer.state_dict()}
    assert len(onesigma.check(both).trace.parameters) == len(onesigma.check(model.state_dict()).trace.parameters)


def test_integers_alone_cannot_be_judged() -> None:
    quantized = {"q.weight": torch.ones(4, 4, dtype=torch.int8), "q.zero": torch.ones(1, dtype=torch.int64)}
    with pytest.raises(ModelError, match=r"can be judged \(1 of int8, 1 of int64\)"):
        onesigma.check(quantized)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04 and no more", "damaged"),
        (pickle.dumps({"a": print}), "holds more than tensors"),
        (pickle.dumps([1, 2]), "damaged|wanted a state_dict|holds more than tensors"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_and_nothing_in_it_runs(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(SourceError, match=said):
        check_weights(tmp_path / "weights.pt")


def test_a_model_needs_batches() -> None:
    with pytest.raises(BatchError, match="measured on batches"):
        onesigma.check(trained())


def test_the_command_looks_at_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = trained()
    torch.save(model.state_dict(), tmp_path / "good.pt")
    with torch.no_grad():
        _nan(model)
    torch.save(model.state_dict(), tmp_path / "bad.pt")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, code in (("good.pt", 0), ("bad.pt", 1), ("text.safetensors", 2)):
        with pytest.raises(SystemExit) as left:
            main(["check", str(tmp_path / name)])
        assert left.value.code == code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("limits", "severities"),
    [
        ({}, ["warning", "warning"]),
        ({"INI204": 2.0, "NRM602": 1e12}, []),
        ({"INI204": {"error": 0.1}, "NRM602": {"error": 1.0}}, ["error", "error"]),
        ({("INI204", "head*"): 2.0, ("NRM602", "norm"): 1e12}, ["warning"]),
    ],
)
def test_limits_hold_for_bare_weights(limits: dict[Any, Any], severities: list[str]) -> None:
    state = {
        "body.weight": torch.ones(4, 3),
        "norm.running_mean": torch.zeros(4),
        "norm.running_var": torch.ones(4),
        "norm.num_batches_tracked": torch.tensor(0),
    }
    report = onesigma.check(state, select=["INI204", "NRM602"], limits=limits)
    assert [finding.severity for finding in report.findings] == severities
