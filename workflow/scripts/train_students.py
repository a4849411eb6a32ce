"""Rule train_students: students of all teachers of one recovery, for one seed, from queries and answers alone."""

from weightspace.progress import rule_log
from weightspace.recovery.files import Expanded, write_students
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import read_queries
from weightspace.recovery.search import choose_students
from weightspace.recovery.settings import StudentsConfig
from weightspace.recovery.students import expand
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    config, device = StudentsConfig(**params.students), choose_device(snakemake.resources.device)
    queries, identity = read_queries(inputs.queries), (wildcards.recovery, int(wildcards.seed))
    spec, tried = choose_students(config, queries, device, identity)
    key = settings_hash(params.students, params.version, identity, content_digest(inputs.queries))
    state = TrainingState(f"{output.students}.state", key)
    students = expand(spec, config, problem_of(spec, queries, device).train, identity, state)
    write_students(output.students, Expanded(spec, students, config.num), tried)
    state.remove()
