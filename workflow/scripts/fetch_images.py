"""Rule fetch_images: one image set as uint8 tensors."""

from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.images.tensors import write_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log

with rule_log(snakemake.log[0]):
    job = job_of(snakemake)
    config = ImagesConfig(**snakemake.params.images)
    images = build_image_set(config, snakemake.params.images_dir)
    write_images(snakemake.output.images, images, job)
