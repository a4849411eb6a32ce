"""Rule evaluate_recovery_baseline: networks of the teachers' size from the same answers, measured as a recovery is."""

from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.recovery.baselines import baseline_networks
from weightspace.recovery.files import read_students
from weightspace.recovery.measure import measure_networks
from weightspace.recovery.metrics import METRICS
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import read_queries
from weightspace.recovery.settings import RecoveryBaselineConfig, RecoverySettings
from weightspace.recovery.teachers import read_teachers
from weightspace.store import choose_device, resumable
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, metrics, params, job = snakemake.input, snakemake.output.metrics, snakemake.params, job_of(snakemake)
    config, recovery = RecoveryBaselineConfig(**params.baseline), RecoverySettings(**params.recovery)
    queries, teachers, device = read_queries(inputs.queries), read_teachers(inputs.teachers), snakemake.resources.device
    expanded = read_students(inputs.students, choose_device(device))
    problem = problem_of(expanded.spec, queries, expanded.students.weights.device)
    source = Source(params.scenario, "recovery_baseline", snakemake.wildcards.recovery_baseline, params.seed)
    with resumable(job, metrics) as state:
        networks = baseline_networks(config, recovery, problem, expanded, queries.spec, state)
        write_metrics(metrics, measure_networks(source, networks, queries, teachers, recovery.outputs).rows, METRICS, job)
