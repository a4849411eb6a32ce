"""Rule train_students: students of all teachers of one recovery, for one seed, from queries and answers alone."""

from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.recovery.files import Expanded, write_students
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import read_queries
from weightspace.recovery.search import choose_students
from weightspace.recovery.settings import StudentsConfig
from weightspace.recovery.students import expand
from weightspace.store import choose_device, resumable

with rule_log(snakemake.log[0]):
    job, output, wildcards = job_of(snakemake), snakemake.output, snakemake.wildcards
    config, device = StudentsConfig(**snakemake.params.students), choose_device(snakemake.resources.device)
    queries, identity = read_queries(snakemake.input.queries), (wildcards.recovery, int(wildcards.seed))
    spec, tried = choose_students(config, queries, device, identity)
    with resumable(job, output.students) as state:
        students = expand(spec, config, problem_of(spec, queries, device).train, identity, state)
        write_students(output.students, Expanded(spec, students, config.num), tried, job)
