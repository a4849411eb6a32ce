"""Settings: one strict model per section of a scenario; every default stands here and nowhere else."""

from weightspace.config.autoencoder import AutoencoderConfig, BaselineConfig
from weightspace.config.predictor import (
    DistillationConfig,
    OriginalsConfig,
    PredictorConfig,
    PredictorControlConfig,
    QuantizationConfig,
)
from weightspace.config.recovery import (
    ClusterConfig,
    OnnxTeacher,
    QueriesConfig,
    RecoveryBaselineConfig,
    RecoveryConfig,
    StudentsConfig,
    SyntheticTeachers,
    TableTeacher,
    TeacherConfig,
    TrainedTeachers,
    ZooTeachers,
)
from weightspace.config.scenario import Options, Scenario, read_options, read_scenario
from weightspace.config.zoo import ZooConfig
from weightspace.images.settings import ImagesConfig, RemoteFile
from weightspace.settings import CellName, Settings, checked, read_yaml, settings_hash

__all__ = [
    "AutoencoderConfig",
    "BaselineConfig",
    "CellName",
    "ClusterConfig",
    "DistillationConfig",
    "ImagesConfig",
    "OnnxTeacher",
    "Options",
    "OriginalsConfig",
    "PredictorConfig",
    "PredictorControlConfig",
    "QuantizationConfig",
    "QueriesConfig",
    "RecoveryBaselineConfig",
    "RecoveryConfig",
    "RemoteFile",
    "Scenario",
    "Settings",
    "StudentsConfig",
    "SyntheticTeachers",
    "TableTeacher",
    "TeacherConfig",
    "TrainedTeachers",
    "ZooConfig",
    "ZooTeachers",
    "checked",
    "read_options",
    "read_scenario",
    "read_yaml",
    "settings_hash",
]
