"""Image sets by name, as data: where the hub has them, what is in them, how papers split and normalize them."""

import os
from typing import NamedTuple

HUB = "https://huggingface.co"  # HF_ENDPOINT names another, as it does for the hub's own tools


class HubFile(NamedTuple):
    """One file of a repository of the hub."""

    name: str  # of the image set
    repo: str
    revision: str  # the commit
    path: str  # in the repository
    sha256: str | None  # None: the one recorded at the first download

    @property
    def place(self) -> str:
        """What it is called wherever it is fetched from."""
        return f"{self.repo}/{self.revision}/{self.path}"

    @property
    def url(self) -> str:
        """Where it is fetched from."""
        return f"{os.environ.get('HF_ENDPOINT', HUB).rstrip('/')}/datasets/{self.repo}/resolve/{self.revision}/{self.path}"


class Constants(NamedTuple):
    """What normalizes each channel of x / 255; one number each where all channels have the same."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Published(NamedTuple):
    """One image set on the hub.

    A revision is a commit that public code pins. A hash stands here where several public projects state the same one; others
    are recorded at the first download.
    """

    repo: str
    revision: str
    train: dict[str, str | None]  # path of each file and its sha256
    test: dict[str, str | None]  # empty: test images are held out
    size: int
    channels: int
    labels: dict[str, int]  # columns of labels, and the number of classes of each; the first is the default
    split: tuple[int, int, int]  # images for training, validation and test
    normalization: str | None  # a name of NORMALIZATIONS
    by: str  # who splits and normalizes so

    @property
    def defaults(self) -> dict[str, object]:
        """Settings that a scenario may leave out."""
        train, val, test = self.split
        held_out = {} if self.test else {"test_share": test / sum(self.split)}
        return {"size": self.size, "channels": self.channels, "val_share": val / (train + val)} | held_out

    def files(self, name: str, split: str) -> list[HubFile]:
        """The files of the train or the test images of the set of this name."""
        return [HubFile(name, self.repo, self.revision, path, sha256) for path, sha256 in getattr(self, split).items()]


NORMALIZATIONS = {
    "mnist": Constants((0.1307,), (0.3081,)),
    "half": Constants((0.5,), (0.5,)),
    "imagenet": Constants((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

SANE, ONE_TENTH = "Schürholt et al. 2024", "a tenth of train held out here"
PUBLISHED = {
    "mnist": Published(
        "ylecun/mnist", "77f3279092a1c1579b2250db8eafed0ad422088c",
        {"mnist/train-00000-of-00001.parquet": "f2c01285a9f89399335b00ee4e8d499dc4e46db5e39c74903ce5618d895eb3bf"},
        {"mnist/test-00000-of-00001.parquet": "d49fcf556ce25b002b302e318ce4a11098bbfe5d4499c3f35d7c72297c52374b"},
        28, 1, {"label": 10}, (50_000, 10_000, 10_000), "mnist", SANE,
    ),
    "fashion_mnist": Published(
        "zalando-datasets/fashion_mnist", "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2",
        {"fashion_mnist/train-00000-of-00001.parquet": None},
        {"fashion_mnist/test-00000-of-00001.parquet": None},
        28, 1, {"label": 10}, (54_000, 6_000, 10_000), "half", f"Martinelli et al. 2024; {ONE_TENTH}",
    ),
    "svhn": Published(
        "ufldl-stanford/svhn", "f9e1717d73324ebbc1ece84267ccd80d0aca0690",
        {"cropped_digits/train-00000-of-00001.parquet": None},
        {"cropped_digits/test-00000-of-00001.parquet": None},
        32, 3, {"label": 10}, (60_000, 13_257, 26_032), "half", SANE,
    ),
    "cifar10": Published(
        "uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2",
        {"plain_text/train-00000-of-00001.parquet": "8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883"},
        {"plain_text/test-00000-of-00001.parquet": "841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de"},
        32, 3, {"label": 10}, (42_000, 8_000, 10_000), "half", SANE,
    ),
    "cifar100": Published(
        "uoft-cs/cifar100", "aadb3af77e9048adbea6b47c21a81e47dd092ae5",
        {"cifar100/train-00000-of-00001.parquet": "694865d6b990e234804f01268586c41e88bcbbb75e20858432c05ad4081aca23"},
        {"cifar100/test-00000-of-00001.parquet": "98776c529bb146a9c791229df74a5cf076be9b43d82dbbd334b6a7788d73dc68"},
        32, 3, {"fine_label": 100, "coarse_label": 20}, (40_000, 10_000, 10_000), None, SANE,
    ),
    "eurosat": Published(
        "timm/eurosat-rgb", "b4e28552cd5f3932b6abc37eb20d3e84901ad728",
        {f"data/{part}-00000-of-00001.parquet": None for part in ("train", "validation", "test")}, {},
        32, 3, {"label": 10}, (21_600, 1_350, 4_050), "imagenet", "Meynent et al. 2025",
    ),
    "stl10": Published(
        "tanganke/stl10", "49ae7f94508f7feae62baf836db284306eab0b0f",
        {"data/train-00000-of-00001.parquet": None},
        {"data/test-00000-of-00001.parquet": None},
        32, 3, {"label": 10}, (4_200, 800, 8_000), "half", SANE,
    ),
    "tiny_imagenet": Published(
        "zh-plus/tiny-imagenet", "5a77092c28e51558c5586e9c5eb71a7e17a5e43f",
        {"data/train-00000-of-00001-1359597a978bc4fa.parquet": None},
        {"data/valid-00000-of-00001-70d52db3c749a935.parquet": None},  # labels of its test images are secret
        64, 3, {"label": 200}, (90_000, 10_000, 10_000), "imagenet", f"{SANE}; {ONE_TENTH}",
    ),
}  # fmt: skip
