"""Read a file of input statistics, whatever scaler wrote it."""

import os
from collections.abc import Mapping

from onesigma._errors import ScalerFileError
from onesigma.inputs.file import read_document
from onesigma.inputs.maxabs import MaxAbsScaler
from onesigma.inputs.minmax import MinMaxScaler
from onesigma.inputs.robust import RobustScaler
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.standard import StandardScaler

__all__ = ["load"]

_SCALERS: Mapping[str, type[ColumnScaler]] = {
    scaler.kind: scaler for scaler in (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)
}


def load(path: str | os.PathLike[str]) -> ColumnScaler:
    """The fitted scaler in a file that `save` wrote; nothing in the file is executed.

    Raises:
        ScalerFileError: The file is truncated, edited, newer than this library, hostile, or not one of statistics.

    Example:
        >>> import tempfile
        >>> from onesigma.inputs import StandardScaler, load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     StandardScaler().fit([[1.0], [3.0]]).save(f"{folder}/inputs.json")
        ...     load(f"{folder}/inputs.json").mean_
        array([2.])
    """
    document = read_document(path)
    scaler = _SCALERS.get(document["kind"])
    if scaler is None:
        raise ScalerFileError(
            f"{os.fspath(path)}: wanted statistics of the kind {', '.join(_SCALERS)}, got {document['kind'][:60]!r}; "
            "a newer onesigma may know it."
        )
    return scaler.from_document(document, path=path)
