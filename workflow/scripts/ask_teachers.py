"""Rule ask_teachers: what the teachers of one recovery answer, for one seed; the later steps read nothing else of them."""

from pydantic import TypeAdapter
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.recovery.queries import Pools, make_queries, write_queries
from weightspace.recovery.settings import QueriesConfig, TeacherConfig
from weightspace.recovery.teachers import read_teachers

with rule_log(snakemake.log[0]):
    job = job_of(snakemake)
    inputs, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    config, teacher = QueriesConfig(**params.queries), TypeAdapter(TeacherConfig).validate_python(params.teacher)
    pools = Pools(*(next((read_images(file) for file in files), None) for files in (inputs.images, inputs.own)))
    teachers = read_teachers(inputs.teachers)
    identity = (wildcards.recovery, int(wildcards.seed))
    queries = make_queries(config, params.outputs, teacher, teachers, pools, identity)
    write_queries(snakemake.output.queries, queries, job)
