"""Rule recover_networks: cluster and collapse the students of each teacher, finish; the teachers' weights are not read."""

import torch
from weightspace.progress import rule_log
from weightspace.recovery.job import merges_table, pack_networks, recover_networks, unpack_students
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import unpack_queries
from weightspace.recovery.settings import RecoveryConfig
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, content_digest, load_tensors, save_tensors
from weightspace.table import Source, write_table

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    source = Source(params.scenario, "recovery", wildcards.recovery, int(wildcards.seed))
    config = RecoveryConfig(**params.recovery, seeds=[source.seed])
    queries, (spec, students) = unpack_queries(*load_tensors(inputs.queries)), unpack_students(*load_tensors(inputs.students))
    mask = next((load_tensors(path)[0]["mask"] for path in inputs.mask), None)
    key = settings_hash(params.recovery, params.version, *map(content_digest, inputs))
    state = TrainingState(f"{output.networks}.state", key)
    problem = problem_of(spec, queries, torch.device("cpu"))
    networks, clusterings = recover_networks(spec, students, problem, config, state, mask)
    write_table(output.merges, merges_table(source, clusterings))
    save_tensors(output.networks, *pack_networks(networks))
    state.remove()
