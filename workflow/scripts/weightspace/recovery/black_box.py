"""Black boxes: a teacher that is a file of inputs and outputs, or an ONNX file that is only ever called."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float64
from safetensors import SafetensorError, safe_open
from torch import Tensor

from weightspace.errors import InputError
from weightspace.recovery.settings import OnnxTeacher, TableTeacher

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Shape = tuple[int, int, int]  # channel, height, width
Inputs, Outputs = Float64[Tensor, "query channel height width"], Float64[Tensor, "query output"]
LEAST_ROWS = 12  # of a table: a sixth each is held out for validation and for test
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
CALL = 4096  # inputs per call of an ONNX model


def read_table_teacher(
    config: TableTeacher,
) -> tuple[Inputs, Outputs]:
    """Inputs and outputs of a file: Parquet or, by the name's end, safetensors.

    safetensors: tensors `inputs` and `outputs`, first axis the row. Parquet: columns of lists of numbers `inputs` and
    `outputs`, or columns of numbers x0, x1, … and y0, y1, …. Raises InputError naming the file and what is wrong with it.
    """
    read = _read_safetensors if config.path.endswith(".safetensors") else _read_parquet
    x, y = read(config.path)
    if len(x) != len(y):
        raise InputError(f"{config.path}: has {len(x)} inputs and {len(y)} outputs")
    if len(x) < LEAST_ROWS:
        raise InputError(f"{config.path}: has {len(x)} rows, {LEAST_ROWS} are the least")
    for name, values in (("inputs", x), ("outputs", y)):
        if not values.isfinite().all():
            row = int((~values.isfinite().flatten(1).all(1)).nonzero()[0])
            raise InputError(f"{config.path}: {name} in row {row} are not finite")
    shape = tuple(config.input_shape or (x[0].numel(), 1, 1))
    if prod(_checked_shape(shape, config.path)) != x[0].numel():
        raise InputError(f"{config.path}: its inputs have {x[0].numel()} entries, input_shape {list(shape)} has {prod(shape)}")
    return x.reshape(len(x), *shape), y.flatten(1)


def _read_safetensors(path: str) -> tuple[Float64[Tensor, "input ..."], Float64[Tensor, "output ..."]]:
    try:
        with safe_open(path, framework="pt") as file:
            if missing := {"inputs", "outputs"} - set(file.keys()):
                raise InputError(f"{path}: has no tensor {min(missing)}")
            x, y = (file.get_tensor(name) for name in ("inputs", "outputs"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    if min(x.ndim, y.ndim) < 2:
        raise InputError(f"{path}: inputs and outputs must have a row's entries on a second axis")
    return x.double(), y.double()


def _read_parquet(path: str) -> tuple[Float64[Tensor, "row input"], Float64[Tensor, "row output"]]:
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{path}: not a whole Parquet file ({str(error).splitlines()[0]})") from error
    return _columns(table, "inputs", "x", path), _columns(table, "outputs", "y", path)


def _columns(table: pa.Table, name: str, letter: str, path: str) -> Float64[Tensor, "row entry"]:
    """The list column `name`, or the columns `letter` 0, `letter` 1, … side by side."""
    try:
        if name in table.column_names:
            return torch.tensor(table[name].to_pylist(), dtype=torch.float64).reshape(len(table), -1)
        count = sum(f"{letter}{place}" in table.column_names for place in range(table.num_columns))
        columns = [torch.tensor(table[f"{letter}{place}"].to_pylist(), dtype=torch.float64) for place in range(count)]
    except (TypeError, ValueError, KeyError) as error:  # text, null, lists of several lengths; a number left out
        raise InputError(f"{path}: {name} are not rows of equally many numbers") from error
    if not columns:
        raise InputError(f"{path}: has neither a column {name} nor {letter}0, {letter}1, …")
    return torch.stack(columns, dim=1)


def _checked_shape(shape: tuple[int, ...], path: str) -> Shape:
    if len(shape) != 3:
        raise InputError(f"{path}: input_shape {list(shape)} is not channel, height, width")
    return shape


def onnx_answer(config: OnnxTeacher) -> tuple[Callable[[Inputs], Outputs], Shape]:
    """A function from inputs float64 [query, channel, height, width] to outputs float64 [query, output], and their shape.

    The model has one input, of rank 2 or 4, of float32 or float64, with a dynamic first axis; it runs on one thread of the CPU.
    Raises InputError naming the file and what is wrong with it, or the package that is missing.
    """
    session = _open_session(config.path)
    from onnxruntime.capi import onnxruntime_pybind11_state as errors  # there, or no session would be

    output, (entry, *others) = _output_name(session, config), session.get_inputs()
    if others or entry.type not in DTYPES or len(entry.shape) not in (2, 4):
        raise InputError(f"{config.path}: needs one input of rank 2 or 4 of float32 or float64 numbers")
    if isinstance(entry.shape[0], int):
        raise InputError(f"{config.path}: takes {entry.shape[0]} inputs at a time, export it with a dynamic first axis")
    shape = _input_shape(entry.shape[1:], config)
    row_shape = shape if len(entry.shape) == 4 else (prod(shape),)

    def answer(x: Inputs) -> Outputs:
        rows = x.numpy().astype(DTYPES[entry.type]).reshape(len(x), *row_shape)
        try:
            parts = [session.run([output], {entry.name: rows[k : k + CALL]})[0] for k in range(0, len(rows), CALL)]
        except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
            raise InputError(f"{config.path}: does not answer inputs of shape {shape} ({str(error).splitlines()[0]})") from error
        return torch.from_numpy(np.concatenate(parts).astype(np.float64)).reshape(len(x), -1)

    return answer, shape


def _open_session(path: str) -> "InferenceSession":
    try:  # here, not above: all but one kind of teacher do without
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError as error:
        raise InputError(f"{path}: to call it, install onnxruntime") from error
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented) as error:
        raise InputError(f"{path}: not an ONNX model that runs here ({str(error).splitlines()[0]})") from error


def _output_name(session: "InferenceSession", config: OnnxTeacher) -> str:
    """Name of the output to read, a tensor of float32 or float64."""
    outputs = {output.name: output.type for output in session.get_outputs()}
    name = config.output or list(outputs)[-1]
    if name not in outputs:
        raise InputError(f"{config.path}: has no output {name!r}, only {', '.join(outputs)}")
    if outputs[name].startswith(("seq", "map")):
        raise InputError(f"{config.path}: output {name!r} is a list of dictionaries: export it with zipmap=False")
    if outputs[name] not in DTYPES:
        raise InputError(f"{config.path}: output {name!r} is {outputs[name]}, not a tensor of float32 or float64 numbers")
    return name


def _input_shape(declared: list[int | str | None], config: OnnxTeacher) -> Shape:
    """The setting, or what the model declares: channel, height, width, or the entries of a vector."""
    known = all(isinstance(size, int) for size in declared)
    if config.input_shape is None:
        if not known:
            raise InputError(f"{config.path}: does not say the shape of its input, set input_shape")
        return tuple(declared) if len(declared) == 3 else (declared[0], 1, 1)
    shape = _checked_shape(tuple(config.input_shape), config.path)
    if known and (tuple(declared) != shape if len(declared) == 3 else declared[0] != prod(shape)):
        raise InputError(f"{config.path}: takes inputs of shape {declared}, input_shape is {list(shape)}")
    return shape
