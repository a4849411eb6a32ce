"""Rule recover_networks: cluster and collapse the students of each teacher, finish; the teachers' weights are not read."""

from weightspace.progress import rule_log
from weightspace.recovery.files import read_students, write_networks
from weightspace.recovery.masks import read_mask
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import read_queries
from weightspace.recovery.recover_cell import merges_table, recover_networks
from weightspace.recovery.settings import RecoveryConfig
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, content_digest
from weightspace.table import Source, write_table

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    source = Source(params.scenario, "recovery", wildcards.recovery, int(wildcards.seed))
    config = RecoveryConfig(**params.recovery, seeds=[source.seed])
    queries, expanded = read_queries(inputs.queries), read_students(inputs.students)
    mask = next((read_mask(path) for path in inputs.mask), None)
    key = settings_hash(params.recovery, params.version, *map(content_digest, inputs))
    state = TrainingState(f"{output.networks}.state", key)
    problem = problem_of(expanded.spec, queries)
    networks, clusterings = recover_networks(expanded, problem, config, state, mask)
    write_table(output.merges, merges_table(source, clusterings))
    write_networks(output.networks, networks)
    state.remove()
