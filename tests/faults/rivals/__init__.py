"""Rule sets of other tools, written anew from the limits that they publish, reading the same traces as ours.

Each is a function from a trace to the codes of ours that its alarms correspond to; every alarm counts as an error, for
none of these tools has a milder word. What a rule needs that one pass does not show (losses over epochs, validation
accuracy) is left out, and said so.
"""

from collections.abc import Callable, Iterator, Mapping

from onesigma.model.trace import Trace

from .autotrainer import autotrainer
from .deepchecker import deepchecker
from .deepdiagnosis import deepdiagnosis
from .sagemaker import sagemaker
from .umlaut import umlaut

__all__ = ["RIVALS"]

RIVALS: Mapping[str, Callable[[Trace], Iterator[str]]] = {
    "SageMaker Debugger": sagemaker,
    "AutoTrainer": autotrainer,
    "DeepDiagnosis": deepdiagnosis,
    "TheDeepChecker": deepchecker,
    "UMLAUT": umlaut,
}
