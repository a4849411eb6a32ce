"""Rule compare_recovery: recovered networks against their teachers; the one step that reads the teachers' weights."""

import torch
from weightspace.progress import rule_log
from weightspace.recovery.job import unpack_networks, unpack_students
from weightspace.recovery.measure import judge, measure_networks, measure_recovery
from weightspace.recovery.metrics import METRICS
from weightspace.recovery.problem import problem_of
from weightspace.recovery.queries import unpack_queries
from weightspace.recovery.teachers import unpack_teachers
from weightspace.recovery.verdict import sentences
from weightspace.store import load_tensors
from weightspace.table import Source, write_metrics, write_table

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    source = Source(params.scenario, "recovery", wildcards.recovery, int(wildcards.seed))
    queries, teachers = unpack_queries(*load_tensors(inputs.queries)), unpack_teachers(*load_tensors(inputs.teachers))
    networks, (spec, students) = unpack_networks(*load_tensors(inputs.networks)), unpack_students(*load_tensors(inputs.students))
    measured = measure_networks(source, networks, queries, teachers, params.outputs)
    problem = problem_of(spec, queries, torch.device("cpu"))
    rows = measured.rows + measure_recovery(source, networks, problem, queries, (spec, students, params.num_students))
    rows += judge(source, rows, students, params.num_students)
    write_metrics(output.metrics, rows, METRICS)
    write_table(output.neurons, measured.neurons)
    print("\n".join(sentences(rows)))
