"""Rule mask_pixels: the pixels of an image set that its labels depend on, for recoveries that compare neurons by these."""

from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.recovery.masks import ITERATIONS, pixel_mask, write_mask
from weightspace.rng import generator_for

with rule_log(snakemake.log[0]):
    job = job_of(snakemake)
    images = read_images(snakemake.input.images)
    generator = generator_for("mask", snakemake.wildcards.images)
    mask = pixel_mask(images.train_x, images.train_y, ITERATIONS, generator)
    write_mask(snakemake.output.mask, mask, snakemake.wildcards.images, job)
    print(f"{int(mask.sum())} of {len(mask)} pixels")
