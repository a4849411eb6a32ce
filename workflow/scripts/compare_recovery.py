"""Rule compare_recovery: recovered networks against their teachers; the one step that reads the teachers' weights."""

from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.recovery.files import read_networks, read_students
from weightspace.recovery.measure import judge, measure_networks, measure_recovery
from weightspace.recovery.metrics import METRICS
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import read_queries
from weightspace.recovery.teachers import read_teachers
from weightspace.recovery.verdict import sentences
from weightspace.table import Source, write_metrics, write_table

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    job, source = job_of(snakemake), Source(params.scenario, "recovery", wildcards.recovery, int(wildcards.seed))
    queries, teachers = read_queries(inputs.queries), read_teachers(inputs.teachers)
    networks, expanded = read_networks(inputs.networks), read_students(inputs.students)
    measured = measure_networks(source, networks, queries, teachers, params.outputs)
    problem = problem_of(expanded.spec, queries)
    rows = measured.rows + measure_recovery(source, networks, problem, queries, expanded)
    rows += judge(source, rows, expanded)
    write_metrics(output.metrics, rows, METRICS, job)
    write_table(output.neurons, measured.neurons, job)
    print("\n".join(sentences(rows)))
