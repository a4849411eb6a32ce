"""Rule make_teachers: the networks of one cell that recovery is tried on."""

from pydantic import TypeAdapter
from weightspace.images.tensors import read_images
from weightspace.progress import rule_log
from weightspace.recovery.settings import TeacherConfig
from weightspace.recovery.teachers import Zoo, make_teachers, write_teachers
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest, load_tensors

with rule_log(snakemake.log[0]):
    inputs, params, name = snakemake.input, snakemake.params, snakemake.wildcards.teacher
    config, device = TypeAdapter(TeacherConfig).validate_python(params.teacher), choose_device(snakemake.resources.device)
    images = next((read_images(path, device) for path in inputs.images), None)
    zoo = next((Zoo(*load_tensors(path)) for path in inputs.zoo), None)
    key = settings_hash(params.teacher, params.version, name, [content_digest(path) for path in inputs.images])
    state = TrainingState(f"{snakemake.output.teachers}.state", key)
    write_teachers(snakemake.output.teachers, make_teachers(config, name, images, zoo, state))
    state.remove()
