"""Rule make_teachers: the networks of one cell that recovery is tried on."""

from pydantic import TypeAdapter
from weightspace.checkpoints import read_zoo
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.recovery.settings import TeacherConfig
from weightspace.recovery.teachers import make_teachers, write_teachers
from weightspace.store import choose_device

with rule_log(snakemake.log[0]):
    inputs, params, teachers = snakemake.input, snakemake.params, snakemake.output.teachers
    job, device = job_of(snakemake), choose_device(snakemake.resources.device)
    config = TypeAdapter(TeacherConfig).validate_python(params.teacher)
    images = next((read_images(path, device) for path in inputs.images), None)
    zoo = next(map(read_zoo, inputs.zoo), None)
    write_teachers(teachers, make_teachers(config, snakemake.wildcards.teacher, images, zoo), job)
