"""Rule fetch_images: one image set as uint8 tensors."""

from weightspace.config.images import ImagesConfig
from weightspace.images import build_image_set, pack_images
from weightspace.progress import rule_log
from weightspace.store import save_tensors

with rule_log(snakemake.log[0]):
    config = ImagesConfig(**snakemake.params.images)
    images = build_image_set(config, snakemake.params.images_dir)
    save_tensors(snakemake.output.images, *pack_images(images))
