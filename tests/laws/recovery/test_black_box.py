"""Black boxes: a file's rows are what was written to it, a called model answers as its maker does, errors name the file."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from sklearn.neural_network import MLPClassifier
from weightspace.errors import InputError
from weightspace.recovery.black_box import onnx_answer, read_table_teacher
from weightspace.recovery.queries import Pools, make_queries
from weightspace.recovery.settings import OnnxTeacher, QueriesConfig, TableTeacher
from weightspace.recovery.teachers import Teachers

BOX = Teachers(None, torch.zeros(1, 0, dtype=torch.float64), [True])
IDENTITY = ("cell", 0)


# tables


def rows(num=20, inputs=4, outputs=2):
    return torch.randn(num, inputs, dtype=torch.float64), torch.randn(num, outputs, dtype=torch.float64)


def write_lists(path, x, y):
    pq.write_table(pa.table({"inputs": x.tolist(), "outputs": y.tolist()}), path)


def write_columns(path, x, y):
    named = {f"x{k}": x[:, k].numpy() for k in range(x.shape[1])} | {f"y{k}": y[:, k].numpy() for k in range(y.shape[1])}
    pq.write_table(pa.table(dict(sorted(named.items()))), path)  # x0, x1, x10, x11, x2: by number, not by place


def write_safetensors(path, x, y):
    save_file({"inputs": x, "outputs": y}, path)


WRITERS = {"lists.parquet": write_lists, "columns.parquet": write_columns, "table.safetensors": write_safetensors}


def read(path, **changes):
    return read_table_teacher(TableTeacher(kind="table", path=str(path), **changes))


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_reads_as_it_was_written(tmp_path, name):
    x, y = rows(inputs=12)
    WRITERS[name](tmp_path / name, x, y)
    found_x, found_y = read(tmp_path / name)
    torch.testing.assert_close(found_x, x.view(20, 12, 1, 1), rtol=0, atol=0)
    torch.testing.assert_close(found_y, y, rtol=0, atol=0)
    assert read(tmp_path / name, input_shape=[3, 2, 2])[0].shape == (20, 3, 2, 2)


def test_fixed_size_lists_of_float32_read_too(tmp_path):
    x, y = rows()
    pairs = {"inputs": x, "outputs": y}
    arrays = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(value.flatten().float().numpy()), value.shape[1])
        for name, value in pairs.items()
    }
    pq.write_table(pa.table(arrays), tmp_path / "a.parquet")
    torch.testing.assert_close(read(tmp_path / "a.parquet")[1], y.float().double(), rtol=0, atol=0)


X, Y = rows()
LISTS = {"inputs": X.tolist(), "outputs": Y.tolist()}
TABLES = {
    "no outputs": ({"inputs": X.tolist()}, "has neither a column outputs nor y0, y1, …"),
    "a number left out": ({"x0": X[:, 0].tolist(), "x2": X[:, 1].tolist(), "y0": Y[:, 0].tolist()}, "inputs are not rows"),
    "lists of several lengths": (LISTS | {"inputs": [[1.0] * (1 + k % 2) for k in range(20)]}, "inputs are not rows"),
    "a missing number": (LISTS | {"outputs": [[None, 1.0]] * 20}, "outputs are not rows of equally many numbers"),
    "text": (LISTS | {"outputs": ["a"] * 20}, "outputs are not rows of equally many numbers"),
    "not finite": (LISTS | {"inputs": [[1.0]] * 7 + [[float("inf")]] * 13}, "inputs in row 7 are not finite"),
    "few rows": ({name: values[:11] for name, values in LISTS.items()}, "has 11 rows, 12 are the least"),
}


@pytest.mark.parametrize(("columns", "told"), TABLES.values(), ids=TABLES)
def test_a_table_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path, columns, told):
    pq.write_table(pa.table(columns), tmp_path / "mine.parquet")
    with pytest.raises(InputError, match=rf"mine\.parquet: {told}"):
        read(tmp_path / "mine.parquet")


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"inputs": X}, "has no tensor outputs"),
        ({"inputs": X, "outputs": Y[:15]}, "has 20 inputs and 15 outputs"),
        ({"inputs": X, "outputs": Y[:, 0].contiguous()}, "must have a row's entries on a second axis"),
    ],
    ids=["no outputs", "fewer outputs", "no second axis"],
)
def test_tensors_that_cannot_be_used_are_named_with_what_is_wrong(tmp_path, tensors, told):
    save_file(tensors, tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match=rf"mine\.safetensors: .*{told}"):
        read(tmp_path / "mine.safetensors")


@pytest.mark.parametrize("name", ["mine.parquet", "mine.safetensors"])
def test_a_table_that_is_not_there_or_not_whole_is_named(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}: no such file"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=f"{name}: not a whole"):
        read(tmp_path / name)


@pytest.mark.parametrize(("shape", "told"), [([1, 2, 3], "have 4 entries"), ([2, 2], "is not channel, height, width")])
def test_a_shape_that_does_not_fit_is_named(tmp_path, shape, told):
    write_lists(tmp_path / "mine.parquet", X, Y)
    with pytest.raises(InputError, match=rf"mine\.parquet: .*{told}"):
        read(tmp_path / "mine.parquet", input_shape=shape)


def test_a_table_becomes_queries(tmp_path):
    write_lists(tmp_path / "mine.parquet", X, Y)
    teacher = TableTeacher(kind="table", path=str(tmp_path / "mine.parquet"))
    queries = make_queries(QueriesConfig(design="table"), "logits", teacher, BOX, Pools(), IDENTITY)
    assert queries.train_y.shape == (1, 14, 2)
    assert queries.spec is None


# called models


@pytest.fixture(scope="module")
def classifier():
    """A small network of scikit-learn on four inputs and three classes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(150, 4))
    return MLPClassifier((5,), max_iter=60, tol=0.1, random_state=0).fit(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.3))


@pytest.fixture
def exported(classifier, tmp_path):
    """Writes the classifier as ONNX and returns its settings."""
    skl2onnx = pytest.importorskip("skl2onnx")

    def export(kind="DoubleTensorType", rows=None, entries=4, zipmap=False, **settings):
        types = [("X", getattr(skl2onnx.common.data_types, kind)([rows, entries]))]
        model = skl2onnx.convert_sklearn(classifier, initial_types=types, options={"zipmap": zipmap})
        (tmp_path / "mine.onnx").write_bytes(model.SerializeToString())
        return OnnxTeacher(kind="onnx", path=str(tmp_path / "mine.onnx"), **settings)

    return export


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "error"), [("FloatTensorType", 1e-5), ("DoubleTensorType", 1e-7)])
def test_a_called_model_answers_as_scikit_learn_does(classifier, exported, kind, error):
    answer, shape = onnx_answer(exported(kind))
    assert shape == (4, 1, 1)
    x = torch.randn(9000, *shape, dtype=torch.float64)
    expected = torch.from_numpy(classifier.predict_proba(x.flatten(1).numpy()))
    torch.testing.assert_close(answer(x), expected, rtol=0, atol=error)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_queries_of_a_called_model_hold_its_logits_up_to_a_constant_per_row(classifier, exported):
    config = QueriesConfig(design="gaussian", num=50, held_out=10)
    queries = make_queries(config, "probabilities", exported(), BOX, Pools(), IDENTITY)
    for split in ("train", "test", "shifted"):
        x = getattr(queries, f"{split}_x")[0].flatten(1).double().numpy()
        hidden = np.maximum(x @ classifier.coefs_[0] + classifier.intercepts_[0], 0)
        logits = torch.from_numpy(hidden @ classifier.coefs_[1] + classifier.intercepts_[1])
        expected = logits - logits.mean(1, keepdim=True)
        torch.testing.assert_close(getattr(queries, f"{split}_y")[0], expected, rtol=0, atol=2e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "FloatTensorType", "zipmap": True}, "export it with zipmap=False"),
        ({"output": "logits"}, "has no output 'logits', only label, probabilities"),
        ({"output": "label"}, "output 'label' is tensor"),
        ({"rows": 1}, "takes 1 inputs at a time, export it with a dynamic first axis"),
        ({"kind": "Int64TensorType"}, "needs one input of rank 2 or 4 of float32 or float64 numbers"),
        ({"input_shape": [1, 1, 5]}, r"takes inputs of shape \[4\], input_shape is \[1, 1, 5\]"),
    ],
    ids=str,
)
def test_a_model_that_cannot_be_called_so_is_named_with_what_to_do(exported, changes, told):
    with pytest.raises(InputError, match=rf"mine\.onnx: .*{told}"):
        onnx_answer(exported(**changes))


@pytest.mark.filterwarnings("ignore")
def test_a_model_is_read_in_the_shape_that_is_set(exported):
    answer, shape = onnx_answer(exported(input_shape=[1, 2, 2]))
    assert shape == (1, 2, 2)
    x = torch.randn(3, *shape, dtype=torch.float64)
    torch.testing.assert_close(answer(x), onnx_answer(exported())[0](x.view(3, 4, 1, 1)), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_inputs_that_the_model_refuses_are_named_with_their_shape(exported):
    answer, shape = onnx_answer(exported(entries=None, input_shape=[5, 1, 1]))
    with pytest.raises(InputError, match=r"mine\.onnx: does not answer inputs of shape \(5, 1, 1\)"):
        answer(torch.zeros(3, *shape, dtype=torch.float64))


def test_a_model_file_that_is_not_there_or_not_whole_is_named(tmp_path):
    config = OnnxTeacher(kind="onnx", path=str(tmp_path / "mine.onnx"))
    with pytest.raises(InputError, match=r"mine\.onnx: no such file"):
        onnx_answer(config)
    (tmp_path / "mine.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"mine\.onnx: not an ONNX model that runs here"):
        onnx_answer(config)


def test_without_onnxruntime_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"mine\.onnx: to call it, install onnxruntime"):
        onnx_answer(OnnxTeacher(kind="onnx", path=str(tmp_path / "mine.onnx")))
