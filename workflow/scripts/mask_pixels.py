"""Rule mask_pixels: the pixels of an image set that its labels depend on, for recoveries that compare neurons by these."""

from weightspace.images.tensors import read_images
from weightspace.progress import rule_log
from weightspace.recovery.masks import ITERATIONS, pixel_mask
from weightspace.rng import generator_for
from weightspace.store import save_tensors

with rule_log(snakemake.log[0]):
    images = read_images(snakemake.input.images)
    generator = generator_for("mask", snakemake.wildcards.images)
    mask = pixel_mask(images.train_x, images.train_y, ITERATIONS, generator)
    save_tensors(snakemake.output.mask, {"mask": mask}, {"images": snakemake.wildcards.images})
    print(f"{int(mask.sum())} of {len(mask)} pixels")
