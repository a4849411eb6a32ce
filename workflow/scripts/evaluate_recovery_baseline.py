"""Rule evaluate_recovery_baseline: networks of the teachers' size from the same answers, measured as a recovery is."""

from weightspace.progress import rule_log
from weightspace.recovery.baselines import baseline_networks
from weightspace.recovery.files import read_students
from weightspace.recovery.measure import measure_networks
from weightspace.recovery.metrics import METRICS
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import read_queries
from weightspace.recovery.settings import RecoveryBaselineConfig, RecoveryConfig
from weightspace.recovery.teachers import read_teachers
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, output, params, device = snakemake.input, snakemake.output, snakemake.params, snakemake.resources.device
    config, recovery = RecoveryBaselineConfig(**params.baseline), RecoveryConfig(**params.recovery, seeds=[params.seed])
    queries, teachers = read_queries(inputs.queries), read_teachers(inputs.teachers)
    expanded = read_students(inputs.students, choose_device(device))
    key = settings_hash(params.baseline, params.recovery, params.version, *map(content_digest, (inputs.queries, inputs.students)))
    state = TrainingState(f"{output.metrics}.state", key)
    problem = problem_of(expanded.spec, queries, expanded.students.weights.device)
    networks = baseline_networks(config, recovery, problem, expanded, queries.spec, state)
    source = Source(params.scenario, "recovery_baseline", snakemake.wildcards.recovery_baseline, params.seed)
    write_metrics(output.metrics, measure_networks(source, networks, queries, teachers, recovery.outputs).rows, METRICS)
    state.remove()
