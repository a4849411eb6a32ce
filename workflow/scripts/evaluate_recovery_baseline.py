"""Rule evaluate_recovery_baseline: networks of the teachers' size from the same answers, measured as a recovery is."""

import torch
from weightspace.config import RecoveryBaselineConfig, RecoveryConfig
from weightspace.metrics import Source, write_metrics
from weightspace.progress import rule_log
from weightspace.recovery.baselines import baseline_networks
from weightspace.recovery.job import unpack_students
from weightspace.recovery.measure import measure_networks
from weightspace.recovery.queries import unpack_queries
from weightspace.recovery.search import problem_of
from weightspace.recovery.teachers import unpack_teachers
from weightspace.store import load_tensors

with rule_log(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    config = RecoveryBaselineConfig(**params.baseline)
    recovery = RecoveryConfig(**params.recovery, seeds=[params.seed])
    queries, teachers = unpack_queries(*load_tensors(inputs.queries)), unpack_teachers(*load_tensors(inputs.teachers))
    students = unpack_students(*load_tensors(inputs.students))
    problem = problem_of(students[0], queries, torch.device("cpu"))
    networks = baseline_networks(config, recovery, problem, students, queries.spec)
    source = Source(params.scenario, "recovery_baseline", snakemake.wildcards.recovery_baseline, params.seed)
    write_metrics(snakemake.output.metrics, measure_networks(source, networks, queries, teachers, recovery.outputs).rows)
