"""Reading the columns of a MATLAB file: names and scores of published databases."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from ...errors import DatasetError

Column = list[str] | list[float]


def read_matlab(path: Path) -> dict[str, Column]:
    """The vectors of a MATLAB file, by variable name: numbers, or the strings of a cell array.

    Files of version 7.3 are HDF5 and are read by h5py, older ones by scipy. Matrices and structures
    are left out.

    Raises:
        DatasetError: no such file, or not a MATLAB file.
    """
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                columns = {name: _hdf5_column(file, file[name]) for name in file}
        else:
            variables = scipy.io.loadmat(str(path))
            columns = {k: _column(v) for k, v in variables.items() if isinstance(v, np.ndarray)}
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, MatReadError) as error:
        raise DatasetError(f"{path}: not a MATLAB file: {error}") from error
    return {name: column for name, column in columns.items() if column is not None}


def _column(values: Any) -> Column | None:
    """A vector as scipy reads it: a cell array is an object array of arrays of one string."""
    if values.ndim != 2 or min(values.shape) > 1:
        return None
    if values.dtype == object:
        cells = [np.ravel(cell) for cell in values.ravel()]
        if all(cell.dtype.kind == "U" and len(cell) == 1 for cell in cells):
            return [str(cell[0]) for cell in cells]
        return None
    return [float(x) for x in values.ravel()] if values.dtype.kind in "uif" else None


def _hdf5_column(file: h5py.File, dataset: Any) -> Column | None:
    """A vector as MATLAB 7.3 writes it: a cell array holds references to arrays of UTF-16 units."""
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 2 or min(dataset.shape) > 1:
        return None
    values = dataset[()].ravel()
    if h5py.check_ref_dtype(dataset.dtype) is h5py.Reference:
        cells = [file[reference][()] for reference in values]
        if all(cell.dtype.kind == "u" and cell.dtype.itemsize == 2 for cell in cells):
            return [cell.ravel().tobytes().decode("utf-16-le") for cell in cells]
        return None
    return [float(x) for x in values] if values.dtype.kind in "uif" else None
