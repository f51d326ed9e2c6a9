"""Every fault is repaired as far as no code has to change: mended, or left with words; nothing becomes worse."""

import pytest
import torch

from onesigma.model.state import fingerprint
from onesigma.workflows.repair import repair

from .registry import Fault
from .score import built
from .suite import ALL

# All pass; every tenth, from all families, keeps the suite quick.
SOME = ALL[::10]


@pytest.mark.parametrize("fault", SOME, ids=lambda fault: fault.name)
def test_a_finding_is_mended_or_left_with_words_and_no_repair_makes_it_worse(fault: Fault) -> None:
    model, batches, loss, *training = built(fault, seed=0, twin=False)
    assert isinstance(model, torch.nn.Module)
    before = fingerprint(model)
    report = repair(model, batches, loss=loss, **(training[0] if training else {})).report
    assert fingerprint(model) == before
    assert report.before is not None
    then, now = report.before.summary, report.summary
    assert (now.errors, now.warnings) <= (then.errors, then.warnings)
    left = {finding.code for finding in report.findings if finding.severity != "info"}
    told = {edit.action.removeprefix("mend "): edit.reason for edit in report.edits.refused}
    assert left <= set(told)
    assert all("by hand" in told[code] or "did not mend" in told[code] or "unsafe" in told[code] for code in left)
    # What changes the function, or the parameters there are, is never done unasked.
    assert not [edit for edit in report.edits.applied if edit.action.startswith(("insert", "remove"))]
