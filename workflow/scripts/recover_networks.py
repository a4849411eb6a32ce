"""Rule recover_networks: cluster and collapse the students of each teacher, finish; the teachers' weights are not read."""

from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.recovery.files import read_students, write_networks
from weightspace.recovery.masks import read_mask
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import read_queries
from weightspace.recovery.recover_cell import merges_table, recover_networks
from weightspace.recovery.settings import RecoverySettings
from weightspace.store import resumable
from weightspace.table import Source, write_table

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    job, source = job_of(snakemake), Source(params.scenario, "recovery", wildcards.recovery, int(wildcards.seed))
    config, mask = RecoverySettings(**params.recovery), next(map(read_mask, inputs.mask), None)
    expanded = read_students(inputs.students)
    problem = problem_of(expanded.spec, read_queries(inputs.queries))
    with resumable(job, output.networks) as state:
        networks, clusterings = recover_networks(expanded, problem, config, state, mask)
        write_table(output.merges, merges_table(source, clusterings), job)
        write_networks(output.networks, networks, job)
