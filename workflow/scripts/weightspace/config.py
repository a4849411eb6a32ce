"""Settings: one strict model per section of a scenario; every default stands here and nowhere else."""

import json
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from weightspace.errors import InputError

CellName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
UNION_TAGS = ("str", "list[str]", "RemoteFile")  # what pydantic adds to the key where a setting may be of several types
Share = Annotated[float, Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Frozen and strict: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RemoteFile(Settings):
    """A file fetched once from `url` and kept only if its hash is the pinned one."""

    url: str = Field(description="http, https or file address", pattern=r"^[a-z]+://")
    sha256: str = Field(description="hex digest", pattern=r"^[0-9a-f]{64}$")


class ImagesConfig(Settings):
    """One image set."""

    source: Literal["bundled_digits", "parquet"] = Field(description="scikit-learn's digits, or Parquet files as on the HF hub")
    train: str | RemoteFile | None = Field(None, description="Parquet file below images_dir, or a remote file")
    test: str | RemoteFile | None = Field(None, description="the same for the test images")
    size: PositiveInt = Field(8, description="height and width in pixels; other sizes are resized")
    channels: Literal[1, 3] = Field(1, description="1 gray, 3 RGB")
    val_share: Share = Field(0.15, description="fraction of the training images held out for validation")
    test_share: Share = Field(0.2, description="fraction held out for test; bundled digits only")
    limit: PositiveInt | None = Field(None, description="at most so many images of each file, the first of a fixed shuffle")

    @model_validator(mode="after")
    def _files_match_source(self) -> "ImagesConfig":
        files = (self.train is not None, self.test is not None)
        if self.source == "parquet" and not all(files):
            raise ValueError("source parquet needs both train and test")
        if self.source == "bundled_digits" and any(files):
            raise ValueError("source bundled_digits takes neither train nor test")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.source == "bundled_digits" and (self.size, self.channels) != (8, 1):
            raise ValueError("source bundled_digits is 8 pixels wide with 1 channel")
        return self

    num_classes: PositiveInt = Field(10, description="labels run from 0 to num_classes - 1")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """channel, height, width"""
        return self.channels, self.size, self.size

    @property
    def local_files(self) -> dict[str, str]:
        """Keys of the files that must lie below images_dir, with their paths."""
        return {key: getattr(self, key) for key in ("train", "test") if isinstance(getattr(self, key), str)}


class ZooConfig(Settings):
    """One population: every combination of init, learning rate and weight decay, `num_seeds` times."""

    images: CellName = Field(description="cell of the section images")
    architecture: str | list[str] = Field(description="a name of nets.spec.ARCHITECTURES, or layers in the same notation")
    activation: Literal["relu", "tanh", "gelu", "silu", "sigmoid", "softplus"] = Field(
        "relu", description="of every hidden layer"
    )
    inits: list[Literal["kaiming_uniform", "kaiming_normal", "uniform", "normal"]] = Field(
        min_length=1, description="of weights; biases start at 0.01, as published"
    )
    shared_inits: PositiveInt | None = Field(None, description="init tensors per kind of init; null: one per model")
    learning_rates: list[PositiveFloat] = Field(min_length=1, description="constant over training")
    weight_decays: list[NonNegativeFloat] = Field(min_length=1, description="L2, added to the gradient")
    num_seeds: PositiveInt = Field(description="models per combination; a seed sets the init and the order of images")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="adam: L2-coupled weight decay; sgd: with momentum")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    batch_size: PositiveInt = Field(32, description="images per step and model")
    epochs: list[NonNegativeInt] = Field(min_length=1, description="epochs whose checkpoints are kept, the last one included")
    val_share: Share = Field(0.15, description="fraction of the models")
    test_share: Share = Field(0.25, description="fraction of the models")
    num_shards: PositiveInt = Field(1, description="jobs that share the models")
    stack_size: PositiveInt = Field(64, description="models trained as one tensor; halved when the GPU's memory ends")

    @model_validator(mode="after")
    def _epochs_increase(self) -> "ZooConfig":
        if any(later <= earlier for earlier, later in pairwise(self.epochs)):
            raise ValueError("epochs must increase")
        for key in ("inits", "learning_rates", "weight_decays"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"{key} names a value twice, its models would be equal")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.num_shards > self.num_models:
            raise ValueError(f"num_shards is {self.num_shards} for {self.num_models} models")
        return self

    @property
    def num_models(self) -> int:
        return len(self.inits) * len(self.learning_rates) * len(self.weight_decays) * self.num_seeds


class AutoencoderConfig(Settings):
    """One autoencoder over the checkpoints of a zoo, trained once per seed."""

    zoo: CellName = Field(description="cell of the section zoos")
    seeds: list[NonNegativeInt] = Field(
        min_length=1, description="one training each: initial weights, batches, permutations, queries"
    )
    epochs: list[NonNegativeInt] = Field(min_length=1, description="zoo epochs to learn from; the last one is evaluated")
    contrast_weight: NonNegativeFloat = Field(0.0, description="factor of NT-Xent between two permuted views")
    structure_weight: NonNegativeFloat = Field(0.0, description="factor of the masked squared error of weights")
    behavior_weight: NonNegativeFloat = Field(0.0, description="factor of the distance of outputs on the queries")
    behavior_distance: Literal["softmax_mse", "logit_mse", "distillation"] = Field(
        "softmax_mse", description="softmax_mse is the published one"
    )
    loss_scale: Literal["none", "first_batch"] = Field("none", description="first_batch: divide each loss by its first value")
    views: Literal["original", "original_permuted", "permuted_permuted"] = Field(
        "original_permuted",
        description="of a checkpoint, per step; permutations are fresh and function-preserving",
    )
    reconstruct: Literal["first", "both"] = Field(
        "first", description="views that structure and behavior are asked of; published: both"
    )
    standardize: bool = Field(True, description="weights per layer to mean 0 and deviation 1 of the train models")
    token_size: PositiveInt | None = Field(None, description="entries of a token; null: the longest unit")
    attention: Literal["tokens", "batch"] = Field(
        "tokens", description="batch: across models at equal token, as the published code ran"
    )
    width: PositiveInt = Field(64, description="numbers per token inside the transformer")
    depth: PositiveInt = Field(2, description="layers of the encoder, and of the decoder")
    heads: PositiveInt = Field(4, description="attention heads")
    feedforward: PositiveInt = Field(128, description="hidden units of a layer's MLP")
    latent: PositiveInt = Field(8, description="numbers per token in the bottleneck")
    projection: PositiveInt = Field(30, description="outputs of the head that the contrast compares")
    temperature: PositiveFloat = Field(0.1, description="of NT-Xent")
    steps: PositiveInt = Field(description="optimizer steps")
    batch_size: PositiveInt = Field(32, description="checkpoints per step")
    learning_rate: PositiveFloat = Field(1e-3, description="peak of the one-cycle schedule")
    schedule: Literal["one_cycle", "constant"] = Field("one_cycle", description="constant: as published")
    weight_decay: NonNegativeFloat = Field(3e-9, description="of AdamW, on matrices")
    clip_norm: PositiveFloat | None = Field(1.0, description="largest norm of a step's gradient; null: any, as published")
    num_queries: PositiveInt = Field(64, description="query images per step, shared by the batch")
    query_pool: PositiveInt = Field(1024, description="training images that queries are drawn from; their targets are cached")
    evaluation_batch: PositiveInt = Field(16, description="models encoded together when measuring; matters for attention: batch")

    @model_validator(mode="after")
    def _has_a_loss(self) -> "AutoencoderConfig":
        if self.contrast_weight + self.structure_weight + self.behavior_weight == 0:
            raise ValueError("contrast_weight, structure_weight and behavior_weight are all 0")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} is not a multiple of 2 and of heads {self.heads}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names a seed twice")
        if self.num_queries > self.query_pool:
            raise ValueError(f"num_queries {self.num_queries} is more than query_pool {self.query_pool}")
        if self.contrast_weight and self.views == "original":
            raise ValueError("contrast_weight needs two views")
        return self


class BaselineConfig(Settings):
    """What an autoencoder has to beat: networks rebuilt without one, measured in the same way."""

    zoo: CellName = Field(description="cell of the section zoos")
    epochs: list[NonNegativeInt] = Field(min_length=1, description="zoo epochs to learn from; the last one is evaluated")
    kind: Literal["init_mean", "pca", "noise"] = Field(
        description="mean of the train models of the same init; linear code; white noise on the original"
    )
    numbers: PositiveInt | None = Field(None, description="of pca: numbers per model, as many as the autoencoder's embedding")
    weights_r2: float | None = Field(None, gt=0, lt=1, description="of noise: the R2 that it leaves, as the autoencoder's")

    @model_validator(mode="after")
    def _settings_match_kind(self) -> "BaselineConfig":
        if (self.numbers is not None) != (self.kind == "pca") or (self.weights_r2 is not None) != (self.kind == "noise"):
            raise ValueError("kind pca needs numbers, kind noise needs weights_r2, and neither is for another kind")
        return self


class Scenario(Settings):
    """One experiment: all its cells."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    images: dict[CellName, ImagesConfig] = Field(min_length=1, description="image sets, by name")
    zoos: dict[CellName, ZooConfig] = Field(min_length=1, description="zoos, by name")
    autoencoders: dict[CellName, AutoencoderConfig] = Field({}, description="autoencoders, by name")
    baselines: dict[CellName, BaselineConfig] = Field({}, description="baselines of the autoencoders, by name")

    @model_validator(mode="after")
    def _references_exist(self) -> "Scenario":
        for name, zoo in self.zoos.items():
            if zoo.images not in self.images:
                raise ValueError(f"zoos.{name}.images: there is no image set {zoo.images!r}, only {', '.join(self.images)}")
        learners = {f"autoencoders.{name}": cell for name, cell in self.autoencoders.items()}
        learners |= {f"baselines.{name}": cell for name, cell in self.baselines.items()}
        for key, cell in learners.items():
            if cell.zoo not in self.zoos:
                raise ValueError(f"{key}.zoo: there is no zoo {cell.zoo!r}, only {', '.join(self.zoos)}")
            if missing := set(cell.epochs) - set(self.zoos[cell.zoo].epochs):
                raise ValueError(f"{key}.epochs: zoo {cell.zoo!r} keeps no epoch {min(missing)}")
            if any(later <= earlier for earlier, later in pairwise(cell.epochs)):
                raise ValueError(f"{key}.epochs: epochs must increase")
        return self


class Options(Settings):
    """What config.yaml and `--config` say: which scenario, and where this machine keeps things."""

    scenario: CellName = Field(description="a file of config/scenarios, without .yaml")
    images_dir: str = Field("resources", description="folder that Parquet image sets lie in")
    device: Literal["auto", "cpu", "cuda"] | None = Field(None, description="in place of the scenario's device")


def read_options(config: dict) -> Options:
    """Checked options; raises InputError naming each wrong key."""
    return checked(Options, config, "config")


def read_scenario(folder: Path, options: Options) -> Scenario:
    """Checked settings of the scenario; raises InputError naming the file and each wrong key or missing image file."""
    path = folder / f"{options.scenario}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise InputError(f"{path}: there is no scenario {options.scenario!r}, only {known}")
    scenario = checked(Scenario, read_yaml(path), str(path))
    for cell, images in scenario.images.items():
        for key, file in images.local_files.items():
            if not Path(options.images_dir, file).is_file():
                raise InputError(f"{path}: images.{cell}.{key}: no file {Path(options.images_dir, file)}; set images_dir")
    return scenario.model_copy(update={"device": options.device or scenario.device})


def read_yaml(path: Path) -> object:
    """Content of a YAML file; raises InputError naming the file if it does not read or says a key twice."""
    try:
        return yaml.load(path.read_bytes(), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, to which a key written twice is an error: one of two cells would be lost."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        written = [key.value for key, _ in node.value]
        for key in written:
            if written.count(key) > 1:
                raise yaml.YAMLError(f"key {key!r} is there twice, line {node.start_mark.line + 1}")
        return node


def checked(model: type[Settings], content: object, where: str) -> Settings:
    """`content` as settings; raises InputError naming `where` and each wrong key."""
    try:
        return model.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise InputError("; ".join(f"{where}: {sentence}" for sentence in _sentences(error))) from error


def _sentences(error: ValidationError) -> list[str]:
    """One sentence per wrong key; where a key may be of several types, one sentence for all of them."""
    messages: dict[str, list[str]] = {}
    for entry in error.errors():
        key = ".".join(str(part) for part in entry["loc"] if part not in UNION_TAGS)
        messages.setdefault(key, []).append(_message(entry))
    return [f"{key}: {', or '.join(texts)}" if key else ", or ".join(texts) for key, texts in messages.items()]


def _message(entry: dict) -> str:
    if entry["type"] == "extra_forbidden":
        return "there is no such setting"
    if entry["type"] in ("float_type", "int_type") and isinstance(entry["input"], str):
        return f"{entry['msg']}, not the text {entry['input']!r} (write 1e-3 as 0.001)"
    return entry["msg"].removeprefix("Value error, ")


def settings_hash(*settings: object) -> str:
    """Short sha256 of JSON-able settings: names the run that a state file or a weights file is of."""
    return sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
